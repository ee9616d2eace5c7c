"""Preflight: can this machine carry a lab of namespaces? Each finding says what was found and the mending command.

`run` probes by doing: it makes a throw-away set of namespaces and asks the kernel there for what the lab needs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.driver import checkout
from lab.netns.launch import NAMESPACE_FLAGS, USER_FLAGS

PROGRAMS = {"unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "ip": "iproute2"}
PROGRAMS |= {"iptables-restore": "iptables", "ip6tables-restore": "iptables"}
MIN_MEMORY_MB = 1024
MIN_PYTHON, BELOW_PYTHON = (3, 11), (3, 14)
PROBE_TIMEOUT_S = 10.0

# What the lab asks of a kernel, asked once in a place where nothing can be hurt.
KERNEL_PROBE = """
set -e
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add probe0 type veth peer name probe1
iptables -w -t nat -A OUTPUT -p tcp -m owner --uid-owner 1338 -j REDIRECT --to-ports 15001
iptables -w -t filter -A OUTPUT -p udp -j REJECT
iptables -w -t mangle -A PREROUTING -m conntrack --ctstate INVALID -j DROP
ip6tables -w -t filter -A OUTPUT -j REJECT
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `is_needed` False makes a fault of it a warning."""

    name: str
    is_ok: bool
    text: str
    fix: str = ""
    is_needed: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return this finding as JSON values."""
        return asdict(self)


def run() -> list[Finding]:
    """Look at everything; stop at nothing, so that one run names all that has to be mended."""
    findings = [_system(), _python(), *_programs(), _user_namespaces(), _memory(), _readable(checkout())]
    if all(finding.is_ok for finding in findings if finding.is_needed):
        findings.append(_kernel())
    return findings


def _system() -> Finding:
    is_linux = sys.platform == "linux"
    return Finding(
        "linux", is_linux, f"this is {sys.platform}", "run the lab in a Linux VM; hosts are Linux namespaces"
    )


def _python() -> Finding:
    version = sys.version_info[:2]
    is_ok = MIN_PYTHON <= version < BELOW_PYTHON
    text = f"Python {version[0]}.{version[1]} (3.11 to 3.13 are supported)"
    return Finding("python", is_ok, text, "rm -r .venv; make up PYTHON=python3.11")


def _programs() -> list[Finding]:
    findings = []
    for program, package in PROGRAMS.items():
        path = shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        text = f"{program} is {path}" if path else f"{program} is not installed"
        findings.append(Finding(f"program-{program}", bool(path), text, f"apt-get install {package}"))
    return findings


def _user_namespaces() -> Finding:
    if os.geteuid() == 0:
        return Finding("user-namespaces", True, "running as root: no user namespace is needed")
    if not shutil.which("newuidmap"):
        return Finding("user-namespaces", False, "newuidmap is not installed", "sudo apt-get install uidmap")
    import getpass

    user = getpass.getuser()
    ranges = Path("/etc/subuid").read_text() if Path("/etc/subuid").exists() else ""
    if not any(line.split(":")[0] in (user, str(os.geteuid())) for line in ranges.splitlines()):
        fix = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
        return Finding("user-namespaces", False, f"{user} has no range in /etc/subuid", fix)
    done = _try(["unshare", *USER_FLAGS, "true"])
    if done:
        fix = "sudo sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
        return Finding("user-namespaces", False, f"a user namespace was refused: {done}", fix)
    return Finding("user-namespaces", True, f"{user} may make user namespaces")


def _memory() -> Finding:
    lines = Path("/proc/meminfo").read_text().splitlines()
    free_mb = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable"))
    text = f"{free_mb} MB of memory free ({MIN_MEMORY_MB} MB are needed)"
    return Finding("memory", free_mb >= MIN_MEMORY_MB, text, "end other programs, or give the machine more memory")


def _readable(folder: Path) -> Finding:
    """The lab's users are not you: they have to be able to read the project."""
    is_ok = bool(folder.stat().st_mode & 0o005 == 0o005)
    text = f"{folder} can{'' if is_ok else 'not'} be read by the lab's users"
    return Finding("readable", is_ok, text, f"chmod -R go+rX {folder}")


def _kernel() -> Finding:
    flags = NAMESPACE_FLAGS if os.geteuid() == 0 else (*USER_FLAGS, *NAMESPACE_FLAGS)
    trouble = _try(["unshare", *flags, "sh", "-c", KERNEL_PROBE])
    if trouble:
        fix = "modprobe -a veth xt_REDIRECT xt_owner xt_conntrack ipt_REJECT ip6t_REJECT (as root)"
        return Finding("kernel", False, f"the kernel refused what the lab needs: {trouble}", fix)
    return Finding("kernel", True, "namespaces, veth, REDIRECT, owner and REJECT work here")


def _try(argv: list[str], run: Callable[..., Any] = subprocess.run) -> str:
    """Return an empty string when the command works, else what it said."""
    try:
        done = run(argv, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it failed without a word"])[-1]
