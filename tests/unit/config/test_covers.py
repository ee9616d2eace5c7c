"""What covers a match takes whatever that match takes."""

from __future__ import annotations

import pytest
from hypothesis import given

from mesh.config.covers import covers
from mesh.config.entries import HeaderMatch, HttpMatch
from mesh.intentions.match import Request, matches
from tests.fakes.intention_strategies import http_matches, requests

TEAM = HeaderMatch("x-team", exact="a")


@pytest.mark.parametrize(
    ("broad", "narrow", "is_covering"),
    [
        pytest.param(HttpMatch(), HttpMatch(path_exact="/a"), True, id="everything covers a path"),
        pytest.param(HttpMatch(path_prefix="/"), HttpMatch(path_regex="/a.*"), True, id="so does the prefix '/'"),
        pytest.param(HttpMatch(path_prefix="/a"), HttpMatch(path_exact="/ab"), True, id="a prefix, a longer path"),
        pytest.param(HttpMatch(path_prefix="/a"), HttpMatch(path_prefix="/"), False, id="a prefix, a shorter one"),
        pytest.param(HttpMatch(path_prefix="/a"), HttpMatch(path_regex="/a"), False, id="an expression is not known"),
        pytest.param(HttpMatch(path_regex="/a"), HttpMatch(path_regex="/a"), True, id="unless it is the same"),
        pytest.param(HttpMatch(path_exact="/a"), HttpMatch(), False, id="a path does not cover everything"),
        pytest.param(HttpMatch(methods=("GET",)), HttpMatch(), False, id="a method does not cover every method"),
        pytest.param(HttpMatch(methods=("GET", "PUT")), HttpMatch(methods=("GET",)), True, id="one method of two"),
        pytest.param(HttpMatch(headers=(TEAM,)), HttpMatch(path_exact="/a"), False, id="a header asks for more"),
        pytest.param(HttpMatch(path_prefix="/"), HttpMatch(headers=(TEAM,)), True, id="no header asks for less"),
    ],
)
def test_covers(broad: HttpMatch, narrow: HttpMatch, is_covering: bool) -> None:
    assert covers(broad, narrow) is is_covering


@pytest.mark.slow
@given(http_matches, http_matches, requests)
def test_what_covers_takes_whatever_the_other_takes(broad: HttpMatch, narrow: HttpMatch, request_: Request) -> None:
    if covers(broad, narrow) and matches(narrow, request_):
        assert matches(broad, request_)
