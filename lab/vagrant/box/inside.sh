# Runs inside the new system, once, while the box is made.
set -eu
useradd --create-home --shell /bin/bash vagrant
# Vagrant comes in as its own user, the lab as root: through sudo every command would take several times as long, and
# the operator's socket could not be forwarded. Both have the one key of this box; nobody has a password.
usermod --password '*' vagrant
install -d -m 700 -o vagrant -g vagrant /home/vagrant/.ssh
install -m 600 -o vagrant -g vagrant /tmp/key.pub /home/vagrant/.ssh/authorized_keys
install -d -m 700 /root/.ssh
install -m 600 /tmp/key.pub /root/.ssh/authorized_keys
chmod 440 /etc/sudoers.d/vagrant
chmod 755 / /etc /boot

# Each machine makes its own identity at its first boot.
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id
: >/etc/machine-id
: >/etc/resolv.conf

systemctl enable systemd-networkd.service ssh.service
# Nothing that a lab does not need may cost time at boot or happen later: consoles, timers, waiting for networks.
systemctl mask getty@tty1.service serial-getty@ttyS0.service systemd-networkd-wait-online.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-timesyncd.service systemd-pstore.service systemd-binfmt.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-hwdb-update.service keyboard-setup.service console-setup.service \
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount modprobe@efi_pstore.service

update-initramfs -u >/dev/null
grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o /boot/grub/core.img biosdisk part_msdos ext2 linux normal configfile serial terminal
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc/* /usr/share/locale/* /usr/share/man/* /tmp/*
