"""Trace headers are continued in any spelling, passed on in all, and never believed when malformed."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.telemetry.trace import TRACE_HEADERS, TraceContext

T, S, P = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "5b4185666d50f68b"


def read(headers: dict[str, str], **options: bool) -> TraceContext:
    return TraceContext.from_headers(headers.get, Random(7), **options)


@pytest.mark.parametrize(
    ("headers", "trace_id", "parent_id", "is_sampled"),
    [
        pytest.param({"traceparent": f"00-{T}-{S}-01"}, T, S, True, id="W3C sampled"),
        pytest.param({"traceparent": f"00-{T}-{S}-00"}, T, S, False, id="W3C not sampled"),
        pytest.param({"traceparent": f"00-{T}-{S}-fe"}, T, S, False, id="W3C, only bit 0 decides"),
        pytest.param({"traceparent": f"cc-{T}-{S}-01"}, T, S, True, id="W3C of a later version"),
        pytest.param({"traceparent": f"cc-{T}-{S}-01-more"}, T, S, True, id="W3C of a later version with more"),
        pytest.param({"b3": f"{T}-{S}-1"}, T, S, True, id="B3 single sampled"),
        pytest.param({"b3": f"{T}-{S}-0"}, T, S, False, id="B3 single not sampled"),
        pytest.param({"b3": f"{T}-{S}-d"}, T, S, True, id="B3 single debug"),
        pytest.param({"b3": f"{T}-{S}-1-{P}"}, T, S, True, id="B3 single with a parent"),
        pytest.param({"b3": f"{T}-{S}"}, T, S, True, id="B3 single, undecided"),
        pytest.param({"b3": f"{T[16:]}-{S}-1"}, "0" * 16 + T[16:], S, True, id="B3 single, 64 bits"),
        pytest.param({"b3": f"{T.upper()}-{S.upper()}-1"}, T, S, True, id="B3 in capitals"),
        pytest.param({"x-b3-traceid": T, "x-b3-spanid": S, "x-b3-sampled": "1"}, T, S, True, id="B3 multi"),
        pytest.param({"x-b3-traceid": T, "x-b3-spanid": S, "x-b3-sampled": "true"}, T, S, True, id="B3 multi, old way"),
        pytest.param(
            {"x-b3-traceid": T, "x-b3-spanid": S, "x-b3-sampled": "0"}, T, S, False, id="B3 multi, not sampled"
        ),
        pytest.param({"x-b3-traceid": T, "x-b3-spanid": S, "x-b3-flags": "1"}, T, S, True, id="B3 multi debug"),
        pytest.param({"traceparent": f"00-{T}-{S}-01", "b3": f"{P}-{P}-0"}, T, S, True, id="W3C goes before B3"),
        pytest.param({"b3": f"{T}-{S}-1", "x-b3-traceid": P, "x-b3-spanid": P}, T, S, True, id="single before multi"),
    ],
)
def test_continued(headers: dict[str, str], trace_id: str, parent_id: str, is_sampled: bool) -> None:
    context = read(headers)
    assert (context.trace_id, context.parent_id, context.is_sampled) == (trace_id, parent_id, is_sampled)
    assert context.span_id not in (S, P)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"traceparent": ""}, id="empty"),
        pytest.param({"traceparent": f"00-{T}-{S}"}, id="no flags"),
        pytest.param({"traceparent": f"00-{T}-{S}-01-more"}, id="version 00 with more"),
        pytest.param({"traceparent": f"ff-{T}-{S}-01"}, id="version ff"),
        pytest.param({"traceparent": f"00-{T.upper()}-{S}-01"}, id="W3C in capitals"),
        pytest.param({"traceparent": f"00-{'0' * 32}-{S}-01"}, id="trace id of zeros"),
        pytest.param({"traceparent": f"00-{T}-{'0' * 16}-01"}, id="parent of zeros"),
        pytest.param({"traceparent": f"00-{T}-{S}-01\n"}, id="line feed at the end"),
        pytest.param({"traceparent": f" 00-{T}-{S}-01"}, id="a blank first"),
        pytest.param({"traceparent": f"00-{T}-{S}-01,00-{T}-{S}-01"}, id="two of them"),
        pytest.param({"traceparent": f"00-{T[:-1]}٣-{S}-01"}, id="an Arabic digit"),
        pytest.param({"traceparent": "junk", "b3": f"{T}-{S}-1"}, id="malformed W3C hides B3"),
        pytest.param({"b3": f"{T}-{S}-2"}, id="B3 with another decision"),
        pytest.param({"b3": f"{T}-{S}-true"}, id="B3 single has no words"),
        pytest.param({"b3": f"{T}-{S}-1-{P}-x"}, id="B3 with more"),
        pytest.param({"b3": f"{T}-{S}-1-x"}, id="B3 with a parent that is none"),
        pytest.param({"b3": f"{T[1:]}-{S}-1"}, id="B3 with 31 digits"),
        pytest.param({"b3": f"{'0' * 16}-{S}-1"}, id="B3 of zeros"),
        pytest.param({"x-b3-traceid": T}, id="B3 multi without a span"),
        pytest.param({"x-b3-spanid": S}, id="B3 multi without a trace"),
        pytest.param({"x-b3-traceid": T, "x-b3-spanid": "x"}, id="B3 multi with junk"),
    ],
)
def test_started_anew(headers: dict[str, str]) -> None:
    context = read(headers)
    assert context.trace_id not in (T, "0" * 32)
    assert context.parent_id is None
    assert len(context.trace_id) == 32
    assert context.tracestate == ""


@pytest.mark.parametrize(
    ("headers", "is_sampled", "is_debug"),
    [
        pytest.param({"b3": "0"}, False, False, id="single, no"),
        pytest.param({"b3": "1"}, True, False, id="single, yes"),
        pytest.param({"b3": "d"}, True, True, id="single, debug"),
        pytest.param({"x-b3-sampled": "0"}, False, False, id="multi, no"),
        pytest.param({"x-b3-flags": "1"}, True, True, id="multi, debug"),
    ],
)
def test_a_decision_without_ids_is_obeyed(headers: dict[str, str], is_sampled: bool, is_debug: bool) -> None:
    context = read(headers, is_sampling=not is_sampled)
    assert (context.is_sampled, context.is_debug, context.parent_id) == (is_sampled, is_debug, None)


def test_the_decision_of_the_mesh_counts_where_the_caller_made_none() -> None:
    assert not read({}, is_sampling=False).is_sampled
    assert not read({"b3": f"{T}-{S}"}, is_sampling=False).is_sampled
    assert read({"traceparent": f"00-{T}-{S}-01"}, is_sampling=False).is_sampled


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        pytest.param("a=1,b@c=2", "a=1,b@c=2", id="as it came"),
        pytest.param("a=1 , ,b=2", "a=1,b=2", id="blanks and empty members go"),
        pytest.param("a=1,a=2", "", id="a key twice"),
        pytest.param("A=1", "", id="a key in capitals"),
        pytest.param("a", "", id="no value"),
        pytest.param("a=1\r\nx: y", "", id="another header inside"),
        pytest.param("a=" + "x" * 257, "", id="a long value"),
        pytest.param(",".join(f"k{n}={'v' * 250}" for n in range(5)), f"k0={'v' * 250},k1={'v' * 250}", id="512 bytes"),
        pytest.param(
            ",".join(f"k{n}=" + "v" for n in range(40)), ",".join(f"k{n}=v" for n in range(32)), id="32 members"
        ),
    ],
)
def test_tracestate(sent: str, passed_on: str) -> None:
    assert read({"traceparent": f"00-{T}-{S}-01", "tracestate": sent}).tracestate == passed_on


def test_tracestate_without_traceparent_is_dropped() -> None:
    assert read({"tracestate": "a=1"}).tracestate == ""
    assert read({"tracestate": "a=1", "b3": f"{T}-{S}-1"}).tracestate == ""


def test_what_is_sent_on() -> None:
    context = read({"traceparent": f"00-{T}-{S}-01", "tracestate": "a=1"})
    mine = context.span_id
    assert dict(context.headers()) == {
        "traceparent": f"00-{T}-{mine}-01",
        "tracestate": "a=1",
        "b3": f"{T}-{mine}-1-{S}",
        "x-b3-traceid": T,
        "x-b3-spanid": mine,
        "x-b3-parentspanid": S,
        "x-b3-sampled": "1",
    }


def test_a_child_is_below() -> None:
    parent = read({"traceparent": f"00-{T}-{S}-00", "tracestate": "a=1"})
    child = parent.child(Random(9))
    assert (child.trace_id, child.parent_id, child.is_sampled, child.tracestate) == (T, parent.span_id, False, "a=1")
    assert child.span_id != parent.span_id


CONTEXTS = st.builds(
    TraceContext,
    trace_id=st.integers(1, 2**128 - 1).map("{:032x}".format),
    span_id=st.integers(1, 2**64 - 1).map("{:016x}".format),
    parent_id=st.none() | st.integers(1, 2**64 - 1).map("{:016x}".format),
    is_sampled=st.booleans(),
)


@given(CONTEXTS, st.booleans(), st.sampled_from(["", "a=1", "a=1,b=2"]))
def test_lines_made_in_one_piece_say_the_same(context: TraceContext, is_debug: bool, tracestate: str) -> None:
    context = replace(context, is_debug=is_debug, tracestate=tracestate)
    assert context.field_lines() == "".join(f"{name}: {value}\r\n" for name, value in context.headers())


@settings(max_examples=50)
@given(CONTEXTS, st.integers(0, 2**32))
def test_every_spelling_says_the_same(context: TraceContext, seed: int) -> None:
    sent = dict(context.headers())
    for spelling in (["traceparent"], ["b3"], ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled"]):
        only = {name: value for name, value in sent.items() if name in spelling}
        received = TraceContext.from_headers(only.get, Random(seed), is_sampling=not context.is_sampled)
        assert (received.trace_id, received.parent_id) == (context.trace_id, context.span_id)
        assert received.is_sampled == context.is_sampled


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(TRACE_HEADERS), st.text("0123456789abcdefd-,=@ \r\n\0é", max_size=60)))
def test_whatever_comes_in_what_goes_out_is_well_formed(headers: dict[str, str]) -> None:
    sent = read(headers).headers()
    assert {name for name, _ in sent} <= set(TRACE_HEADERS)
    assert all(value.isascii() and value.isprintable() for _, value in sent)
    assert TraceContext.from_headers(dict(sent).get, Random(1)).parent_id == read(headers).span_id
