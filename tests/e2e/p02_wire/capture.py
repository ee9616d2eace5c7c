"""Reads a packet capture: classic pcap, Ethernet or Linux cooked, IPv4 and IPv6; puts TCP streams together."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

ETHERNET, COOKED = 1, 113
IPV4, IPV6 = 0x0800, 0x86DD
TCP = 6
SYN = 2
TLS_HANDSHAKE = 22
CLIENT_HELLO, SERVER_HELLO = 1, 2
SUPPORTED_VERSIONS = 43

Flow = tuple[bytes, int, bytes, int]


@dataclass(slots=True)
class Capture:
    """Everything that was on the wire: raw bytes, TCP streams by direction, and other protocols seen.

    `begun` are the streams whose SYN is in the capture: those can be read from their first byte.
    """

    raw: bytes
    streams: dict[Flow, bytes] = field(default_factory=dict)
    begun: set[Flow] = field(default_factory=set)
    other_protocols: set[int] = field(default_factory=set)


def read(raw: bytes) -> Capture:
    """Read a capture file."""
    capture = Capture(raw)
    segments: dict[Flow, dict[int, bytes]] = defaultdict(dict)
    for kind, packet in _packets(raw):
        if kind == IPV4:
            protocol, source, target = packet[9], packet[12:16], packet[16:20]
            body = packet[(packet[0] & 15) * 4 : struct.unpack("!H", packet[2:4])[0]]
        elif kind == IPV6:
            protocol, source, target, body = packet[6], packet[8:24], packet[24:40], packet[40:]
        else:
            continue
        if protocol != TCP:
            capture.other_protocols.add(protocol)
            continue
        source_port, target_port, sequence = struct.unpack("!HHI", body[:8])
        flow = (source, source_port, target, target_port)
        payload = body[(body[12] >> 4) * 4 :]
        if body[13] & SYN:
            capture.begun.add(flow)
        if payload:
            segments[flow].setdefault(sequence, payload)
    for flow, parts in segments.items():
        capture.streams[flow] = _joined(parts)
    return capture


def _packets(raw: bytes) -> Iterator[tuple[int, bytes]]:
    order = "<" if raw[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    (link,) = struct.unpack(order + "I", raw[20:24])
    offset = 24
    while offset + 16 <= len(raw):
        (length,) = struct.unpack(order + "I", raw[offset + 8 : offset + 12])
        frame = raw[offset + 16 : offset + 16 + length]
        offset += 16 + length
        if link == ETHERNET and len(frame) > 14:
            yield struct.unpack("!H", frame[12:14])[0], frame[14:]
        elif link == COOKED and len(frame) > 16:
            yield struct.unpack("!H", frame[14:16])[0], frame[16:]


def _joined(parts: dict[int, bytes]) -> bytes:
    """Put segments in order; one that overlaps what is there (sent again) adds only what is new."""
    stream, expected = b"", min(parts)
    for sequence in sorted(parts):
        payload = parts[sequence]
        stream += payload[max(0, expected - sequence) :]
        expected = max(expected, sequence + len(payload))
    return stream


def tls_records(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the TLS records of a stream: content type and body.

    Raises:
        ValueError: the stream is not TLS; the first bytes are in the text.
    """
    offset = 0
    while offset + 5 <= len(stream):
        kind, major, length = (
            stream[offset],
            stream[offset + 1],
            struct.unpack("!H", stream[offset + 3 : offset + 5])[0],
        )
        if kind not in (20, 21, 22, 23) or major != 3 or length > 16384 + 256:
            raise ValueError(f"not TLS at byte {offset}: {stream[offset : offset + 24]!r}")
        yield kind, stream[offset + 5 : offset + 5 + length]
        offset += 5 + length


def hello_versions(stream: bytes) -> tuple[int, set[int]]:
    """Return what kind of hello a stream begins with, and the TLS versions in it."""
    for kind, body in tls_records(stream):
        if kind == TLS_HANDSHAKE and body and body[0] in (CLIENT_HELLO, SERVER_HELLO):
            return body[0], _versions(body)
    raise ValueError("the stream has no hello")


def _versions(hello: bytes) -> set[int]:
    offset = 4 + 2 + 32
    offset += 1 + hello[offset]  # session id
    if hello[0] == CLIENT_HELLO:
        offset += 2 + struct.unpack("!H", hello[offset : offset + 2])[0]  # cipher suites
        offset += 1 + hello[offset]  # compression
    else:
        offset += 3  # the chosen suite and compression
    end = offset + 2 + struct.unpack("!H", hello[offset : offset + 2])[0]
    offset += 2
    while offset + 4 <= end:
        kind, length = struct.unpack("!HH", hello[offset : offset + 4])
        body = hello[offset + 4 : offset + 4 + length]
        offset += 4 + length
        if kind == SUPPORTED_VERSIONS:
            listed = body[1:] if hello[0] == CLIENT_HELLO else body
            return {struct.unpack("!H", listed[i : i + 2])[0] for i in range(0, len(listed), 2)}
    return {0x0303}
