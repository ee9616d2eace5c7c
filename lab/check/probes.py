"""Look at this machine for what the checks decide on. Probes change nothing, and none of them waits for long."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.check.machine import Docker, Machine, Vm
from lab.compose.engine import version_in
from lab.driver import LabError, checkout
from lab.netns.launch import NAMESPACE_FLAGS, USER_FLAGS
from lab.topology import Topology

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NETNS_PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "iptables-restore", "ip6tables-restore", "newuidmap")
PROBE_TIMEOUT_S = 20.0
QEMU_NAMES = {"arm64": "aarch64"}  # as macOS calls it, and as QEMU does
NO_QUEUE = "no queue: "

# What the lab asks of a kernel, asked once in a place where nothing can be hurt; at last what only faults need.
KERNEL_PROBE = f"""
set -e
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add probe0 type veth peer name probe1
iptables -w -t nat -A OUTPUT -p tcp -m owner --uid-owner 1338 -j REDIRECT --to-ports 15001
iptables -w -t filter -A OUTPUT -p udp -j REJECT
iptables -w -t mangle -A PREROUTING -m conntrack --ctstate INVALID -j DROP
ip6tables -w -t filter -A OUTPUT -j REJECT
iptables -w -t mangle -A POSTROUTING -m statistic --mode random --probability 0.5 -m mark --mark 1 \
    -j NFQUEUE --queue-num 1 --queue-bypass 2>&1 | sed 's/^/{NO_QUEUE}/'
"""


def look(driver: str, topology: Topology, *, has_fixed_ports: bool = True) -> Machine:
    """Return the facts about this machine that the checks of a driver ask for.

    Args:
        driver: whose.
        topology: the lab that is to be made: its number of hosts, its published ports.
        has_fixed_ports: False for a lab that takes whatever ports are free.
    """
    ports = published(topology) if has_fixed_ports else ()
    facts: dict[str, Any] = {
        "platform": sys.platform,
        "python": tuple(sys.version_info[:2]),
        "user": user(),
        "uid": os.geteuid(),
        "checkout": str(checkout()),
        "is_readable": bool(checkout().stat().st_mode & 0o005 == 0o005),
        "memory_mb": memory_mb(),
        "disk_mb": shutil.disk_usage(checkout()).free // 2**20,
        "hosts": len(topology.hosts),
        "ports": {port: holder(port) for port in ports},
    }
    match driver:
        case "netns":
            facts |= namespaces()
        case "compose":
            engine = docker()
            facts |= {"docker": engine, "routes": routes(), **room_for_images(engine)}
            if sys.platform == "linux":
                facts["has_ipv6"] = has_ipv6()
            else:
                facts["memory_mb"] = engine.memory_mb or None
        case "vagrant":
            facts["vm"] = vm()
    return Machine(**facts)


def user() -> str:
    """Return who runs this, by name where there is one."""
    import getpass

    with contextlib.suppress(KeyError, OSError):
        return getpass.getuser()
    return str(os.geteuid())


def published(topology: Topology) -> tuple[int, ...]:
    """Return the ports of 127.0.0.1 that a lab wants."""
    return tuple(sorted(item.local_port for host in topology.hosts.values() for item in host.publish))


def memory_mb(path: Path = Path("/proc/meminfo")) -> int | None:
    """Return the free memory, None on a system that does not say."""
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) // 1024
    return None


def has_ipv6(path: Path = Path("/proc/net/if_inet6")) -> bool:
    """Say whether the kernel has IPv6: without it (ipv6.disable=1) there is no such file."""
    return path.exists()


def room_for_images(engine: Docker) -> Mapping[str, Any]:
    """Return how much is free where an engine keeps its images; nothing where that cannot be seen from here."""
    if engine.is_local and engine.root:
        with contextlib.suppress(OSError):  # a folder of a virtual machine, or one that this user may not see
            return {"disk_mb": shutil.disk_usage(engine.root).free // 2**20, "disk_folder": engine.root}
    return {}


# --------------------------------------------------------------------------------------------------- ports, routes


def holder(port: int) -> str:
    """Return who listens where 127.0.0.1:`port` would: `pid 12 (python3 -m http.server)`; empty when nobody does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind(("127.0.0.1", port))
        except PermissionError:
            return "the system: an ordinary user may not have it"
        except OSError:
            return _process_at(port) or "a process of somebody else"
    return ""


def _process_at(port: int) -> str:
    """Look up a listening socket in /proc; only its owner and root see whose it is."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(entry) in inodes for entry in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"pid {process.name} ({words[:80]})"
    return ""


def routes() -> tuple[tuple[str, str], ...]:
    """Return the networks that this machine has a route to, with the interface."""
    found = []
    for route in json.loads(_ask(["ip", "-j", "-4", "route", "show", "table", "all"]) or "[]"):
        network = route.get("dst", "")
        if "dev" in route and network[:1].isdigit() and route.get("type") not in ("broadcast", "local"):
            found.append((network if "/" in network else f"{network}/32", str(route["dev"])))
    return tuple(found)


# --------------------------------------------------------------------------------------------------- namespaces


def namespaces() -> Mapping[str, Any]:
    """Return what is known of namespaces; the kernel is asked only when hosts could be made at all."""
    programs = {name: shutil.which(name, path=SYSTEM_PATH) or "" for name in NETNS_PROGRAMS}
    facts: dict[str, Any] = {"programs": programs}
    needed = [name for name in NETNS_PROGRAMS if name != "newuidmap" or os.geteuid()]
    if sys.platform != "linux" or not all(programs[name] for name in needed):
        return facts
    flags: tuple[str, ...] = NAMESPACE_FLAGS
    if os.geteuid():
        flags = (*USER_FLAGS, *NAMESPACE_FLAGS)
        facts["subids"] = without_range(user(), os.geteuid())
        facts["namespaces_reason"] = "" if facts["subids"] else refusal(["unshare", *USER_FLAGS, "true"])[0]
        if facts["subids"] or facts["namespaces_reason"]:
            return facts
    facts["kernel_reason"], said = refusal(["unshare", *flags, "sh", "-c", KERNEL_PROBE])
    facts["queue_reason"] = next((line.removeprefix(NO_QUEUE) for line in said.splitlines() if NO_QUEUE in line), "")
    return facts


def without_range(name: str, uid: int, folder: Path = Path("/etc")) -> tuple[str, ...]:
    """Return the files of subordinate ids that have no range for a user."""
    missing = []
    for path in (folder / "subuid", folder / "subgid"):
        lines = path.read_text().splitlines() if path.exists() else []
        if not any(line.split(":")[0] in (name, str(uid)) for line in lines):
            missing.append(str(path))
    return tuple(missing)


# --------------------------------------------------------------------------------------------------- Docker, Vagrant


def docker() -> Docker:
    """Ask `docker` for its engine and its Compose plugin."""
    if not shutil.which("docker"):
        return Docker(is_installed=False, version="", api=(), compose=())
    from lab.compose.engine import address

    argv = ["docker", "info", "--format", "{{json .}}"]
    reason, said = refusal(argv)
    info = _json(said)
    reasons = info.get("ServerErrors") or ([reason] if reason else [])
    asked = ["docker", "version", "--format", "{{.Server.APIVersion}} {{.Server.Arch}}"]
    api, _, architecture = ("" if reasons else _ask(asked)).partition(" ")
    return Docker(
        address=address(os.environ),
        reason=" ".join(str(reasons[0]).split())[:200] if reasons else "",
        version=str(info.get("ServerVersion", "")),
        api=version_in(api),
        compose=version_in(_ask(["docker", "compose", "version", "--short"])),
        memory_mb=int(info.get("MemTotal", 0)) // 2**20,
        system=str(info.get("OperatingSystem", "")),
        security=tuple(str(option) for option in info.get("SecurityOptions") or ()),
        root=str(info.get("DockerRootDir", "")),
        has_images=has_images(architecture.strip()),
    )


def has_images(architecture: str) -> bool:
    """Say whether the engine has every image that `lab up` would take; False when that cannot be said."""
    from lab.compose.images import wanted
    from lab.compose.options import Options
    from lab.compose.recipes import REPOSITORY, missing

    listed = ["docker", "images", "--filter", f"reference={REPOSITORY}/*", "--format", "{{.Repository}}:{{.Tag}}"]
    have = _ask(listed).split() if architecture else []
    try:
        return bool(have) and not missing(wanted(Options.from_environment(os.environ), architecture), have)
    except LabError:
        return False  # the options contradict each other: whoever builds says so


def vm() -> Vm:
    """Ask for Vagrant, its plugins, and what may carry its machines."""
    has_vagrant = bool(shutil.which("vagrant"))
    plugins = _ask(["vagrant", "plugin", "list"]) if has_vagrant else ""
    machine = os.uname().machine
    uri = os.environ.get("LIBVIRT_DEFAULT_URI", "qemu:///system")
    libvirt = refusal(["virsh", "--connect", uri, "version"])[0] if shutil.which("virsh") else "there is no virsh"
    return Vm(
        vagrant=version_in(_ask(["vagrant", "--version"])) if has_vagrant else (),
        plugins=tuple(line.split()[0] for line in plugins.splitlines() if line[:1].isalpha()),
        libvirt_reason=libvirt,
        has_virtualbox=bool(shutil.which("VBoxManage")),
        qemu=shutil.which(os.environ.get("LAB_QEMU") or f"qemu-system-{QEMU_NAMES.get(machine, machine)}") or "",
        has_kvm=Path("/dev/kvm").exists(),
        may_use_kvm=os.access("/dev/kvm", os.R_OK | os.W_OK),
        is_emulated=is_emulated(checkout() / ".lab" / "cache" / "accel"),
    )


def is_emulated(note: Path) -> bool:
    """Say whether `lab/vagrant/accel.sh` found out, since this machine booted, that its KVM boots nothing."""
    if os.environ.get("LAB_VM_ACCEL"):
        return os.environ["LAB_VM_ACCEL"] == "tcg"
    with contextlib.suppress(OSError, ValueError):
        boot, found = note.read_text().split()
        return found == "tcg" and boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return False


# --------------------------------------------------------------------------------------------------- asking


def refusal(argv: Sequence[str]) -> tuple[str, str]:
    """Run a command; return the last line of its complaint (empty when it worked) and what it printed."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{argv[0]} gave no answer for {PROBE_TIMEOUT_S:g} s", ""
    except OSError as error:
        return str(error), ""
    if done.returncode == 0:
        return "", done.stdout
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return (lines or ["it failed without a word"])[-1], done.stdout


def _ask(argv: Sequence[str]) -> str:
    reason, said = refusal(argv)
    return "" if reason else said


def _json(text: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    return {}
