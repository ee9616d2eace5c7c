"""Every raw request of the table gets the verdict the table says, in every segmentation."""

from __future__ import annotations

import pytest

from tests.conformance.http.requests import VECTORS, Vector
from tests.fakes.http_connection import bytewise, deliver, split_at_each_crlf

# Cutting an 80 kB head into single bytes says nothing more than cutting a small one.
_SMALL = [vector for vector in VECTORS if len(vector.raw) <= 4096]


def by_name(vectors: list[Vector] | tuple[Vector, ...]) -> list[object]:
    return [pytest.param(vector, id=f"{vector.attack}: {vector.name}") for vector in vectors]


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len(VECTORS) >= 400
    assert len({vector.name for vector in VECTORS}) == len(VECTORS)


@pytest.mark.parametrize("vector", by_name(VECTORS))
def test_verdict(vector: Vector) -> None:
    delivery = deliver([vector.raw])
    assert (delivery.status, len(delivery.messages)) == (vector.status, vector.messages), delivery.reason


@pytest.mark.parametrize("vector", by_name(_SMALL))
def test_verdict_of_single_bytes(vector: Vector) -> None:
    whole, pieces = deliver([vector.raw]), deliver(bytewise(vector.raw))
    assert (pieces.status, pieces.messages) == (whole.status, whole.messages), pieces.reason


@pytest.mark.parametrize("vector", by_name(_SMALL))
def test_verdict_when_cut_at_any_line_end(vector: Vector) -> None:
    whole = deliver([vector.raw])
    for segments in split_at_each_crlf(vector.raw):
        pieces = deliver(segments)
        assert (pieces.status, pieces.messages) == (whole.status, whole.messages), (segments, pieces.reason)


@pytest.mark.parametrize("vector", by_name([vector for vector in VECTORS if vector.status is not None]))
def test_a_refusal_says_what_was_found(vector: Vector) -> None:
    reason = deliver([vector.raw]).reason
    assert reason.startswith("reading a ")
    assert len(reason) < 200
    assert reason.isascii()
    assert reason.isprintable()
