#!/usr/bin/env bash
# Say how virtual machines run here: `kvm`, or `tcg`, which is software emulation and about ten times as slow.
#
# LAB_VM_ACCEL=kvm|tcg says it outright. Otherwise a kernel is booted for real: a /dev/kvm that is there may still not
# carry an ordinary kernel, as inside some virtual machines. The answer is kept until the next boot of this machine, but for
# that of a trial that did not end in time: a machine with other work would stay slow for what was a busy moment.
set -euo pipefail
cd "$(dirname "$0")/../.."

case ${LAB_VM_ACCEL:-} in
kvm | tcg) echo "$LAB_VM_ACCEL" && exit 0 ;;
"") ;;
*) echo "accel: LAB_VM_ACCEL=$LAB_VM_ACCEL; right would be: kvm or tcg" >&2 && exit 2 ;;
esac

kept=.lab/cache/accel
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown)
if [ -e "$kept" ] && [ "$(cut -d' ' -f1 "$kept")" = "$boot" ]; then
    cut -d' ' -f2 "$kept" && exit 0
fi

box=$(lab/vagrant/make-box.sh --where)
qemu=${LAB_QEMU:-qemu-system-$(uname -m)}
found=tcg
if [ -w "${LAB_KVM_DEVICE:-/dev/kvm}" ]; then
    kernel=$box/vmlinuz
    [ -e "$kernel" ] || kernel=${LAB_KERNEL:-/boot/vmlinuz-$(uname -r)} # beside a cloud image lies none
    [ -r "$kernel" ] || { echo "accel: there is no kernel to try; next: make box, or LAB_VM_ACCEL=kvm or tcg" >&2 && exit 1; }
    # There is no disk: the kernel comes up as far as looking for its root, and then ends the machine by itself.
    code=0
    said=$(timeout 10 "$qemu" -accel kvm -cpu host -m 256 -nographic -no-reboot -nodefaults -serial stdio \
        -kernel "$kernel" -append "console=ttyS0 panic=-1 rdinit=/none" </dev/null 2>&1) || code=$?
    case $said in *"not syncing: VFS"*) found=kvm ;; esac
    if [ "$found" = tcg ] && [ "$code" = 124 ]; then
        echo "accel: the kernel was not up on KVM after 10 s; tcg this once, LAB_VM_ACCEL=kvm or tcg says it outright" >&2
        echo tcg && exit 0
    fi
fi
mkdir -p .lab/cache
echo "$boot $found" >"$kept"
echo "$found"
