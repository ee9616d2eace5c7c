"""Holds many connections open by sending one byte now and then. Run on a host; JSON in, JSON out.

In, on stdin: `address`, `port`, perhaps `svid` as in raw_client, `connections`, `until_s`. A third of the connections
stay in the head of a request, a third in its body; with an `svid` the rest stays in the TLS handshake, else in the
head, too. Out: for each kind the pairs of first line of the answer and seconds until the connection ended.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
import time
from typing import Any

HEAD = b"GET /slow HTTP/1.1\r\nHost: a\r\nX-Slow: "
BODY = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01"  # the beginning of a record that carries a ClientHello
EVERY_S = 0.5


def tls_of(svid: dict[str, str]) -> ssl.SSLContext:
    """Return a context that proves the SVID and believes whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as handle:
        handle.write(svid["chain"] + svid["key"])
        handle.flush()
        context.load_cert_chain(handle.name)
    return context


async def drip(ask: dict[str, Any], first: bytes, context: ssl.SSLContext | None) -> tuple[str, float]:
    """Send the first bytes, then one after the other, until the connection ends."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(ask["address"], ask["port"], ssl=context)
    writer.write(first)
    answer = asyncio.ensure_future(reader.read())
    while not answer.done() and time.monotonic() - began < ask["until_s"]:
        await asyncio.wait({answer}, timeout=EVERY_S)
        if not answer.done():
            writer.write(b"a")
    took_s = time.monotonic() - began
    if not answer.done():
        answer.cancel()
        return "still open", took_s
    writer.close()
    said = answer.result() if answer.exception() is None else b"reset"
    return said.split(b"\r\n")[0].decode("latin-1"), took_s


async def main() -> None:
    """Do what stdin says."""
    ask = json.load(sys.stdin)
    context = tls_of(ask["svid"]) if ask.get("svid") else None
    kinds = {"head": (HEAD, context), "body": (BODY, context)}
    if context is not None:
        kinds["handshake"] = (HELLO, None)
    each = ask["connections"] // len(kinds)
    waits = {kind: [drip(ask, first, tls) for _ in range(each)] for kind, (first, tls) in kinds.items()}
    ended = {kind: asyncio.gather(*all_of_it) for kind, all_of_it in waits.items()}
    json.dump({kind: await future for kind, future in ended.items()}, sys.stdout)


asyncio.run(main())
