"""A connection without a socket: segments in, the complete messages out, and the status that refused the rest.

It drives the readers of mesh.proxy.http in the order a connection must: head, leftover to the body, leftover to the
next head; nothing is read after an error or after a message that ends the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.body import BodyReader, body_reader
from mesh.proxy.http.head import RequestHead
from mesh.proxy.http.limits import DEFAULT_LIMITS, HttpLimits
from mesh.proxy.http.reader import RequestReader, ResponseReader
from mesh.proxy.http.response import ResponseHead


@dataclass
class Delivery:
    """What came of the segments of one downstream connection, which the peer then half-closed."""

    messages: list[tuple[RequestHead, bytes]] = field(default_factory=list)  # complete ones only
    status: int | None = None  # of the refusal, None where nothing was refused
    reason: str = ""


@dataclass
class Answer:
    """What came of the segments of one upstream connection, while one request waited."""

    interim: list[ResponseHead] = field(default_factory=list)
    head: ResponseHead | None = None
    body: bytes = b""
    status: int | None = None
    reason: str = ""
    leftover: bytes = b""  # unsolicited: the connection must be closed


def deliver(segments: Iterable[bytes], limits: HttpLimits = DEFAULT_LIMITS) -> Delivery:
    """Read requests as a downstream connection does."""
    delivery = Delivery()
    try:
        for head, payload in _requests(segments, limits):
            delivery.messages.append((head, payload))
    except RemoteProtocolError as error:
        delivery.status, delivery.reason = error.status, str(error)
    return delivery


def _requests(segments: Iterable[bytes], limits: HttpLimits) -> Iterator[tuple[RequestHead, bytes]]:
    reader = RequestReader(limits)
    head: RequestHead | None = None
    body: BodyReader | None = None
    payload = b""
    for segment in segments:
        data = segment
        while data:
            if head is None:
                head = reader.feed(data)
                if head is None:
                    break
                data, body, payload = reader.take_leftover(), body_reader(head.body, limits=limits), b""
            assert body is not None
            payload += body.feed(data)
            if not body.is_done:
                break
            yield head, payload
            if not head.keep_alive:
                return
            data, head = body.leftover, None
    if head is not None and body is not None:
        body.finish()


def answer(segments: Iterable[bytes], *, method: str = "GET", limits: HttpLimits = DEFAULT_LIMITS) -> Answer:
    """Read the answer to one request as an upstream connection does; the upstream closes behind the segments."""
    result = Answer()
    try:
        _read_answer(result, segments, method, limits)
    except RemoteProtocolError as error:
        result.status, result.reason = error.status, str(error)
    return result


def _read_answer(result: Answer, segments: Iterable[bytes], method: str, limits: HttpLimits) -> None:
    reader = ResponseReader(limits)
    body: BodyReader | None = None
    for segment in segments:
        data = segment
        while result.head is None and data:
            head = reader.feed(data, method=method)
            if head is None:
                break
            data = reader.take_leftover()
            if head.is_interim:
                result.interim.append(head)
                continue
            result.head, body = head, body_reader(head.body, limits=limits, status=502)
        if body is None:
            continue
        if body.is_done:
            result.leftover += data
        else:
            result.body += body.feed(data)
            result.leftover += body.leftover
    if body is None:
        raise RemoteProtocolError("reading a response: closed before its head was complete", status=502)
    body.finish()


def bytewise(raw: bytes) -> Iterator[bytes]:
    """Return segments of one byte."""
    return (raw[index : index + 1] for index in range(len(raw)))


def split_at_each_crlf(raw: bytes) -> Iterator[list[bytes]]:
    """Return for every CR, LF and the byte behind one a split of `raw` in two segments there."""
    for index in range(1, len(raw)):
        if raw[index - 1] in b"\r\n" or raw[index] in b"\r\n":
            yield [raw[:index], raw[index:]]
