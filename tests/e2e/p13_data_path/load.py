"""Runs on a host: many calls at once over many connections; prints how many went well, and what went wrong.

Reads {"url", "kind", "size", "calls", "at_once", "within_s"} on stdin. A call goes well when every byte is what it
should be, and all are there in time.
"""

import asyncio
import collections
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

PIECE = 10_000


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body in pieces: it is sent in chunks, without a length."""
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]
        await asyncio.sleep(0)


async def one(session: ClientSession, ask: dict[str, Any], number: int) -> str:
    """Make one call; return an empty string or what was wrong."""
    size, url, kind = ask["size"], ask["url"], ask["kind"]
    body = (b"%08d" % number) * (size // 8)
    if kind in ("give", "stream"):
        request, wanted = session.get(f"{url}/{kind}/{size}"), b"g" * size
    elif kind == "echo":
        request, wanted = session.post(f"{url}/echo", data=pieces(body)), body
    else:
        data = pieces(body) if kind == "chunked" else body
        request, wanted = session.post(f"{url}/digest", data=data), hashlib.sha256(body).hexdigest().encode()
    try:
        async with request as response:
            seen = await response.read()
            return "" if response.status == 200 and seen == wanted else f"{response.status}: {seen[:300]!r}"
    except (ClientError, TimeoutError, OSError) as error:
        return f"{type(error).__name__}: {error}"


async def main() -> None:
    """Make the calls, so many at once."""
    ask = json.load(sys.stdin)
    faults: collections.Counter[str] = collections.Counter()
    numbers = iter(range(ask["calls"]))
    began = time.monotonic()

    async def worker(session: ClientSession) -> None:
        for number in numbers:
            fault = await one(session, ask, number)
            if fault:
                faults[fault] += 1

    async with ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=ask["within_s"])) as session:
        await asyncio.gather(*(worker(session) for _ in range(ask["at_once"])))
    print(json.dumps({"faults": faults, "took_s": time.monotonic() - began}))


asyncio.run(main())
