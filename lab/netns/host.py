"""One host: from a fork of the lab's init to PID 1 of its own namespaces."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from typing import Any

from lab.driver import LabError
from lab.netns import links, mounts, syscalls
from lab.netns.spawn import spawn
from lab.netns.supervisor import Supervisor
from lab.provision import HostFile, dirs_of, files_of
from lab.topology import HostSpec, Topology
from lab.units import SERVICE_DIR, units_of

NAMESPACES = (
    syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWPID
)
FURNISHED, FURNISH_S = b"F", 30.0  # a host's first word


def start(
    host: HostSpec,
    topology: Topology,
    *,
    checkout: str,
    service_hcl: str,
    brought: dict[str, str],
    listeners: dict[int, int],
) -> Host:
    """Make a host and return the handle of it; it furnishes itself, and its units start by themselves.

    Args:
        host: which.
        topology: the whole lab.
        checkout: the folder of the project.
        service_hcl: the text of its service.hcl, empty for a host without service.
        brought: files of a service whose folder is not in the checkout; they are laid into SERVICE_DIR.
        listeners: local port -> listening file descriptor, of the ports this host publishes.
    """
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        ours.close()
        files = files_of(topology, host, service_hcl)
        files |= {f"{SERVICE_DIR}/{name}": HostFile(text) for name, text in brought.items()}
        _enter(host, topology, theirs, write_end, checkout, files, listeners)
    theirs.close()
    os.close(write_end)
    pid = struct.unpack("i", os.read(read_end, 4))[0]
    os.close(read_end)
    os.waitpid(middle, 0)
    is_plugged = False
    try:
        links.plug_in(host, pid)
        ours.sendall(b"L")
        is_plugged = True
    finally:
        if not is_plugged:
            os.kill(pid, signal.SIGKILL)
            ours.close()
    return Host(host, pid, ours)


def needed_of(checkout: str) -> list[str]:
    """Return the folders of the machine that every process of the lab has to see: the project and its Python."""
    return [checkout, sys.prefix, sys.base_prefix]


class Host:
    """The init's handle of one host."""

    def __init__(self, spec: HostSpec, pid: int, channel: socket.socket) -> None:
        self.spec = spec
        self.pid = pid
        self.channel = channel
        self.units: dict[str, dict[str, Any]] = {}
        self.buffer = b""

    def wait_until_furnished(self) -> None:
        """Wait until the host has files of its own: whoever lays a file onto it earlier lays it onto this machine.

        Raises:
            LabError: it ended before, or took too long.
        """
        self.channel.settimeout(FURNISH_S)
        try:
            is_furnished = self.channel.recv(len(FURNISHED)) == FURNISHED
        except TimeoutError:
            is_furnished = False
        self.channel.settimeout(None)
        if not is_furnished:
            raise LabError(f"{self.spec.name} did not become a host; why is in the lab's init.log")


def _enter(
    host: HostSpec,
    topology: Topology,
    channel: socket.socket,
    pid_pipe: int,
    checkout: str,
    files: dict[str, HostFile],
    listeners: dict[int, int],
) -> None:
    """In the fork: take new namespaces, fork once more to be PID 1 in them, and never return."""
    code = 1
    try:
        syscalls.unshare(NAMESPACES)
        pid = os.fork()
        if pid:
            os.write(pid_pipe, struct.pack("i", pid))
            os._exit(0)
        os.close(pid_pipe)
        _live(host, topology, channel, checkout, files, listeners)
        code = 0
    finally:
        os._exit(code)


def _live(
    host: HostSpec,
    topology: Topology,
    channel: socket.socket,
    checkout: str,
    files: dict[str, HostFile],
    listeners: dict[int, int],
) -> None:
    _close_all_but(channel.fileno(), *listeners.values())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    syscalls.prctl(syscalls.PR_SET_NAME, f"host-{host.name}".encode()[:15])
    syscalls.sethostname(host.name)
    mounts.furnish(files, dirs_of(host), needed_of(checkout))
    channel.sendall(FURNISHED)
    channel.recv(1)  # the cable is plugged in
    links.configure(host, topology)
    if listeners:
        _publish(host, listeners, channel)
    Supervisor(units_of(host, checkout), channel, spawn).run()


def _publish(host: HostSpec, listeners: dict[int, int], channel: socket.socket) -> None:
    """Fork the process that carries this host's published ports."""
    if os.fork():
        for descriptor in listeners.values():
            os.close(descriptor)
        return
    os.close(channel.fileno())
    from lab.netns import forward

    forward.run(host, listeners)
    os._exit(0)


def _close_all_but(*kept: int) -> None:
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, 4096)
