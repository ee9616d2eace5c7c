"""What a match takes, in Envoy's reading."""

from __future__ import annotations

import pytest

from mesh.config.entries import HeaderMatch, HttpMatch
from mesh.intentions.match import Request, header_matches, matches


@pytest.mark.parametrize(
    ("match", "path", "is_taken"),
    [
        pytest.param(HttpMatch(), "/any", True, id="an empty match takes everything"),
        pytest.param(HttpMatch(path_exact="/a"), "/a", True, id="exact takes the path"),
        pytest.param(HttpMatch(path_exact="/a"), "/a/", False, id="exact takes nothing longer"),
        pytest.param(HttpMatch(path_exact="/a"), "/A", False, id="paths have a case"),
        pytest.param(HttpMatch(path_prefix="/v2"), "/v2example", True, id="a prefix is of letters, not of elements"),
        pytest.param(HttpMatch(path_regex="/reg[ex]{2}"), "/regex", True, id="a regex takes the whole path"),
        pytest.param(HttpMatch(path_regex="/reg[ex]{2}"), "/reggex", False, id="and not a path with a letter more"),
        pytest.param(HttpMatch(path_regex="/a"), "/ab", False, id="and not a beginning"),
    ],
)
def test_paths(match: HttpMatch, path: str, is_taken: bool) -> None:
    assert matches(match, Request("GET", path)) is is_taken


@pytest.mark.parametrize(
    ("match", "values", "is_taken"),
    [
        pytest.param(HeaderMatch("h", present=True), ("",), True, id="an empty header is present"),
        pytest.param(HeaderMatch("h", present=True), None, False, id="a missing one is not"),
        pytest.param(HeaderMatch("h", present=False), None, True, id="present = false takes its absence"),
        pytest.param(HeaderMatch("h", present=True, invert=True), None, True, id="so does present, inverted"),
        pytest.param(HeaderMatch("h", exact="a"), ("a",), True, id="exact"),
        pytest.param(HeaderMatch("h", exact="a"), ("A",), False, id="exact has a case"),
        pytest.param(HeaderMatch("h", exact="a", ignore_case=True), ("A",), True, id="unless it is ignored"),
        pytest.param(HeaderMatch("h", exact="ß", ignore_case=True), ("ẞ",), False, id="and only of ASCII"),
        pytest.param(HeaderMatch("h", exact="b"), ("a", "b"), True, id="of several values one is enough"),
        pytest.param(HeaderMatch("h", exact="a,b"), ("a", "b"), False, id="they are not one value"),
        pytest.param(HeaderMatch("h", exact="b", invert=True), ("a", "b"), False, id="inverted, none may match"),
        pytest.param(HeaderMatch("h", exact="a", invert=True), ("b",), True, id="inverted exact takes another value"),
        pytest.param(HeaderMatch("h", exact="a", invert=True), None, False, id="but not a missing header"),
        pytest.param(HeaderMatch("h", prefix="ab"), ("abc",), True, id="prefix"),
        pytest.param(HeaderMatch("h", suffix="bc"), ("abc",), True, id="suffix"),
        pytest.param(HeaderMatch("h", contains="b"), ("abc",), True, id="contains"),
        pytest.param(HeaderMatch("h", regex="[abc]+"), ("abc",), True, id="regex takes the whole value"),
        pytest.param(HeaderMatch("h", regex="[ab]+"), ("abc",), False, id="and not a part of it"),
    ],
)
def test_headers(match: HeaderMatch, values: tuple[str, ...] | None, is_taken: bool) -> None:
    assert header_matches(match, values) is is_taken


def test_all_given_parts_must_match() -> None:
    match = HttpMatch(path_prefix="/", headers=(HeaderMatch("x-team", exact="a"),), methods=("POST",))
    request = Request("POST", "/", {"x-team": ("a",)})
    assert matches(match, request)
    assert not matches(match, Request("GET", "/", request.headers))
    assert not matches(match, Request("POST", "/", {}))
