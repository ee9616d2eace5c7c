"""From outside: start the lab's init in fresh namespaces, find it again, end it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab.driver import LabError
from lab.netns import control
from lab.netns.forward import OPERATOR_SOCKET
from lab.netns.plan import Plan
from lab.place import LabFolder
from lab.services import is_foreign, service_files
from lab.topology import Topology

NAMESPACE_FLAGS = ("--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child=SIGKILL")
USER_FLAGS = ("--user", "--map-root-user", "--map-auto")
KILL_WAIT_S = 10.0
# Labs that this very process started: their outermost process is our child, and a parent has to collect its dead.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


class Folder(LabFolder):
    """The folder of a lab on namespaces."""

    __slots__ = ()
    driver = "netns"

    @property
    def control(self) -> Path:
        """Return the lab's control socket."""
        return self.path / "lab.sock"

    @property
    def log(self) -> Path:
        """Return what the init printed."""
        return self.path / "init.log"


@dataclass(frozen=True, slots=True)
class Started:
    """A lab whose init runs, not yet committed. `commit` lets it outlive this process."""

    lifeline: int

    def commit(self) -> None:
        """Tell the init that `up` succeeded."""
        os.write(self.lifeline, b"1")
        os.close(self.lifeline)


def start(folder: Folder, topology: Topology, checkout: Path, *, fixed_ports: bool) -> Started:
    """Start a lab's init.

    Args:
        folder: the lab's folder, empty.
        topology: which hosts.
        checkout: the folder of this project.
        fixed_ports: publish at the ports of the topology when they are free; else at any free port.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    listeners, urls = _published(topology, fixed_ports)
    server = control.listen(folder.control)
    operator = control.listen(folder.operator)
    listeners.setdefault(topology.control_plane.name, {})[OPERATOR_SOCKET] = operator.detach()
    lifeline_read, lifeline_write = os.pipe()
    control_fd = server.detach()
    foreign = {host.name: service_files(checkout / host.service_dir) for host in topology.services if is_foreign(host)}
    plan = Plan(topology, str(checkout), foreign, control_fd, lifeline_read, listeners)
    plan.write(folder.path / "plan.json")
    inherited = [control_fd, lifeline_read, *(fd for fds in listeners.values() for fd in fds.values())]
    with open(folder.log, "wb") as log:
        process = subprocess.Popen(
            [*_unshare(), sys.executable, "-m", "lab.netns.init", str(folder.path / "plan.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=inherited,
            start_new_session=True,
            cwd=checkout,
            env=_environment(folder),
        )
    _CHILDREN[process.pid] = process
    for descriptor in inherited:
        os.close(descriptor)
    state = {"pid": process.pid, "start_time": _start_time(process.pid), "urls": urls}
    folder.save(state)
    return Started(lifeline_write)


def _unshare() -> list[str]:
    flags = NAMESPACE_FLAGS if os.geteuid() == 0 else (*USER_FLAGS, *NAMESPACE_FLAGS)
    return ["unshare", *flags]


def _environment(folder: Folder) -> dict[str, str]:
    """Return the environment of everything in the lab: programs, and nothing of the user's."""
    path = f"{Path(sys.prefix) / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LANG": "C.UTF-8", "LAB_CONTROL": str(folder.control), "PYTHONDONTWRITEBYTECODE": "1"}


def _published(topology: Topology, fixed: bool) -> tuple[dict[str, dict[int, int]], dict[str, str]]:
    """Open the published ports on 127.0.0.1; return descriptors by host, and URLs by name."""
    listeners: dict[str, dict[int, int]] = {}
    urls: dict[str, str] = {}
    for host in topology.hosts.values():
        for item in host.publish:
            server = _listen_tcp(item.local_port if fixed else 0)
            listeners.setdefault(host.name, {})[item.local_port] = server.fileno()
            label = host.service or str(host.role)
            urls[label] = f"http://127.0.0.1:{server.getsockname()[1]}"
            server.detach()
    return listeners, urls


def _listen_tcp(port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(("127.0.0.1", port))
    except OSError:
        server.bind(("127.0.0.1", 0))
    server.listen(128)
    return server


def _start_time(pid: int) -> str:
    """Return a process's start time in ticks since boot: with the id it names one process for ever."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def running_pid(folder: Folder) -> int:
    """Return the id of the lab's outermost process, or 0 when it has ended."""
    state = folder.saved()
    pid = int(str(state.get("pid", 0)))
    return pid if pid and _start_time(pid) == state.get("start_time") else 0


def end(folder: Folder) -> None:
    """End a lab in whatever state it is, wait until its init is gone, and remove its folder.

    Raises:
        LabError: it did not end in time.
    """
    pid = running_pid(folder)
    if pid:
        handle = os.pidfd_open(pid)
        init = init_pid(folder)
        init_handle = os.pidfd_open(init) if init else None
        with contextlib.suppress(LabError):
            control.ask(folder.control, {"op": "down"}, timeout_s=2.0)
        # unshare passes its own death on to the lab's init, and the init's death ends every process of the lab.
        _await_end(handle, pid, folder)
        if pid in _CHILDREN:
            _CHILDREN.pop(pid).wait()
        if init_handle is not None:
            _await_end(init_handle, init, folder)
    folder.remove()


def _await_end(handle: int, pid: int, folder: Folder) -> None:
    deadline = time.monotonic() + KILL_WAIT_S
    with os.fdopen(handle, "rb", closefd=True) as watched:
        if select.select([watched], [], [], 2.0)[0]:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([watched], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise LabError(f"ending the lab: process {pid} does not end; see {folder.log}")


def init_pid(folder: Folder) -> int:
    """Return the id of the lab's init as seen from here, or 0."""
    pid = running_pid(folder)
    children = children_of(pid) if pid else []
    return children[0] if children else 0


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def seen_from_here(folder: Folder, inner_pid: int) -> int:
    """Translate a process id of the lab's outer PID namespace into ours.

    Raises:
        LabError: no such process.
    """
    init = init_pid(folder)
    for child in children_of(init):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{child}/status").read_text()
            ids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            depth = ids.index(str(child)) if str(child) in ids else 0
            if len(ids) > depth + 1 and ids[depth + 1] == str(inner_pid):
                return child
    raise LabError(f"the lab has no process {inner_pid}; is it going down?")
