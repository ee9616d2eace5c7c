"""Conditions on a request, compiled once into small functions: paths, headers, strings.

What each protobuf matcher means is Envoy's: a header that is absent matches no value matcher, inverted or not; of
several values of one header each is looked at, and one that matches is a match; a regex must match the whole string.
Were the values joined, a rule that denies `x-role: admin` would not see it beside another `x-role`.

Source: Envoy `route_components.proto` HeaderMatcher, `type/matcher/v3/string.proto`, `path.proto`; CVE-2026-26308.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mesh.base.errors import ConfigError
from mesh.base.regex import compile_regex
from mesh.proxy.tables.model import RequestView
from mesh.proxy.tables.nack import Place, fields

_WORDS = re.compile(r"[A-Za-z0-9_-]+(\|[A-Za-z0-9_-]+)*", re.ASCII)

Predicate = Callable[[RequestView], bool]
StringPredicate = Callable[[str], bool]
Values = tuple[str, ...] | None
"""All values of a header, in order; None: it is not there."""

UNDERSTOOD = {
    "envoy.config.route.v3.HeaderMatcher": fields(
        "name exact_match safe_regex_match present_match prefix_match suffix_match contains_match string_match"
        " invert_match treat_missing_header_as_empty"
    ),
    "envoy.type.matcher.v3.StringMatcher": fields("exact prefix suffix contains safe_regex ignore_case"),
    "envoy.type.matcher.v3.RegexMatcher": fields("regex google_re2"),
    "envoy.type.matcher.v3.RegexMatcher.GoogleRE2": fields(""),
    "envoy.type.matcher.v3.PathMatcher": fields("path"),
}


_PSEUDO = (":method", ":path", ":authority", "host")  # not among the headers of a RequestView


def always(_: RequestView) -> bool:
    """Match every request."""
    return True


def all_of(parts: list[Predicate]) -> Predicate:
    """Match when every part does; nothing to match is a match."""
    if not parts:
        return always
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:  # a path and one header: most routes; twice as fast as the loop
        first, second = parts
        return lambda view: first(view) and second(view)
    frozen = tuple(parts)

    def matches_all(view: RequestView) -> bool:
        for part in frozen:  # noqa: SIM110  all() of a generator is slower, and this runs for every request
            if not part(view):
                return False
        return True

    return matches_all


def any_of(parts: list[Predicate]) -> Predicate:
    """Match when one part does; nothing to match is no match."""
    if len(parts) == 1:
        return parts[0]
    frozen = tuple(parts)

    def matches_any(view: RequestView) -> bool:
        return any(part(view) for part in frozen)

    return matches_any


def not_(part: Predicate) -> Predicate:
    """Match when the part does not."""

    def matches_not(view: RequestView) -> bool:
        return not part(view)

    return matches_not


def regex_matcher(matcher: Any, at: Place) -> StringPredicate:
    """Compile a RegexMatcher; the whole string has to match, in a time that is linear in its length.

    An alternation of plain words (`GET|HEAD|PUT`, how several methods are written) is a set of them.

    Raises:
        ConfigNack: the pattern is not one that this proxy runs.
    """
    if _WORDS.fullmatch(matcher.regex):
        return frozenset(matcher.regex.split("|")).__contains__
    try:
        return compile_regex(matcher.regex).fullmatch
    except ConfigError as error:
        raise at.field("regex").nack(error.reason) from error


def string_matcher(matcher: Any, at: Place) -> StringPredicate:
    """Compile a StringMatcher.

    Raises:
        ConfigNack: it has no pattern, or one that this proxy does not run.
    """
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        if matcher.ignore_case:  # Envoy ignores ignore_case for a regex; silence would be a trap
            raise at.field("ignore_case").not_implemented("ignore_case for a regex")
        return regex_matcher(matcher.safe_regex, at.field("safe_regex"))
    if kind is None:
        raise at.nack("a string matcher without a pattern")
    return _text_matcher(kind, getattr(matcher, kind), ignore_case=matcher.ignore_case)


def _text_matcher(kind: str, wanted: str, *, ignore_case: bool = False) -> StringPredicate:
    if ignore_case:
        sensitive = _text_matcher(kind, _lower_ascii(wanted))
        return lambda text: sensitive(_lower_ascii(text))
    tests: dict[str, StringPredicate] = {
        "exact": lambda text: text == wanted,
        "prefix": lambda text: text.startswith(wanted),
        "suffix": lambda text: text.endswith(wanted),
        "contains": lambda text: wanted in text,
    }
    return tests[kind]


def _lower_ascii(text: str) -> str:
    """Lower A to Z and nothing else, as Envoy does."""
    return text.translate(_ASCII_LOWER)


_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def header_matcher(matcher: Any, at: Place) -> Predicate:
    """Compile a HeaderMatcher, pseudo headers included (`:method`, `:path` with its query, `:authority`).

    Raises:
        ConfigNack: no name, a pseudo header that HTTP/1.1 requests do not have, or a pattern that is refused.
    """
    name = matcher.name.lower()
    read = _reader(name, at.field("name"))
    kind = matcher.WhichOneof("header_match_specifier")
    is_empty_when_missing, invert = matcher.treat_missing_header_as_empty, matcher.invert_match
    if kind is None or kind == "present_match":
        is_wanted = (kind is None or matcher.present_match) != invert
        if is_wanted and not is_empty_when_missing and name not in _PSEUDO:
            return lambda view: name in view.headers
        return lambda view: (is_empty_when_missing or read(view) is not None) == is_wanted
    test = _header_value_test(kind, matcher, at)
    if name == ":method" and not invert:
        return lambda view: test(view.method)
    return _on_values(read, test, invert=invert, missing=("",) if is_empty_when_missing else None)


def _on_values(
    read: Callable[[RequestView], Values], test: StringPredicate, *, invert: bool, missing: Values
) -> Predicate:
    """Test the values of a header; `missing` stands for one that is not there, None: then nothing matches."""

    def matches(view: RequestView) -> bool:
        values = read(view)
        if values is None:
            values = missing
        if values is None:
            return False
        for value in values:
            if test(value):
                return not invert
        return invert

    return matches


def _header_value_test(kind: str, matcher: Any, at: Place) -> StringPredicate:
    if kind == "string_match":
        return string_matcher(matcher.string_match, at.field(kind))
    if kind == "safe_regex_match":
        return regex_matcher(matcher.safe_regex_match, at.field(kind))
    return _text_matcher(kind.removesuffix("_match"), getattr(matcher, kind))


def _reader(name: str, at: Place) -> Callable[[RequestView], Values]:
    """Return what fetches the values of a header: None when the request does not carry it."""
    if name == ":method":
        return lambda view: (view.method,) if view.method else None
    if name in (":authority", "host"):
        return lambda view: (view.authority,) if view.authority else None
    if name == ":path":
        return lambda view: (f"{view.path}?{view.query}" if view.query else view.path,) if view.path else None
    if name.startswith(":"):
        raise at.not_implemented(f"the pseudo header {name}")
    if not name:
        raise at.nack("a header matcher without a name")

    return lambda view: view.headers.get(name)


def path_string(matcher: Any, at: Place) -> Predicate:
    """Compile a PathMatcher: the path without its query."""
    test = string_matcher(matcher.path, at.field("path"))
    return lambda view: test(view.path)
