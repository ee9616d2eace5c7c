"""Every raw response of the table gets the verdict the table says, in every segmentation."""

from __future__ import annotations

import pytest

from tests.conformance.http.responses import VECTORS, Vector
from tests.fakes.http_connection import answer, bytewise, split_at_each_crlf

_SMALL = [vector for vector in VECTORS if len(vector.raw) <= 4096]


def by_name(vectors: list[Vector] | tuple[Vector, ...]) -> list[object]:
    return [pytest.param(vector, id=f"{vector.attack}: {vector.name}") for vector in vectors]


@pytest.mark.parametrize("vector", by_name(VECTORS))
def test_verdict(vector: Vector) -> None:
    got = answer([vector.raw], method=vector.method)
    assert got.status == vector.status, got.reason
    if vector.status is None:
        assert (got.body, got.leftover) == (vector.body, vector.unsolicited)


@pytest.mark.parametrize("vector", by_name(_SMALL))
def test_verdict_in_any_segmentation(vector: Vector) -> None:
    whole = answer([vector.raw], method=vector.method)
    for segments in [list(bytewise(vector.raw)), *split_at_each_crlf(vector.raw)]:
        pieces = answer(segments, method=vector.method)
        assert (pieces.status, pieces.head, pieces.interim) == (whole.status, whole.head, whole.interim), pieces.reason
        if whole.status is None:
            assert (pieces.body, pieces.leftover) == (whole.body, whole.leftover)


def test_no_byte_behind_a_response_answers_the_next_request() -> None:
    """The poison of a first answer stays behind as leftover: it is never a head of its own."""
    for vector in VECTORS:
        got = answer([vector.raw], method=vector.method)
        assert got.head is None or "x-poison" not in got.head.by_name
