"""An application that speaks no HTTP: it gives back what it gets, and after the last byte says how much that was.

A caller whose first bytes are `LISTEN` is told `DONE` and nothing more, while the application goes on to read: it has
closed its own direction first. What it then read, and how many connections it ever accepted, is in files beside it.
"""

import asyncio
import os
from pathlib import Path

STATE = Path(os.environ["DATA_DIR"])
accepted = 0


async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until its end. Only those that came through the sidecar (127.0.0.6) count."""
    global accepted
    if writer.get_extra_info("peername")[0] == "127.0.0.6":
        accepted += 1
        (STATE / "accepted").write_text(str(accepted))
    total, is_listening = 0, False
    try:
        while data := await reader.read(65536):
            total += len(data)
            if data.startswith(b"LISTEN"):
                is_listening = True
                writer.write(b"DONE")
                writer.write_eof()
            if not is_listening:
                writer.write(data)
                await writer.drain()
        if is_listening:
            (STATE / "heard").write_text(str(total))
        else:
            writer.write(b"TOTAL %d" % total)
            await writer.drain()
    except ConnectionError:
        (STATE / "broken").write_text(str(total))
    finally:
        writer.close()


async def main() -> None:
    """Serve for ever."""
    (STATE / "accepted").write_text("0")
    server = await asyncio.start_server(serve_one, "127.0.0.1", 8080)
    async with server:
        await server.serve_forever()


asyncio.run(main())
