"""Machines that lack one thing each, and the one check that says so. `docs/reference/check.md` is made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.check.machine import Docker, Machine, Vm
from lab.check.table import PROGRAMS

PATHS = {name: f"/usr/bin/{name}" for name in (*PROGRAMS, "newuidmap")}
GOOD = {
    "netns": Machine(programs=PATHS),
    "compose": Machine(docker=Docker()),
    "vagrant": Machine(vm=Vm()),
}
USER = replace(GOOD["netns"], user="ada", uid=1000)
DOCKER, VM = Docker(), Vm()
NO_DOCKER = Docker(is_installed=False, version="", api=(), compose=())


@dataclass(frozen=True, slots=True)
class Lacking:
    """A machine that lacks something for a driver: `checks` are the names of the findings that say so."""

    what: str
    driver: str
    machine: Machine
    checks: tuple[str, ...]


def _docker(what: str, check: str, docker: Docker, user: str = "ada") -> Lacking:
    return Lacking(what, "compose", replace(GOOD["compose"], docker=docker, user=user), (check,))


def _vm(what: str, check: str, vm: Vm) -> Lacking:
    return Lacking(what, "vagrant", replace(GOOD["vagrant"], vm=vm, user="ada"), (check,))


LACKING = (
    Lacking("another system", "netns", replace(GOOD["netns"], platform="darwin"), ("linux",)),
    Lacking("an old Python", "netns", replace(GOOD["netns"], python=(3, 10)), ("python",)),
    Lacking("a Python of tomorrow", "compose", replace(GOOD["compose"], python=(3, 14)), ("python",)),
    Lacking("no iptables", "netns", replace(GOOD["netns"], programs=PATHS | {"iptables-restore": ""}), ("programs",)),
    Lacking("a checkout for one alone", "netns", replace(GOOD["netns"], is_readable=False), ("readable",)),
    Lacking("no newuidmap", "netns", replace(USER, programs=PATHS | {"newuidmap": ""}), ("user-namespaces",)),
    Lacking("no subordinate ids", "netns", replace(USER, subids=("/etc/subuid", "/etc/subgid")), ("user-namespaces",)),
    Lacking("no group ids", "netns", replace(USER, subids=("/etc/subgid",)), ("user-namespaces",)),
    Lacking(
        "no user namespaces",
        "netns",
        replace(USER, namespaces_reason="unshare failed: Operation not permitted"),
        ("user-namespaces",),
    ),
    Lacking(
        "a kernel without veth", "netns", replace(GOOD["netns"], kernel_reason="Error: Unknown type."), ("kernel",)
    ),
    Lacking("no packet queues", "netns", replace(GOOD["netns"], queue_reason="no such target NFQUEUE"), ("faults",)),
    Lacking("no Docker", "compose", replace(GOOD["compose"], docker=NO_DOCKER), ("docker",)),
    _docker("the engine does not run", "engine", replace(DOCKER, reason="Cannot connect to the Docker daemon", api=())),
    _docker(
        "an engine elsewhere that does not answer",
        "engine",
        replace(DOCKER, address="tcp://192.0.2.9:2375", reason="Cannot connect to the Docker daemon", api=()),
    ),
    _docker("not in the group docker", "engine", replace(DOCKER, reason="permission denied while trying", api=())),
    _docker("an engine before 20.10", "engine", replace(DOCKER, version="19.03.15", api=(1, 40))),
    _docker("no Compose plugin", "compose-plugin", replace(DOCKER, compose=())),
    _docker("an old Compose plugin", "compose-plugin", replace(DOCKER, compose=(2, 6, 0))),
    _vm("no Vagrant", "vagrant", replace(VM, vagrant=(), plugins=(), libvirt_reason="there is no virsh")),
    _vm("an old Vagrant", "vagrant", replace(VM, vagrant=(2, 2, 14))),
    _vm("no libvirt plugin", "provider", replace(VM, plugins=())),
    _vm("libvirt does not run", "provider", replace(VM, libvirt_reason="failed to connect to the hypervisor")),
    _vm("no QEMU", "emulator", replace(VM, qemu="")),
    _vm("no KVM", "kvm", replace(VM, has_kvm=False, may_use_kvm=False)),
    _vm("not in the group kvm", "kvm", replace(VM, may_use_kvm=False)),
    _vm("a KVM that boots nothing", "kvm", replace(VM, is_emulated=True)),
    Lacking("too little memory for namespaces", "netns", replace(GOOD["netns"], memory_mb=500), ("memory",)),
    Lacking("too little memory for containers", "compose", replace(GOOD["compose"], memory_mb=1400), ("memory",)),
    Lacking("too little memory for virtual machines", "vagrant", replace(GOOD["vagrant"], memory_mb=4096), ("memory",)),
    Lacking("a full disk", "netns", replace(GOOD["netns"], disk_mb=200), ("disk",)),
    Lacking("no room for images", "compose", replace(GOOD["compose"], disk_mb=3000), ("disk",)),
    Lacking("no room for a box", "vagrant", replace(GOOD["vagrant"], disk_mb=3000), ("disk",)),
    Lacking(
        "a VPN with the lab's addresses",
        "compose",
        replace(GOOD["compose"], routes=(("10.0.0.0/8", "tun0"),)),
        ("network",),
    ),
    Lacking(
        "a port that is taken",
        "compose",
        replace(GOOD["compose"], ports={18080: "pid 4321 (python3 -m http.server 18080)", 18500: ""}),
        ("ports",),
    ),
    Lacking(
        "a port that somebody else has",
        "netns",
        replace(GOOD["netns"], ports={18080: "", 18500: "a process of somebody else"}),
        ("ports",),
    ),
)
