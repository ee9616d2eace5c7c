"""Conditions on a request, with Envoy's meaning."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from mesh.proxy.tables.match import all_of, always, any_of, header_matcher, not_, string_matcher
from mesh.proxy.tables.model import RequestView
from mesh.proxy.tables.nack import ConfigNack, Place

VIEW = RequestView(
    "POST", "/charge", "payment-service:8080", {"x-a": ("Hello",), "x-two": ("a", "b"), "x-empty": ("",)}, query="n=1"
)


def header(name: str, **more: Any) -> HeaderMatcher:
    text = more.pop("text", None)
    return HeaderMatcher(name=name, string_match=StringMatcher(**text) if text else None, **more)


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        pytest.param(header("x-a", present_match=True), True, id="present"),
        pytest.param(header("x-b", present_match=True), False, id="not present"),
        pytest.param(header("x-a"), True, id="a name alone asks for presence"),
        pytest.param(header("x-b", present_match=False), True, id="present false asks for absence"),
        pytest.param(header("x-b", present_match=True, invert_match=True), True, id="absence by inverting presence"),
        pytest.param(header("x-a", text={"exact": "Hello"}), True, id="exact"),
        pytest.param(header("X-A", text={"exact": "Hello"}), True, id="the name in any case"),
        pytest.param(header("x-a", text={"exact": "hello"}), False, id="the value in its own case"),
        pytest.param(header("x-a", text={"exact": "hello", "ignore_case": True}), True, id="unless told otherwise"),
        pytest.param(header("x-a", text={"prefix": "He"}), True, id="prefix"),
        pytest.param(header("x-a", text={"suffix": "lo"}), True, id="suffix"),
        pytest.param(header("x-a", text={"contains": "ell"}), True, id="contains"),
        pytest.param(header("x-a", text={"safe_regex": {"regex": "H[a-z]+"}}), True, id="regex"),
        pytest.param(header("x-a", text={"safe_regex": {"regex": "H[a-z]"}}), False, id="a regex takes all"),
        pytest.param(header("x-a", text={"exact": "x"}, invert_match=True), True, id="inverted"),
        pytest.param(header("x-b", text={"exact": "x"}, invert_match=True), False, id="inverted does not mean absent"),
        pytest.param(
            header("x-b", text={"exact": "x"}, invert_match=True, treat_missing_header_as_empty=True),
            True,
            id="unless a missing header counts as empty",
        ),
        pytest.param(header("x-two", text={"exact": "b"}), True, id="of several values one that matches is enough"),
        pytest.param(header("x-two", text={"exact": "a,b"}), False, id="several values are not one"),
        pytest.param(header("x-two", text={"exact": "b"}, invert_match=True), False, id="inverted, none may match"),
        pytest.param(header("x-two", text={"exact": "c"}, invert_match=True), True, id="inverted, and none does"),
        pytest.param(header("x-empty", text={"exact": ""}), True, id="an empty value is a value"),
        pytest.param(header(":method", text={"exact": "POST"}), True, id=":method"),
        pytest.param(header(":path", text={"exact": "/charge?n=1"}), True, id=":path is with its query"),
        pytest.param(header(":authority", text={"prefix": "payment-service"}), True, id=":authority"),
        pytest.param(header("host", text={"exact": "payment-service:8080"}), True, id="host is the authority"),
        pytest.param(header("x-a", exact_match="Hello"), True, id="the old way to say exact"),
        pytest.param(header("x-a", contains_match="ell"), True, id="the old way to say contains"),
        pytest.param(header("x-a", safe_regex_match={"regex": "H.*"}), True, id="the old way to say regex"),
    ],
)
def test_headers(matcher: HeaderMatcher, expected: bool) -> None:
    assert header_matcher(matcher, Place("r"))(VIEW) is expected


@pytest.mark.parametrize(
    ("matcher", "path"),
    [
        pytest.param(header(":scheme", present_match=True), "name", id="a pseudo header that HTTP/1.1 has not"),
        pytest.param(header(""), "name", id="no name"),
        pytest.param(header("a", text={"safe_regex": {"regex": "(a"}}), "string_match.safe_regex.regex", id="broken"),
        pytest.param(header("a", text={"safe_regex": {"regex": "(?=a)"}}), "string_match.safe_regex.regex", id="RE2"),
        pytest.param(
            header("a", text={"safe_regex": {"regex": "a"}, "ignore_case": True}), "string_match.ignore_case", id="case"
        ),
        pytest.param(header("a", text={"ignore_case": True}), "string_match", id="no pattern"),
    ],
)
def test_what_is_refused(matcher: HeaderMatcher, path: str) -> None:
    with pytest.raises(ConfigNack) as caught:
        header_matcher(matcher, Place("r"))
    assert caught.value.path == path


def test_a_pattern_that_backtracks_without_end_elsewhere_is_linear_here() -> None:
    test = string_matcher(StringMatcher(safe_regex={"regex": "(a+)+b"}), Place("r"))
    assert not test("a" * 20_000)


def test_combining() -> None:
    assert all_of([]) is always
    assert not any_of([])(VIEW)
    assert any_of([not_(always), always])(VIEW)
    assert not all_of([always, not_(always)])(VIEW)
