"""Sends raw bytes over many connections at once and tells what came back. Run on a host; JSON in, JSON out.

In, on stdin: `address`, `port`, perhaps `svid` (PEM texts `chain` and `key`: then with TLS, proving to be its owner),
and `messages`: name, bytes as latin-1, how many answers to wait for, whether the server has to end the connection,
and whether the client says that it has no more to send. Out: for each name the statuses of the final answers, how the
connection ended, and everything that came.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

TIMEOUT_S = 15.0  # waited out only where a connection stays open
CONNECTIONS = 24
HEAD = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
CHUNKS = re.compile(rb"(?s)(?:.*?\r\n)?0\r\n\r\n")


def answers_in(data: bytes, *, is_first_bodyless: bool) -> list[int]:
    """Return the statuses of the complete final answers in what came; the first may be the answer to a HEAD."""
    statuses, position = [], 0
    while (head := HEAD.match(data, position)) is not None:
        position = head.end()
        length = LENGTH.search(head[0])
        if int(head[1]) in (204, 304) or (is_first_bodyless and not statuses):
            statuses.append(int(head[1]))
            continue
        if CHUNKED.search(head[0]):
            body = CHUNKS.match(data, position)
            if body is None:
                break
            position = body.end()
        elif length:
            position += int(length[1])
        if position > len(data):
            break
        if int(head[1]) >= 200:
            statuses.append(int(head[1]))
    return statuses


def statuses_for(raw: bytes, received: bytes) -> list[int]:
    """Return the statuses of the answers to what was sent."""
    return answers_in(received, is_first_bodyless=raw.startswith(b"HEAD "))


def tls_of(svid: dict[str, str]) -> ssl.SSLContext:
    """Return a context that proves the SVID and believes whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as handle:
        handle.write(svid["chain"] + svid["key"])
        handle.flush()
        context.load_cert_chain(handle.name)
    return context


def talk(sock: socket.socket, raw: bytes, wanted: int, *, must_end: bool, is_half_closed: bool) -> tuple[bytes, str]:
    """Send, and read until what was waited for is there. Returns what came and how it ended."""
    received = b""
    try:
        sock.sendall(raw)
        if is_half_closed:
            sock.shutdown(socket.SHUT_WR)
        while must_end or len(statuses_for(raw, received)) < wanted:
            data = sock.recv(65536)
            if not data:
                return received, "closed"
            received += data
    except TimeoutError:
        return received, "open"
    except OSError as error:
        return received, f"reset: {error}"
    return received, "open"


def main() -> None:
    """Do what stdin says."""
    ask = json.load(sys.stdin)
    context = tls_of(ask["svid"]) if ask.get("svid") else None

    def one(message: list[Any]) -> dict[str, Any]:
        name, text, wanted, must_end, is_half_closed = message
        raw = text.encode("latin-1")
        with socket.create_connection((ask["address"], ask["port"]), timeout=TIMEOUT_S) as plain:
            local = plain.getsockname()
            with context.wrap_socket(plain) if context else plain as sock:
                received, end = talk(sock, raw, wanted, must_end=must_end, is_half_closed=is_half_closed)
        return {
            "name": name,
            "statuses": statuses_for(raw, received),
            "end": end,
            "received": received.decode("latin-1"),
            "from": f"{local[0]}:{local[1]}",
        }

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        json.dump(list(pool.map(one, ask["messages"])), sys.stdout)


if __name__ == "__main__":
    main()
