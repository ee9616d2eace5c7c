"""The conditions a person writes (paths, headers, methods) in Envoy's words; routes and RBAC share them."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from mesh.base.errors import LocalProtocolError
from mesh.config.entries import HeaderMatch


def header_matcher(match: HeaderMatch) -> HeaderMatcher:
    """Return a written header condition as a HeaderMatcher.

    Raises:
        LocalProtocolError: none of the six ways is set; reading the file should have refused it.
    """
    if match.present is not None:
        return HeaderMatcher(name=match.name, present_match=match.present, invert_match=match.invert)
    return HeaderMatcher(name=match.name, string_match=_string(match), invert_match=match.invert)


def _string(match: HeaderMatch) -> string_pb2.StringMatcher:
    """Return the condition on the value."""
    if match.regex is not None:
        return string_pb2.StringMatcher(safe_regex=regex(match.regex))
    for way in ("exact", "prefix", "suffix", "contains"):
        value: str | None = getattr(match, way)
        if value is not None:
            return string_pb2.StringMatcher(**{way: value}, ignore_case=match.ignore_case)
    raise LocalProtocolError(f"building a match on header {match.name!r}: it has no condition")


def header_present(name: str) -> HeaderMatcher:
    """Return "the request carries this header"."""
    return HeaderMatcher(name=name, present_match=True)


def method_matcher(methods: Iterable[str]) -> HeaderMatcher:
    """Return "the method is one of these": exact for one, an alternation for several."""
    names = tuple(methods)
    if len(names) == 1:
        return HeaderMatcher(name=":method", string_match=string_pb2.StringMatcher(exact=names[0]))
    alternatives = string_pb2.StringMatcher(safe_regex=regex("|".join(names)))
    return HeaderMatcher(name=":method", string_match=alternatives)


def regex(pattern: str) -> regex_pb2.RegexMatcher:
    """Return a regular expression that must match the whole value (RE2 on both data planes)."""
    return regex_pb2.RegexMatcher(regex=pattern)
