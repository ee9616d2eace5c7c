#!/usr/bin/env bash
# Make the box that the lab's virtual machines start from: Debian 12 from Debian packages alone, no box registry.
#
#     lab/vagrant/make-box.sh            build it if it is not there, check it, print its folder
#     lab/vagrant/make-box.sh --where    print its folder, build nothing
#
# BOX=debian (default) builds with mmdebstrap; BOX=cloud takes the Debian cloud image of CLOUD_IMAGE_URL, which must
# have the checksum CLOUD_IMAGE_SHA512. Both work without a loop device and without a running machine.
# PROVIDER=virtualbox makes a box for VirtualBox, with a kernel that knows its devices; otherwise it is one for libvirt.
# The folder's name is a hash of all that goes in, so a changed list of packages makes a new box.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=lab/vagrant/box
BOX=${BOX:-debian}
SUITE=bookworm
MIRROR=${MIRROR:-} # empty: the one that mmdebstrap takes, with its security updates
SIZE_MIB=4096
PROVIDER=${PROVIDER:-${VAGRANT_DEFAULT_PROVIDER:-libvirt}}
CLOUD_IMAGE_URL=${CLOUD_IMAGE_URL:-}
CLOUD_IMAGE_SHA512=${CLOUD_IMAGE_SHA512:-}

say() { echo "make-box: $*" >&2; }
fail() {
    say "$1"
    say "next: $2"
    exit 1
}

inputs_hash() {
    {
        find lab/vagrant/make-box.sh "$here" -type f | LC_ALL=C sort | xargs sha256sum
        echo "$BOX $PROVIDER $SUITE $SIZE_MIB $CLOUD_IMAGE_SHA512"
    } | sha256sum | cut -c1-12
}

require() {
    local missing=()
    for tool in "$@"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("$tool")
    done
    [ ${#missing[@]} = 0 ] || fail "this machine lacks ${missing[*]}" \
        "apt-get install mmdebstrap qemu-utils e2fsprogs fdisk openssh-client curl"
}

as_root() { # owners and modes of the image's files are root's business; a user namespace has a root, too
    if [ "$(id -u)" = 0 ]; then "$@"; else unshare --user --map-root-user --map-auto -- "$@"; fi
}

packages() {
    local kernel=cloud-amd64
    [ "$PROVIDER" != virtualbox ] || kernel=amd64 # the small one has no driver for VirtualBox's disks
    sed "s/#.*//; s/@KERNEL@/$kernel/" "$here/packages" | xargs | tr ' ' ','
}

build_debian() { # $1: folder to leave disk.raw in
    require mmdebstrap mke2fs sfdisk qemu-img
    say "Debian packages from ${MIRROR:-the Debian mirror}"
    # The hooks lay down the files of box/root, then make the key's owner, the boot loader and the small initrd.
    mmdebstrap --quiet --variant=minbase --include="$(packages)" \
        --customize-hook="tar -C $here/root --owner=0 --group=0 -c . | tar -C \"\$1\" --no-same-permissions -x" \
        --customize-hook="copy-in $1/key.pub /tmp" \
        --customize-hook="upload $here/inside.sh /tmp/inside.sh" \
        --customize-hook='chroot "$1" sh /tmp/inside.sh' \
        --customize-hook="download /boot/grub/core.img $1/core.img" \
        --customize-hook="download /usr/lib/grub/i386-pc/boot.img $1/boot.img" \
        --customize-hook="download /vmlinuz $1/vmlinuz" \
        --customize-hook="download /initrd.img $1/initrd.img" \
        "$SUITE" "$1/root.tar" ${MIRROR:+"$MIRROR"} >&2
    say "disk image"
    as_root sh -euc '
        PATH=$PATH:/usr/sbin:/sbin; cd "$1"; mkdir root
        tar -C root --numeric-owner --exclude="./dev/*" -xpf root.tar
        truncate -s "$2M" disk.raw
        echo "start=2048, type=83, bootable" | sfdisk --quiet disk.raw
        # The features are named one by one: the boot loader must be able to read them.
        mke2fs -q -t ext4 -L meshyard -m 0 -d root -E offset=1048576,lazy_itable_init=1 \
            -O none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,extra_isize \
            disk.raw "$(($2 - 1))M"
        # What grub-install would write: the first sector, and the loader in the gap before the first partition.
        dd if=boot.img of=disk.raw bs=440 count=1 conv=notrunc status=none
        dd if=core.img of=disk.raw bs=512 seek=1 conv=notrunc status=none
        rm -rf root root.tar boot.img core.img
    ' sh "$1" "$SIZE_MIB"
}

build_cloud() { # $1: folder to leave disk.raw in
    require curl qemu-img sfdisk debugfs sha512sum
    [ -n "$CLOUD_IMAGE_URL" ] && [ -n "$CLOUD_IMAGE_SHA512" ] || fail \
        "BOX=cloud needs CLOUD_IMAGE_URL and CLOUD_IMAGE_SHA512, both from https://cloud.debian.org/images/cloud/bookworm/" \
        "make box BOX=cloud CLOUD_IMAGE_URL=.../debian-12-genericcloud-amd64.qcow2 CLOUD_IMAGE_SHA512=..."
    say "cloud image from $CLOUD_IMAGE_URL"
    curl --fail --silent --show-error --location --output "$1/cloud.img" "$CLOUD_IMAGE_URL"
    echo "$CLOUD_IMAGE_SHA512  $1/cloud.img" | sha512sum --check --status || fail \
        "the image has the checksum $(sha512sum "$1/cloud.img" | cut -c1-16)..., asked for was ${CLOUD_IMAGE_SHA512:0:16}...; it is not used" \
        "compare with SHA512SUMS beside the image"
    qemu-img convert -O raw "$1/cloud.img" "$1/disk.raw"
    sed "s|@KEY@|$(cat "$1/key.pub")|" "$here/user-data" >"$1/user-data"
    printf 'instance-id: %s\n' "$(basename "$1")" >"$1/meta-data"
    # cloud-init looks for a seed in the image itself; debugfs writes it there without mounting anything.
    local start
    start=$(PATH=$PATH:/usr/sbin sfdisk --dump "$1/disk.raw" | # the biggest partition is the root
        sed -n 's/.*start= *\([0-9]*\), size= *\([0-9]*\).*/\2 \1/p' | sort -n | tail -1 | cut -d' ' -f2)
    [ -n "$start" ] || fail "no partition in $CLOUD_IMAGE_URL" "take a genericcloud image in format qcow2 or raw"
    {
        printf 'mkdir /var/lib/cloud\nmkdir /var/lib/cloud/seed\nmkdir /var/lib/cloud/seed/nocloud\ncd /var/lib/cloud/seed/nocloud\n'
        printf 'write %s/user-data user-data\nwrite %s/meta-data meta-data\n' "$1" "$1"
    } | PATH=$PATH:/usr/sbin debugfs -w -f - "$1/disk.raw?offset=$((start * 512))" >/dev/null 2>&1
    PATH=$PATH:/usr/sbin debugfs -R "cat /var/lib/cloud/seed/nocloud/user-data" "$1/disk.raw?offset=$((start * 512))" 2>/dev/null |
        cmp -s - "$1/user-data" || fail "the key could not be written into the image" "take a genericcloud image"
    rm "$1/cloud.img" "$1/user-data" "$1/meta-data"
}

pack() { # $1: folder with disk.raw; leaves lab.box and SHA256SUMS
    local parts="metadata.json box.img"
    if [ "$PROVIDER" = virtualbox ]; then
        parts="metadata.json box.ovf box.vmdk"
        qemu-img convert -O vmdk -o subformat=streamOptimized "$1/disk.raw" "$1/box.vmdk"
        sed "s/@BYTES@/$(stat -c %s "$1/disk.raw")/" "$here/virtualbox.ovf" >"$1/box.ovf"
        echo '{"provider": "virtualbox"}' >"$1/metadata.json"
    else
        qemu-img convert -O qcow2 "$1/disk.raw" "$1/box.img"
        local gib=$((($(stat -c %s "$1/disk.raw") + (1 << 30) - 1) >> 30))
        echo "{\"provider\": \"libvirt\", \"format\": \"qcow2\", \"virtual_size\": $gib}" >"$1/metadata.json"
    fi
    # shellcheck disable=SC2086 # several names
    tar -C "$1" -cf "$1/lab.box" $parts
    rm "$1/disk.raw" "$1"/box.*
    (cd "$1" && sha256sum -- * >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS)
}

hash=$(inputs_hash)
box=$PWD/.lab/cache/box/$hash
if [ "${1:-}" = --where ]; then
    echo "$box"
    exit 0
fi
if [ ! -e "$box/SHA256SUMS" ]; then
    started=$SECONDS
    work=$box.partial
    as_root rm -rf "$work" "$box"
    mkdir -p "$work"
    trap 'as_root rm -rf "$work"' EXIT
    # The way in: a key made here and now, for this box alone. No well-known key is ever in the box.
    ssh-keygen -q -t ed25519 -N "" -C "lab-$hash" -f "$work/key"
    case $BOX in
    debian) build_debian "$work" ;;
    cloud) build_cloud "$work" ;;
    *) fail "no kind of box '$BOX'" "make box BOX=debian, or BOX=cloud" ;;
    esac
    pack "$work"
    mv "$work" "$box"
    say "made in $((SECONDS - started)) s, $(du -sh "$box" | cut -f1)"
fi
(cd "$box" && sha256sum --check --quiet SHA256SUMS) >&2 || fail "the box is not what was made: $box" "rm -r $box; make box"
echo "$box"
