"""Published ports: a socket that listens on the user's 127.0.0.1 and dials inside a host.

The listening socket was opened before the lab left the user's network; an open socket stays where it was born.
So no route leads into the lab, and still a browser can: the same way `kubectl port-forward` reaches a pod.
"""

from __future__ import annotations

import asyncio
import os
import socket

from lab.onhost.door import carrier
from lab.topology import HostSpec, Publish

OPERATOR_SOCKET = -1  # the key under which the operator's unix socket comes instead of a port
CONTROL_PLANE_SOCKET = "/run/mesh/control-plane.sock"


def run(host: HostSpec, listeners: dict[int, int]) -> None:
    """Serve the published ports of a host until the lab ends.

    Args:
        host: its `publish` says where each port leads.
        listeners: local port (or OPERATOR_SOCKET) -> listening file descriptor.
    """
    asyncio.run(_serve(host, listeners))


async def _serve(host: HostSpec, listeners: dict[int, int]) -> None:
    targets = {item.local_port: item for item in host.publish}
    async with asyncio.TaskGroup() as group:
        for local_port, descriptor in listeners.items():
            family = socket.AF_UNIX if local_port == OPERATOR_SOCKET else socket.AF_INET
            listening = socket.socket(family, socket.SOCK_STREAM, fileno=descriptor)
            os.set_blocking(descriptor, False)
            group.create_task(_accept(listening, _target(host, targets.get(local_port))))


async def _accept(listening: socket.socket, target: str) -> None:
    open_server = asyncio.start_unix_server if listening.family == socket.AF_UNIX else asyncio.start_server
    async with await open_server(carrier(target), sock=listening) as server:
        await server.serve_forever()


def _target(host: HostSpec, publish: Publish | None) -> str:
    """Return where a port leads, as a door's address; without one it is the operator's socket."""
    if publish is None:
        return CONTROL_PLANE_SOCKET
    return f"tcp:{'127.0.0.1' if publish.via == 'loopback' else host.address}:{publish.port}"
