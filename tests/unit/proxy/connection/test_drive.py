"""A request between two peers that do not keep to their turns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.proxy.connection.request_body import KEEP_BYTES
from tests.fakes.script import Script
from tests.fakes.sidecars import cluster_to, outbound

BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbu"  # its body has not all come
PUT = b"PUT /x HTTP/1.1\r\nhost: payment-service\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(10, id="a body within the limit"),
        pytest.param(KEEP_BYTES + 1, id="a body that passes the limit while nobody takes it"),
    ],
)
def test_what_comes_between_two_tries_is_sent_with_the_next(size: int) -> None:
    script = Script(outbound(replace(cluster_to("payment-service", 1, 2), tls=None)))
    caller = script.caller()
    caller.says(PUT + b"3\r\nabc\r\n")
    first = script.dial().connects()
    first.says(BUSY)  # refused before the body is complete: another try follows
    assert first.is_reset
    first.heard()
    caller.says(b"%x\r\n%s\r\n" % (size, b"x" * size))
    assert first.heard() == b""
    script.passes(0.3)
    second = script.dial().connects()
    caller.says(b"0\r\n\r\n")
    _, _, body = second.heard().partition(b"\r\n\r\n")
    assert body == b"%x\r\nabc%s\r\n0\r\n\r\n" % (size + 3, b"x" * size)
