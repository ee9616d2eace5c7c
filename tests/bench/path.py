"""What the interpreter does for one request: the data path without sockets, TLS and event loop.

    python -m tests.bench.path            # microseconds of CPU, and calls of Python functions, each way
    python -m tests.bench.path --calls    # which functions those are

The conversation is that of the tests (`tests/fakes/script.py`): bytes in, bytes out, the same connections, drivers,
filters, pools and policies as in the sidecar, and the access log's line as JSON. Microseconds are those of one
machine; the number of calls is the same everywhere, and what a change of the code should be judged by first.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from mesh.proxy.connection.peer import Peer
from mesh.telemetry.accesslog import format_record
from tests.fakes.script import FakeWire, Script
from tests.fakes.sidecars import allow, cluster_to, inbound, outbound, spiffe_id

REQUESTS, ROUNDS = 2_000, 7
TRACED = 100
ASK = (
    b"GET /charges?currency=EUR HTTP/1.1\r\nHost: payment-service:8080\r\nUser-Agent: load/1\r\nAccept: */*\r\n"
    b"X-Request-Id: 0af7651916cd43dd8448eb211c80319c\r\n"
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: 64\r\n\r\n" + b"x" * 64
)


def out_of_the_host() -> tuple[Script, FakeWire, FakeWire]:
    """Return the caller's sidecar with one connection on each side."""
    script = Script(outbound(replace(cluster_to("payment-service", 1), tls=None)))
    return _connected(script, script.caller())


def into_the_host() -> tuple[Script, FakeWire, FakeWire]:
    """Return the responder's sidecar, whose intentions let the caller pass."""
    script = Script(inbound(8080, allow("order-service", "pulse-service")), service="payment-service")
    peer = Peer(spiffe_id("order-service"), "order-service", datetime(2036, 1, 1, tzinfo=UTC), 2.0**31, (b"\0" * 500,))
    return _connected(script, script.caller(peer))


def _connected(script: Script, caller: FakeWire) -> tuple[Script, FakeWire, FakeWire]:
    caller.says(ASK)
    upstream = script.dial().connects()
    upstream.says(ANSWER)
    assert upstream.heard().startswith(b"GET /charges?currency=EUR HTTP/1.1\r\n")
    assert caller.heard().startswith(b"HTTP/1.1 200 OK\r\n")
    return script, caller, upstream


def converse(script: Script, caller: FakeWire, upstream: FakeWire, requests: int) -> None:
    """Let requests pass, one after the other, each with its line in the log."""
    records = script._records
    for _ in range(requests):
        caller._app.data_received(ASK)
        upstream._app.data_received(ANSWER)
        caller.heard(), upstream.heard()
        format_record(records.pop()())


def cpu_us(make: Callable[[], tuple[Script, FakeWire, FakeWire]]) -> float:
    """Return the CPU microseconds of one request: the best round, so that a busy machine disturbs least."""
    parts = make()
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        converse(*parts, REQUESTS)
        best = min(best, time.process_time() - began)
    return best / REQUESTS * 1e6


def calls(make: Callable[[], tuple[Script, FakeWire, FakeWire]]) -> dict[str, float]:
    """Return how often each Python function of the mesh is entered for one request (resumed coroutines count)."""
    parts = make()
    seen: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            place = code.co_filename.partition("/mesh/")[2] or code.co_filename.rpartition("/")[2]
            seen[f"{code.co_qualname} ({place})"] += 1

    sys.setprofile(note)
    try:
        converse(*parts, TRACED)
    finally:
        sys.setprofile(None)
    ours = [one for one in seen.most_common() if "path.py)" not in one[0] and "script.py)" not in one[0]]
    return {name: count / TRACED for name, count in ours}


def main() -> None:
    """Measure both directions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", action="store_true", help="list the functions")
    arguments = parser.parse_args()
    for name, make in (("out of the host", out_of_the_host), ("into the host", into_the_host)):
        entered = calls(make)
        print(f"{name:16} {cpu_us(make):7.1f} us of CPU, {sum(entered.values()):6.1f} calls a request")
        if arguments.calls:
            for function, count in entered.items():
                print(f"    {count:5.1f}  {function}")


if __name__ == "__main__":
    main()
