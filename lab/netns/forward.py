"""Published ports: a socket that listens on the user's 127.0.0.1 and dials inside a host.

The listening socket was opened before the lab left the user's network; an open socket stays where it was born.
So no route leads into the lab, and still a browser can: the same way `kubectl port-forward` reaches a pod.
"""

from __future__ import annotations

import asyncio
import os
import socket

from lab.topology import HostSpec, Publish

CHUNK = 65536
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
            group.create_task(_accept(listening, host, targets.get(local_port)))


async def _accept(listening: socket.socket, host: HostSpec, target: Publish | None) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await _dial(host, target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    if listening.family == socket.AF_UNIX:
        server = await asyncio.start_unix_server(carry, sock=listening)
    else:
        server = await asyncio.start_server(carry, sock=listening)
    async with server:
        await server.serve_forever()


async def _dial(host: HostSpec, target: Publish | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if target is None:
        return await asyncio.open_unix_connection(CONTROL_PLANE_SOCKET)
    return await asyncio.open_connection("127.0.0.1" if target.via == "loopback" else host.address, target.port)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()
