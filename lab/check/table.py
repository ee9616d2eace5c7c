"""What is looked at for each driver, and what is said of it. Pure: facts in, findings out."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from lab.check.machine import Docker, Finding, Machine, Vm
from lab.compose.engine import INSTALL, INSTALL_COMPOSE, MIN_API, MIN_COMPOSE, dotted

MIN_PYTHON, BELOW_PYTHON = (3, 11), (3, 14)
PROGRAMS = {"unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "ip": "iproute2"}
PROGRAMS |= {"iptables-restore": "iptables", "ip6tables-restore": "iptables"}
MIN_VAGRANT = (2, 3)  # Debian 12's, the oldest that was tried
# Floors, in MB. A host of namespaces has about 80; a VM is given 512 and its emulator takes some; images are 1 GB.
MEMORY_MB = {"netns": 1024, "compose": 1536}
VM_MEMORY_MB, VM_BASE_MB = 640, 512
DISK_MB = {"netns": 256, "compose": 4096, "vagrant": 8192}
DISK_WITH_IMAGES_MB = 256  # what is left to write are logs: volumes are folders in memory
# `docker info` names them as security options; both map a container's users and groups to others of this machine.
OTHER_USERS = {"rootless": "is rootless", "userns": "maps users (userns-remap)"}
TAKE_LOCAL = "unset DOCKER_HOST; docker context use default"
ELSEWHERE = "make up LAB=netns"
OTHER_USERS_FIX = {
    "rootless": f"{TAKE_LOCAL}, with an engine that root runs",
    "userns": 'take "userns-remap" out of /etc/docker/daemon.json, then: sudo systemctl restart docker',
}
NETNS, COMPOSE, VAGRANT = "netns", "compose", "vagrant"
EVERYWHERE = (NETNS, COMPOSE, VAGRANT)


@dataclass(frozen=True, slots=True)
class Said:
    """What a check found: the sentence, and when it is not right the command that mends it."""

    text: str
    fix: str = ""

    @property
    def is_ok(self) -> bool:
        """Say whether there is nothing to mend."""
        return not self.fix


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. `is_needed` False: without it the lab starts, and something is less good.

    `look` answers None where another check has said already why there is nothing to look at: one fault, one line.
    """

    name: str
    drivers: tuple[str, ...]
    asks: str
    look: Callable[[Machine, str], Said | None]
    is_needed: bool = True


def decide(machine: Machine, driver: str) -> list[Finding]:
    """Return what there is to say about a machine that is to carry a driver's lab; all of it, not the first fault."""
    found = []
    for check in CHECKS:
        if driver in check.drivers and (said := check.look(machine, driver)):
            found.append(Finding(check.name, said.is_ok, said.text, said.fix, check.is_needed))
    return found


def _linux(machine: Machine, driver: str) -> Said:
    if machine.platform == "linux":
        return Said("this is linux")
    return Said(f"this is {machine.platform}, where there are no namespaces", "make up LAB=compose")


def _python(machine: Machine, driver: str) -> Said:
    text = f"Python {dotted(machine.python)} (3.11 to 3.13 are supported)"
    return Said(text, "" if MIN_PYTHON <= machine.python < BELOW_PYTHON else "rm -r .venv; make up PYTHON=python3.11")


def _programs(machine: Machine, driver: str) -> Said:
    missing = [name for name in PROGRAMS if not machine.programs.get(name)]
    if not missing:
        return Said("unshare, nsenter, setpriv, ip and iptables are installed")
    packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
    return Said(f"not installed: {', '.join(missing)}", f"sudo apt-get install {packages}")


def _readable(machine: Machine, driver: str) -> Said:
    """The lab's users are not you: they have to be able to read the project."""
    if machine.is_readable:
        return Said(f"{machine.checkout} can be read by the lab's users")
    return Said(f"{machine.checkout} cannot be read by the lab's users", f"chmod -R go+rX {machine.checkout}")


def _user_namespaces(machine: Machine, driver: str) -> Said:
    user = machine.user
    if machine.uid == 0:
        return Said("running as root: no user namespace is needed")
    if not machine.programs.get("newuidmap"):
        return Said("newuidmap is not installed", "sudo apt-get install uidmap")
    if machine.subids:
        fix = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
        return Said(f"{user} has no range in {' and '.join(machine.subids)}", fix)
    if machine.namespaces_reason:
        fix = "sudo sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
        return Said(f"a user namespace was refused: {machine.namespaces_reason}", fix)
    return Said(f"{user} may make user namespaces")


def _kernel(machine: Machine, driver: str) -> Said:
    if not machine.kernel_reason:
        return Said("namespaces, veth, REDIRECT, owner and REJECT work here")
    fix = "sudo modprobe -a veth xt_REDIRECT xt_owner xt_conntrack ipt_REJECT ip6t_REJECT"
    return Said(f"the kernel refused what the lab needs: {machine.kernel_reason}", fix)


def _faults(machine: Machine, driver: str) -> Said:
    if not machine.queue_reason:
        return Said("packets can be caught, for faults")
    text = f"`lab break` cannot catch packets (cut, delay, loss, refuse, reset): {machine.queue_reason}"
    return Said(text, "sudo modprobe -a nfnetlink_queue xt_NFQUEUE xt_statistic xt_mark")


def _memory(machine: Machine, driver: str) -> Said:
    needed = MEMORY_MB.get(driver, VM_BASE_MB + VM_MEMORY_MB * machine.hosts)
    if machine.memory_mb is None:
        return Said("nobody here says how much memory is free")
    has = f"{machine.memory_mb} MB of memory free"
    if machine.memory_mb >= needed:
        return Said(f"{has} ({needed} MB are needed)")
    if driver == VAGRANT:
        fix = "end other programs, or take fewer hosts: lab up --hosts cp-1,order-1,payment-1"
        return Said(f"{has}, {needed} MB are needed for {machine.hosts} virtual machines", fix)
    return Said(f"{has}, {needed} MB are needed", "end other programs, or give the machine more memory")


def _disk(machine: Machine, driver: str) -> Said:
    needed = DISK_WITH_IMAGES_MB if machine.docker and machine.docker.has_images else DISK_MB[driver]
    where = f" in {machine.disk_folder}" if machine.disk_folder else ""
    if machine.disk_mb is None or machine.disk_mb >= needed:
        free = "enough" if machine.disk_mb is None else machine.disk_mb
        return Said(f"{free} MB of disk free{where} ({needed} are needed)")
    tidy = "docker system prune, or " if driver == COMPOSE else ""
    return Said(
        f"{machine.disk_mb} MB of disk free{where}, {needed} MB are needed", f"{tidy}remove what is not needed any more"
    )


def _ports(machine: Machine, driver: str) -> Said:
    busy = {port: holder for port, holder in machine.ports.items() if holder}
    if not busy:
        free = ", ".join(str(port) for port in sorted(machine.ports))
        return Said(f"ports {free} of 127.0.0.1 are free" if free else "nothing is published")
    text = "; ".join(f"port {port} of 127.0.0.1 is held by {holder}" for port, holder in sorted(busy.items()))
    text += ": the lab takes another"
    pids = [word for holder in busy.values() for word in holder.split()[1:2] if holder.startswith("pid ")]
    fix = (
        f"kill {' '.join(dict.fromkeys(pids))}"
        if pids
        else f"sudo ss -ltnp 'sport = :{min(busy)}', and end who it names"
    )
    return Said(text, fix)


def _network(machine: Machine, driver: str) -> Said:
    mine = ipaddress.ip_network(machine.network)
    for network, interface in machine.routes:
        theirs = ipaddress.ip_network(network, strict=False)
        # A default route is no overlap. A network of the engine is swept when a lab left it, else refused by its name.
        is_docker = interface.startswith("br-")
        if theirs.version == mine.version and theirs.prefixlen and mine.overlaps(theirs) and not is_docker:
            text = f"the route {network} over {interface} overlaps the lab's network {machine.network}"
            return Said(text, f"end what made {interface} (a VPN, another lab), or: make up LAB=netns")
    return Said(f"no route overlaps the lab's network {machine.network}")


def _docker_installed(machine: Machine, driver: str) -> Said:
    if (machine.docker or Docker()).is_installed:
        return Said("there is a docker command")
    return Said("there is no docker command", f"sudo {INSTALL}")


def _docker_engine(machine: Machine, driver: str) -> Said | None:
    docker = machine.docker or Docker()
    reason = docker.reason.lower()
    if not docker.is_installed:
        return None
    if "permission denied" in reason:
        fix = f"sudo usermod -aG docker {machine.user}, then log in again (who may use it is as good as root)"
        return Said(f"{machine.user} may not use the Docker Engine at {docker.address}", fix)
    if docker.reason:
        start = "open Docker Desktop" if machine.platform != "linux" else "sudo systemctl start docker"
        more = "" if "cannot connect" in reason else f": {docker.reason}"
        here = start if docker.address == Docker().address else f"{TAKE_LOCAL}, or: {start}"
        return Said(f"no Docker Engine answers at {docker.address}{more}", here)
    if docker.api < MIN_API:
        text = f"the Docker Engine at {docker.address} is {docker.version} (API {dotted(docker.api)})"
        return Said(f"{text}, API {dotted(MIN_API)} is needed (Docker 20.10)", f"sudo {INSTALL}")
    return Said(f"the Docker Engine at {docker.address} is {docker.version}")


def _engine_kind(machine: Machine, driver: str) -> Said | None:
    """The lab's folder, the operator's socket in it and the group that may open it are this machine's own."""
    docker = machine.docker or Docker()
    if not docker.is_installed or docker.reason:
        return None
    if not docker.is_local:
        text = f"the Docker Engine at {docker.address} is reached over a network, beyond which the lab's folder is not"
        return Said(text, f"{TAKE_LOCAL}, with an engine here: {INSTALL}")
    if docker.system == "Docker Desktop":
        text = "Docker Desktop runs containers in a machine of its own, whose sockets cannot be dialled from here"
        if machine.platform != "linux":
            return Said(text, "make up LAB=vagrant, or run the lab on a Linux machine")
        return Said(text, f"{TAKE_LOCAL}, with an engine of this machine: {INSTALL}; or: {ELSEWHERE}")
    for name, text in OTHER_USERS.items():
        if any(option.split(",")[0] == f"name={name}" for option in docker.security):
            said = f"the Docker Engine {text}: a group in a container is another one here, and the operator's is lost"
            return Said(said, f"{OTHER_USERS_FIX[name]}; or: {ELSEWHERE}")
    return Said("the Docker Engine is on this machine, and has its users and groups")


def _ipv6(machine: Machine, driver: str) -> Said:
    if machine.has_ipv6:
        return Said("the kernel has IPv6")
    fix = "sudo modprobe ipv6, or take ipv6.disable=1 out of /etc/default/grub, then: sudo update-grub; sudo reboot"
    return Said("the kernel has no IPv6 (no /proc/net/if_inet6), and the lab's network has both families", fix)


def _compose_plugin(machine: Machine, driver: str) -> Said | None:
    docker = machine.docker or Docker()
    if not docker.is_installed:
        return None
    if not docker.compose:
        return Said("docker has no compose plugin", f"sudo {INSTALL_COMPOSE}")
    if docker.compose < MIN_COMPOSE:
        text = f"docker compose is {dotted(docker.compose)}, {dotted(MIN_COMPOSE)} is needed"
        return Said(text, f"sudo {INSTALL_COMPOSE}")
    return Said(f"docker compose is {dotted(docker.compose)}")


def _vagrant(machine: Machine, driver: str) -> Said:
    version = (machine.vm or Vm()).vagrant
    if not version:
        return Said("vagrant is not installed", "sudo apt-get install vagrant")
    if version < MIN_VAGRANT:
        text = f"vagrant is {dotted(version)}, {dotted(MIN_VAGRANT)} is needed"
        return Said(text, "install a newer one: https://developer.hashicorp.com/vagrant/install")
    return Said(f"vagrant is {dotted(version)}")


def _provider(machine: Machine, driver: str) -> Said | None:
    """One of the two is enough; libvirt is the one to mend."""
    vm = machine.vm or Vm()
    if not vm.vagrant:
        return None
    if "vagrant-libvirt" in vm.plugins and not vm.libvirt_reason:
        return Said("vagrant has libvirt for its machines")
    if vm.has_virtualbox:
        return Said("vagrant has VirtualBox for its machines")
    if "vagrant-libvirt" in vm.plugins:
        fix = f"sudo systemctl start libvirtd; sudo usermod -aG libvirt {machine.user}, then log in again"
        return Said(f"libvirt does not answer: {vm.libvirt_reason}", fix)
    fix = "sudo apt-get install vagrant-libvirt libvirt-daemon-system"
    return Said("vagrant has neither libvirt nor VirtualBox for its machines", fix)


def _emulator(machine: Machine, driver: str) -> Said:
    vm = machine.vm or Vm()
    if vm.qemu or vm.has_virtualbox:
        return Said(f"{vm.qemu or 'VirtualBox'} runs virtual machines")
    return Said(
        "no qemu-system program and no VirtualBox runs virtual machines",
        "sudo apt-get install qemu-system-x86 (or qemu-system-arm)",
    )


def _kvm(machine: Machine, driver: str) -> Said:
    vm = machine.vm or Vm()
    slow = "virtual machines are emulated in software, and one takes minutes to boot"
    firmware = "switch virtualisation on in the firmware, then: sudo modprobe -a kvm_intel kvm_amd"
    if not vm.has_kvm:
        return Said(f"there is no /dev/kvm: {slow}", firmware)
    if not vm.may_use_kvm:
        return Said(
            f"{machine.user} may not use /dev/kvm: {slow}", f"sudo usermod -aG kvm {machine.user}, then log in again"
        )
    if vm.is_emulated:
        return Said(
            f"/dev/kvm is there and boots no kernel: {slow}", "run the lab on a machine that is not virtual itself"
        )
    return Said("/dev/kvm is there for virtual machines")


CHECKS = (
    Check("linux", (NETNS,), "is this Linux?", _linux),
    Check("python", EVERYWHERE, "can this Python run the lab?", _python),
    Check("programs", (NETNS,), "are the programs there that make hosts?", _programs),
    Check("readable", (NETNS,), "can the lab's users read the project?", _readable),
    Check("user-namespaces", (NETNS,), "may an ordinary user make namespaces?", _user_namespaces),
    Check("kernel", (NETNS,), "does the kernel do what hosts need? (tried in namespaces of its own)", _kernel),
    Check("faults", (NETNS,), "can packets be caught for faults? (tried there, too)", _faults, is_needed=False),
    Check("docker", (COMPOSE,), "is there a docker command?", _docker_installed),
    Check("engine", (COMPOSE,), "does a Docker Engine answer this user, and is it new enough?", _docker_engine),
    Check("engine-kind", (COMPOSE,), "is it an engine of this machine, with its users and groups?", _engine_kind),
    Check("ipv6", (COMPOSE,), "has the kernel IPv6?", _ipv6),
    Check("compose-plugin", (COMPOSE,), "is there a Compose plugin, new enough?", _compose_plugin),
    Check("vagrant", (VAGRANT,), "is Vagrant there, and new enough?", _vagrant),
    Check("emulator", (VAGRANT,), "is there a program that runs virtual machines?", _emulator),
    Check("provider", (VAGRANT,), "has Vagrant libvirt or VirtualBox for its machines?", _provider),
    Check("kvm", (VAGRANT,), "do virtual machines run at full speed?", _kvm, is_needed=False),
    Check("memory", EVERYWHERE, "is enough memory free?", _memory),
    Check("disk", EVERYWHERE, "is enough disk free?", _disk),
    Check("network", (COMPOSE,), "does nothing else have the lab's addresses?", _network),
    Check("ports", EVERYWHERE, "are the published ports free?", _ports, is_needed=False),
)
