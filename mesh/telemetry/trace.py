"""Trace contexts: read from a request in any of three spellings, passed on in all of them.

    W3C        traceparent: 00-<trace id, 32 hex>-<parent span, 16 hex>-<flags, 2 hex>   and tracestate
    B3 single  b3: <trace id>-<span>-<sampled 0|1|d>[-<parent>]   or only the sampled part
    B3 multi   x-b3-traceid, x-b3-spanid, x-b3-parentspanid, x-b3-sampled, x-b3-flags

The first spelling that is present decides, in this order. When it is malformed a new trace is started: a wrong id is
worse than none, because it joins what does not belong together.

Sources: W3C Trace Context (level 1) sections 3.2 and 3.3; github.com/openzipkin/b3-propagation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

TRACE_HEADERS = (
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
)
MAX_TRACESTATE_BYTES = 512
MAX_TRACESTATE_MEMBERS = 32

GetHeader = Callable[[str], str | None]

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID = re.compile(r"[0-9a-fA-F]{16}(?:[0-9a-fA-F]{16})?")
_SPAN_ID = re.compile(r"[0-9a-fA-F]{16}")
_STATE_KEY = r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_STATE_MEMBER = re.compile(_STATE_KEY + r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_B3_SAMPLED = {"1": True, "true": True, "d": True, "0": False, "false": False}
_ZERO_TRACE, _ZERO_SPAN = "0" * 32, "0" * 16


@dataclass(slots=True)  # not frozen: made for each request
class TraceContext:
    """One hop's place in a trace; read-only by agreement. Ids are lower-case hex; `span_id` is this hop's own span."""

    trace_id: str
    span_id: str
    parent_id: str | None = None
    is_sampled: bool = True
    is_debug: bool = False
    tracestate: str = ""

    @classmethod
    def from_headers(cls, get: GetHeader, rng: Random, *, is_sampling: bool = True) -> TraceContext:
        """Continue the caller's trace with a span of our own, or start one.

        Args:
            get: a header's value by lower-case name, None when absent; several values joined by a comma.
            rng: chance for new ids.
            is_sampling: the decision where the caller made none.
        """
        received = _read(get, rng, is_sampling)
        return _start(rng, is_sampled=is_sampling) if received is None else received

    def child(self, rng: Random) -> TraceContext:
        """Return the context of a span below this one: same trace, new span."""
        return TraceContext(
            self.trace_id, _span(rng), self.span_id, self.is_sampled, self.is_debug, self.tracestate
        )  # fmt: skip

    @property
    def traceparent(self) -> str:
        """Return the W3C field's value."""
        return f"00-{self.trace_id}-{self.span_id}-0{'1' if self.is_sampled else '0'}"

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return what to send on, in place of all `TRACE_HEADERS` that came in."""
        sampled = "1" if self.is_sampled else "0"
        single = f"{self.trace_id}-{self.span_id}-{'d' if self.is_debug else sampled}"
        found = [
            ("traceparent", self.traceparent),
            ("b3", f"{single}-{self.parent_id}" if self.parent_id else single),
            ("x-b3-traceid", self.trace_id),
            ("x-b3-spanid", self.span_id),
            ("x-b3-flags", "1") if self.is_debug else ("x-b3-sampled", sampled),
        ]
        if self.parent_id:
            found.append(("x-b3-parentspanid", self.parent_id))
        if self.tracestate:
            found.append(("tracestate", self.tracestate))
        return tuple(found)

    def field_lines(self) -> str:
        """Return what `headers` says as field lines, each with its CRLF; made for each request, so in one piece."""
        trace_id, span_id, parent_id = self.trace_id, self.span_id, self.parent_id
        if self.is_debug or not parent_id:  # seldom
            return "".join([f"{name}: {value}\r\n" for name, value in self.headers()])
        flag = "1" if self.is_sampled else "0"
        lines = (
            f"traceparent: 00-{trace_id}-{span_id}-0{flag}\r\nb3: {trace_id}-{span_id}-{flag}-{parent_id}\r\n"
            f"x-b3-traceid: {trace_id}\r\nx-b3-spanid: {span_id}\r\nx-b3-sampled: {flag}\r\n"
            f"x-b3-parentspanid: {parent_id}\r\n"
        )
        return f"{lines}tracestate: {self.tracestate}\r\n" if self.tracestate else lines


def _read(get: GetHeader, rng: Random, is_sampling: bool) -> TraceContext | None:
    """Continue what the first spelling present says; None when there is none or it is malformed."""
    traceparent = get("traceparent")
    if traceparent is not None:
        return _from_w3c(traceparent, get("tracestate"), rng)
    single = get("b3")
    if single is not None:
        return _from_b3_single(single, rng, is_sampling)
    return _from_b3_multi(get, rng, is_sampling)


def _from_w3c(traceparent: str, tracestate: str | None, rng: Random) -> TraceContext | None:
    found = _TRACEPARENT.fullmatch(traceparent)
    if not found:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if trace_id == _ZERO_TRACE or parent_id == _ZERO_SPAN:
        return None
    is_sampled = bool(int(flags, 16) & 1)  # two lower-case hex digits, by the pattern above
    return TraceContext(trace_id, _span(rng), parent_id, is_sampled, tracestate=_read_tracestate(tracestate))


def _read_tracestate(text: str | None) -> str:
    """Return the members worth passing on: all or none when malformed, the left ones when there are too many."""
    if not text:
        return ""
    members = [member.strip(" \t") for member in text.split(",")]
    members = [member for member in members if member]
    keys = {member.partition("=")[0] for member in members}
    if len(keys) != len(members) or not all(_STATE_MEMBER.fullmatch(member) for member in members):
        return ""
    members = members[:MAX_TRACESTATE_MEMBERS]
    while len(",".join(members)) > MAX_TRACESTATE_BYTES:
        members.pop()
    return ",".join(members)


def _from_b3_single(text: str, rng: Random, is_sampling: bool) -> TraceContext | None:
    parts = text.split("-")
    if len(parts) == 1:
        return _from_decision(parts[0], rng)
    if not 2 <= len(parts) <= 4:
        return None
    decision = parts[2] if len(parts) > 2 else None
    if decision is not None and decision not in ("0", "1", "d"):
        return None
    if len(parts) == 4 and not _SPAN_ID.fullmatch(parts[3]):
        return None
    return _continue_b3(parts[0], parts[1], decision, rng, is_sampling)


def _from_b3_multi(get: GetHeader, rng: Random, is_sampling: bool) -> TraceContext | None:
    trace_id, span_id = get("x-b3-traceid"), get("x-b3-spanid")
    decision = "d" if get("x-b3-flags") == "1" else get("x-b3-sampled")
    if trace_id is None and span_id is None:
        return _from_decision(decision, rng) if decision is not None else None
    if trace_id is None or span_id is None:
        return None
    return _continue_b3(trace_id, span_id, decision.lower() if decision else None, rng, is_sampling)


def _continue_b3(
    trace_id: str, span_id: str, decision: str | None, rng: Random, is_sampling: bool
) -> TraceContext | None:
    if not _TRACE_ID.fullmatch(trace_id) or not _SPAN_ID.fullmatch(span_id):
        return None
    if decision is not None and decision not in _B3_SAMPLED:
        return None
    trace_id, span_id = trace_id.lower().rjust(32, "0"), span_id.lower()
    if trace_id == _ZERO_TRACE or span_id == _ZERO_SPAN:
        return None
    is_sampled = is_sampling if decision is None else _B3_SAMPLED[decision]
    return TraceContext(trace_id, _span(rng), span_id, is_sampled, is_debug=decision == "d")


def _from_decision(decision: str, rng: Random) -> TraceContext | None:
    """B3 may carry a sampling decision without ids: a new trace that obeys it."""
    if decision.lower() not in _B3_SAMPLED:
        return None
    return _start(rng, is_sampled=_B3_SAMPLED[decision.lower()], is_debug=decision == "d")


def _start(rng: Random, *, is_sampled: bool, is_debug: bool = False) -> TraceContext:
    return TraceContext(f"{rng.getrandbits(128) or 1:032x}", _span(rng), None, is_sampled, is_debug)


def _span(rng: Random) -> str:
    """Return a new span id; all zero is not allowed."""
    return f"{rng.getrandbits(64) or 1:016x}"
