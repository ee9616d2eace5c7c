"""The Vagrantfile is the topology as machines: nothing more, nothing less, no host named in it."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.topology import load
from lab.vagrant.place import topology_text

ROOT = Path(__file__).resolve().parents[4]
RECORDER = Path(__file__).parent / "recorder.rb"
TOPOLOGY = load(ROOT / "lab/topology.yaml")

pytestmark = pytest.mark.slow


def ruby(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    said = {"PATH": os.environ["PATH"], "LAB_VM_ACCEL": "tcg", "LAB_NAME": "trial", **environment}
    return subprocess.run(
        ["ruby", str(RECORDER), str(folder / "Vagrantfile")],
        env=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def evaluated(folder: Path = ROOT, **environment: str) -> dict[str, Any]:
    done = ruby(folder, **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def asked() -> dict[str, Any]:
    """Return what the Vagrantfile asks for where nothing is chosen."""
    return evaluated()


def test_the_machines_are_the_hosts(asked: dict[str, Any]) -> None:
    machines = asked["vm"]["machines"]
    assert list(machines) == list(TOPOLOGY.hosts)
    for name, host in TOPOLOGY.hosts.items():
        vm = machines[name]["vm"]
        assert vm["hostname"] == name
        assert [(net["kind"], net["ip"]) for net in vm["networks"]] == [("private_network", host.address)]


def test_one_network_holds_both_datacenters_and_has_no_way_out(asked: dict[str, Any]) -> None:
    networks = [machine["vm"]["networks"][0] for machine in asked["vm"]["machines"].values()]
    assert {(net["libvirt__forward_mode"], net["libvirt__network_name"]) for net in networks} == {
        ("veryisolated", "meshyard-trial")
    }
    assert {net["virtualbox__intnet"] for net in networks} == {"meshyard-trial"}
    wide = {ipaddress.ip_network(f"{net['ip']}/{net['netmask']}", strict=False) for net in networks}
    assert wide == {ipaddress.ip_network("10.77.0.0/16")}
    assert all(ipaddress.ip_network(one).subnet_of(*wide) for one in TOPOLOGY.datacenters.values())


def test_every_machine_is_told_its_address_of_both_families(asked: dict[str, Any]) -> None:
    for name, host in TOPOLOGY.hosts.items():
        called, how = asked["vm"]["machines"][name]["vm"]["provision"]
        assert (called, how["type"], how["args"]) == ("ipv6", "shell", [host.address])


def test_no_host_is_named_in_it() -> None:
    text = "\n".join(line for line in (ROOT / "Vagrantfile").read_text().splitlines() if not line.startswith("#"))
    assert not [name for name in TOPOLOGY.hosts if name in text]
    assert not [host.address for host in TOPOLOGY.hosts.values() if host.address in text]


def test_nothing_of_this_machine_is_shared(asked: dict[str, Any]) -> None:
    assert asked["vm"]["folders"] == [{"disabled": True}]


def test_the_box_is_the_one_that_make_box_makes(asked: dict[str, Any]) -> None:
    where = subprocess.run(
        [ROOT / "lab/vagrant/make-box.sh", "--where"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert asked["vm"]["box_url"] == f"file://{where}/lab.box"
    assert asked["ssh"] == {"private_key_path": f"{where}/key", "insert_key": False}


def test_a_box_is_named_after_its_content(tmp_path: Path) -> None:
    """Vagrant keeps one box of a name for all checkouts, and in each box is the key of the checkout that made it."""
    (tmp_path / "lab" / "vagrant").mkdir(parents=True)
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    shutil.copy(ROOT / "lab" / "topology.yaml", tmp_path / "lab")
    shutil.copytree(ROOT / "lab" / "vagrant", tmp_path / "lab" / "vagrant", dirs_exist_ok=True)
    assert evaluated(tmp_path)["vm"]["box"] == "meshyard-not-made"
    box = Path(evaluated(tmp_path)["vm"]["box_url"].removeprefix("file://")).parent
    box.mkdir(parents=True)
    for sums, name in (("ab12cd34ef56" + "0" * 52, "meshyard-ab12cd34ef56"), ("f" * 64, "meshyard-ffffffffffff")):
        (box / "SHA256SUMS").write_text(f"{'1' * 64}  key\n{sums}  lab.box\n")
        assert evaluated(tmp_path)["vm"]["box"] == name


def test_a_part_of_the_hosts() -> None:
    assert list(evaluated(LAB_HOSTS="cp-1,order-1")["vm"]["machines"]) == ["cp-1", "order-1"]


def test_a_host_that_there_is_not() -> None:
    done = ruby(ROOT, LAB_HOSTS="cp-1,nobody-1")
    assert done.returncode == 1
    assert "LAB_HOSTS: no host nobody-1; there are: cp-1," in done.stderr


@pytest.mark.parametrize(
    ("accel", "driver", "cpu"),
    [
        pytest.param("kvm", "kvm", "host-passthrough", id="KVM"),
        pytest.param("tcg", "qemu", "custom", id="plain QEMU"),
    ],
)
def test_what_carries_the_machines(accel: str, driver: str, cpu: str) -> None:
    said = evaluated(LAB_VM_ACCEL=accel, LAB_VM_MEMORY="768", LAB_VM_CPUS="2")
    for machine in said["vm"]["machines"].values():
        libvirt, virtualbox = machine["vm"]["providers"]["libvirt"], machine["vm"]["providers"]["virtualbox"]
        assert (libvirt["driver"], libvirt["cpu_mode"], libvirt["memory"], libvirt["cpus"]) == (driver, cpu, 768, 2)
        assert (virtualbox["memory"], virtualbox["cpus"]) == (768, 2)


def test_what_carries_them_is_found_out_once_for_all(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    shutil.copytree(ROOT / "lab/vagrant", tmp_path / "lab/vagrant")
    shutil.copy(ROOT / "lab/topology.yaml", tmp_path / "lab")
    (tmp_path / "lab/vagrant/accel.sh").write_text(f"#!/bin/sh\necho asked >>{tmp_path}/asked\necho kvm\n")
    machines = evaluated(tmp_path)["vm"]["machines"]
    assert {one["vm"]["providers"]["libvirt"]["driver"] for one in machines.values()} == {"kvm"}
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_running_lab_has_the_hosts_that_were_added_to_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    shutil.copytree(ROOT / "lab/vagrant", tmp_path / "lab/vagrant")
    (tmp_path / ".lab/trial").mkdir(parents=True)
    only = TOPOLOGY.only(["cp-1", "payment-1", "order-1"])
    (tmp_path / ".lab/trial/topology.json").write_text(topology_text(only))
    assert sorted(evaluated(tmp_path)["vm"]["machines"]) == ["cp-1", "order-1", "payment-1"]


def test_the_control_plane_is_waited_for_by_all_and_gets_more_of_a_busy_processor(asked: dict[str, Any]) -> None:
    shares = {name: one["vm"]["providers"]["libvirt"].get("shares") for name, one in asked["vm"]["machines"].items()}
    assert {name for name, share in shares.items() if share} == {TOPOLOGY.control_plane.name}
