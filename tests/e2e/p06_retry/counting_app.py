"""An application that counts what it was asked, before it does anything: the witness of what was delivered.

Each request that it has read to the end becomes one line of a file. Then it does as the request says:
`x-reset-on: HOST,HOST` resets the connection where it is named; `/slow` waits; `/half` says half an answer and resets.
"""

import asyncio
import os
import socket
import struct
from pathlib import Path

HOST = os.environ["HOST_NAME"]
SERVED = Path(os.environ["DATA_DIR"]) / "served"
RESET = struct.pack("ii", 1, 0)


def answer(body: bytes, length: int | None = None) -> bytes:
    """Return a whole response; `length` claims another one."""
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body) if length is None else length, body)


async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve the requests of one connection."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode().split("\r\n")
            method, path, _ = first.split()
            fields = dict(line.lower().split(": ", 1) for line in lines if line)
            await reader.readexactly(int(fields.get("content-length", 0)))
            if path != "/health":
                with SERVED.open("a") as file:
                    file.write(f"{method} {path}\n")
            is_reset = HOST in fields.get("x-reset-on", "")
            if path == "/slow":
                await asyncio.sleep(3.0)
            if path == "/half":
                writer.write(answer(b"only a part", length=1000))
                await writer.drain()
                is_reset = True
            if is_reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
                return
            writer.write(answer(HOST.encode()))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve for ever."""
    SERVED.write_text("")
    server = await asyncio.start_server(serve_one, "127.0.0.1", 8080)
    async with server:
        await server.serve_forever()


asyncio.run(main())
