"""The scripts beside the driver: which box, with which checksum, and whether KVM carries a kernel."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[4]
PANIC = "echo 'Kernel panic - not syncing: VFS: Unable to mount root fs'"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder that is a checkout as far as the scripts look."""
    shutil.copytree(ROOT / "lab/vagrant", tmp_path / "lab/vagrant")
    return tmp_path


def script(copy: Path, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(copy / "lab/vagrant" / name), *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def where(copy: Path, **environment: str) -> str:
    return script(copy, "make-box.sh", "--where", **environment).stdout.strip()


# ----------------------------------------------------------------------------------------------------- which box


def test_the_same_inputs_are_the_same_box(copy: Path) -> None:
    assert where(copy) == where(copy)
    assert Path(where(copy)).parent == copy / ".lab/cache/box"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("lab/vagrant/box/packages", id="another list of packages"),
        pytest.param("lab/vagrant/box/root/etc/ssh/sshd_config.d/lab.conf", id="another file of the system"),
        pytest.param("lab/vagrant/make-box.sh", id="another way to make it"),
    ],
)
def test_other_inputs_are_another_box(copy: Path, change: str) -> None:
    before = where(copy)
    with (copy / change).open("a") as handle:
        handle.write("# more\n")
    assert where(copy) != before


def test_a_cloud_image_is_another_box_than_debian_packages(copy: Path) -> None:
    boxes = {where(copy), where(copy, BOX="cloud", CLOUD_IMAGE_SHA512="a"), where(copy, BOX="cloud")}
    assert len(boxes) == 3


def test_each_provider_has_its_box(copy: Path) -> None:
    named, by_vagrant = where(copy, PROVIDER="virtualbox"), where(copy, VAGRANT_DEFAULT_PROVIDER="virtualbox")
    assert named == by_vagrant != where(copy)


def kept_box(copy: Path) -> Path:
    """Lay down a box as make-box.sh leaves it."""
    box = Path(where(copy))
    box.mkdir(parents=True)
    (box / "lab.box").write_text("a box")
    digest = hashlib.sha256(b"a box").hexdigest()
    (box / "SHA256SUMS").write_text(f"{digest}  lab.box\n")
    return box


def test_a_box_that_is_there_is_not_built_again(copy: Path) -> None:
    box = kept_box(copy)
    done = script(copy, "make-box.sh")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(box), "")


def test_a_box_that_was_changed_is_refused(copy: Path) -> None:
    (kept_box(copy) / "lab.box").write_text("another")
    done = script(copy, "make-box.sh")
    assert done.returncode == 1
    assert "the box is not what was made" in done.stderr
    assert "next: rm -r" in done.stderr


def test_a_kind_of_box_that_there_is_not(copy: Path) -> None:
    done = script(copy, "make-box.sh", BOX="suse")
    assert done.returncode == 1
    assert "no kind of box 'suse'" in done.stderr


# ------------------------------------------------------------------------------------------------- a cloud image


def leftovers(copy: Path) -> list[str]:
    return [path.name for path in (copy / ".lab/cache/box").iterdir()] if (copy / ".lab/cache/box").exists() else []


def test_a_cloud_image_needs_its_checksum(copy: Path) -> None:
    done = script(copy, "make-box.sh", BOX="cloud", CLOUD_IMAGE_URL="file:///image")
    assert done.returncode == 1
    assert "BOX=cloud needs CLOUD_IMAGE_URL and CLOUD_IMAGE_SHA512" in done.stderr
    assert leftovers(copy) == []


def test_an_image_with_another_checksum_is_not_used(copy: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"not what was published")
    done = script(copy, "make-box.sh", BOX="cloud", CLOUD_IMAGE_URL=f"file://{image}", CLOUD_IMAGE_SHA512="0" * 128)
    assert done.returncode == 1
    assert "asked for was 0000000000000000...; it is not used" in done.stderr
    assert leftovers(copy) == []


@pytest.mark.slow
def test_an_image_with_its_checksum_becomes_a_box_with_the_key(copy: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    disk_with(image, mib=16, start=2048, path=tmp_path / "root")
    digest = hashlib.sha512(image.read_bytes()).hexdigest()
    done = script(copy, "make-box.sh", BOX="cloud", CLOUD_IMAGE_URL=f"file://{image}", CLOUD_IMAGE_SHA512=digest)
    assert done.returncode == 0, done.stderr
    box = Path(done.stdout.strip())
    assert sorted(path.name for path in box.iterdir()) == ["SHA256SUMS", "key", "key.pub", "lab.box", "metadata.json"]
    assert (
        "lab.box: OK"
        in subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=box, capture_output=True, text=True).stdout
    )
    seed = seed_in(box / "lab.box", tmp_path, start=2048)
    assert seed.count((box / "key.pub").read_text().strip()) == 2, "the ways in of Vagrant and of the lab"


@pytest.mark.slow
def test_a_box_for_virtualbox_holds_a_machine_and_its_disk(copy: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    disk_with(image, mib=16, start=2048, path=tmp_path / "root")
    said = {
        "BOX": "cloud",
        "PROVIDER": "virtualbox",
        "CLOUD_IMAGE_URL": f"file://{image}",
        "CLOUD_IMAGE_SHA512": hashlib.sha512(image.read_bytes()).hexdigest(),
    }
    done = script(copy, "make-box.sh", **said)
    assert done.returncode == 0, done.stderr
    subprocess.run(["tar", "-xf", f"{done.stdout.strip()}/lab.box", "-C", str(tmp_path)], check=True)
    assert json.loads((tmp_path / "metadata.json").read_text()) == {"provider": "virtualbox"}
    ovf = "{http://schemas.dmtf.org/ovf/envelope/1}"
    machine = ElementTree.parse(tmp_path / "box.ovf").getroot()
    file, disk = machine.find(f".//{ovf}File"), machine.find(f".//{ovf}Disk")
    assert file is not None
    assert disk is not None
    assert (tmp_path / file.attrib[f"{ovf}href"]).exists()
    assert disk.attrib[f"{ovf}capacity"] == str(16 << 20)


def disk_with(image: Path, *, mib: int, start: int, path: Path) -> None:
    """Make a disk with one partition as cloud images have it."""
    (path / "var/lib").mkdir(parents=True)
    with image.open("wb") as handle:
        handle.truncate(mib << 20)
    tools = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    subprocess.run(
        ["sfdisk", "--quiet", str(image)], input=f"label: gpt\nstart={start}\n", text=True, env=tools, check=True
    )
    offset = ["-E", f"offset={start * 512}"]
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(path), *offset, str(image), "8M"], env=tools, check=True)


def seed_in(box: Path, tmp_path: Path, *, start: int) -> str:
    """Return what cloud-init would read of the image in a box."""
    tools = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    subprocess.run(["tar", "-xf", str(box), "-C", str(tmp_path), "box.img"], check=True)
    raw = tmp_path / "raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(tmp_path / "box.img"), str(raw)], check=True)
    asked = ["debugfs", "-R", "cat /var/lib/cloud/seed/nocloud/user-data", f"{raw}?offset={start * 512}"]
    return subprocess.run(asked, env=tools, capture_output=True, text=True, check=True).stdout


# -------------------------------------------------------------------------------------------------------- KVM


def accel(copy: Path, qemu: str, device: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Ask accel.sh on a machine whose QEMU says what `qemu` prints."""
    box = Path(where(copy))
    box.mkdir(parents=True, exist_ok=True)
    (box / "vmlinuz").touch()
    fake = copy / "qemu"
    fake.write_text(f"#!/bin/sh\n{qemu}\n")
    fake.chmod(0o755)
    return script(copy, "accel.sh", LAB_QEMU=str(fake), LAB_KVM_DEVICE=device, **environment)


@pytest.mark.parametrize(
    ("qemu", "device", "found"),
    [
        pytest.param(PANIC, "/dev/null", "kvm", id="the kernel came up as far as its missing disk"),
        pytest.param("echo 'failed to set MSR 0x10a' >&2; exit 134", "/dev/null", "tcg", id="QEMU dies at once"),
        pytest.param("echo 'Booting from ROM...'", "/dev/null", "tcg", id="the kernel says nothing"),
        pytest.param(PANIC, "/dev/nonesuch", "tcg", id="there is no KVM"),
    ],
)
def test_kvm_is_what_boots_a_kernel(copy: Path, qemu: str, device: str, found: str) -> None:
    assert accel(copy, qemu, device).stdout.strip() == found


def test_it_is_tried_once(copy: Path) -> None:
    assert accel(copy, PANIC, "/dev/null").stdout.strip() == "kvm"
    assert accel(copy, "exit 1", "/dev/null").stdout.strip() == "kvm"


def test_a_trial_that_did_not_end_is_tried_again(copy: Path) -> None:
    # 124 is how timeout(1) says that it ended QEMU. It passes a 124 of QEMU's own on, which takes no ten seconds.
    slow = accel(copy, "echo 'Booting from ROM...'; exit 124", "/dev/null")
    assert (slow.returncode, slow.stdout.strip()) == (0, "tcg")
    assert "tcg this once" in slow.stderr
    assert accel(copy, PANIC, "/dev/null").stdout.strip() == "kvm", "a busy moment is not remembered"


def test_a_kernel_that_came_up_and_did_not_end_came_up(copy: Path) -> None:
    assert accel(copy, f"{PANIC}; exit 124", "/dev/null").stdout.strip() == "kvm"


def test_the_environment_has_the_last_word(copy: Path) -> None:
    assert accel(copy, PANIC, "/dev/null", LAB_VM_ACCEL="tcg").stdout.strip() == "tcg"
    refused = accel(copy, PANIC, "/dev/null", LAB_VM_ACCEL="xen")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "right would be: kvm or tcg" in refused.stderr


def test_without_a_box_it_says_what_makes_one(copy: Path) -> None:
    done = script(copy, "accel.sh", LAB_KVM_DEVICE="/dev/null", LAB_KERNEL="/nonesuch")
    assert (done.returncode, done.stdout) == (1, "")
    assert "next: make box" in done.stderr
