"""Carry connections from one address to another: `door.py LISTEN=DIAL ...`, each `tcp:IP:PORT` or a socket's path.

A port of a host is published by two of these. One runs inside the host's network and listens on a socket file; the
other runs outside, where ports can be published, and dials that file. So a browser comes in, and no route leads in or
out. Stdlib only: it runs where nothing but Python is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable

CHUNK = 65536
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dial(address: str) -> Streams:
    """Open a connection to an address."""
    kind, _, rest = address.partition(":")
    if kind != "tcp":
        return await asyncio.open_unix_connection(address)
    host, _, port = rest.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def listen(address: str, carry: Callable[..., Awaitable[None]]) -> asyncio.Server:
    """Listen at an address; a socket file of an earlier life is taken away."""
    kind, _, rest = address.partition(":")
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        return await asyncio.start_server(carry, host, int(port))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)
    return await asyncio.start_unix_server(carry, address)


def carrier(target: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Return what is done with each connection: the same bytes to and from `target`."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await dial(target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        for end in (writer, far_writer):
            end.close()

    return carry


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction until its end, and pass the end on."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


async def serve(pairs: list[tuple[str, str]]) -> None:
    """Serve until SIGTERM."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    servers = [await listen(here, carrier(there)) for here, there in pairs]
    await stopped.wait()
    for server in servers:
        server.close()


def main(argv: list[str]) -> int:
    """Run; the exit code is 2 when the arguments are no pairs."""
    pairs = [(here, there) for here, _, there in (argument.partition("=") for argument in argv)]
    if not pairs or not all(here and there for here, there in pairs):
        print("usage: door.py LISTEN=DIAL ... (tcp:IP:PORT or /path/of/a/socket)", file=sys.stderr)  # noqa: T201
        return 2
    asyncio.run(serve(pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
