"""What a request shows to an L7 permission, and whether the permission's match takes it.

The rules are Envoy's, because Envoy may stand where our sidecar stands: the path has no query, of several values of a
header each is looked at and one that matches is enough, a regular expression must match the whole text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mesh.base.regex import compile_regex
from mesh.config.entries import HeaderMatch, HttpMatch


class HttpRequest(Protocol):
    """What matching may look at; a `Request` below, or the proxy's own view of a request."""

    @property
    def method(self) -> str:
        """Return the method, as received."""
        ...

    @property
    def path(self) -> str:
        """Return the normalised path without its query."""
        ...

    @property
    def headers(self) -> Mapping[str, tuple[str, ...]]:
        """Return all values of each header; names in lower case."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request that somebody asks about (`mesh intention check --method POST --path /charge`)."""

    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def matches(match: HttpMatch, request: HttpRequest) -> bool:
    """Say whether all given parts of `match` take the request; an empty match takes everything."""
    return (
        (not match.methods or request.method in match.methods)
        and path_matches(match, request.path)
        and all(header_matches(header, request.headers.get(header.name)) for header in match.headers)
    )


def path_matches(match: HttpMatch, path: str) -> bool:
    """Say whether the path condition takes `path`; without one every path is taken."""
    if match.path_exact is not None:
        return path == match.path_exact
    if match.path_prefix is not None:
        return path.startswith(match.path_prefix)
    if match.path_regex is not None:
        return compile_regex(match.path_regex).fullmatch(path)
    return True


def header_matches(header: HeaderMatch, values: tuple[str, ...] | None) -> bool:
    """Say whether one header condition holds.

    A header that is not there satisfies only a `present` condition: inverting `exact` does not make it match a
    request without the header. Who wants that as well writes two permissions.

    Source: Envoy, HeaderUtility::matchHeaders (treat_missing_header_as_empty off).
    """
    if header.present is not None:
        return ((values is not None) == header.present) != header.invert
    if values is None:
        return False
    return any(_value_matches(header, value) for value in values) != header.invert


def _value_matches(header: HeaderMatch, value: str) -> bool:
    """Compare one value of a header with the one condition that is set."""
    if header.regex is not None:
        return compile_regex(header.regex).fullmatch(value)  # ignore_case does not go with it: refused when read
    fold = _lower_ascii if header.ignore_case else str
    value = fold(value)
    if header.exact is not None:
        return value == fold(header.exact)
    if header.prefix is not None:
        return value.startswith(fold(header.prefix))
    if header.suffix is not None:
        return value.endswith(fold(header.suffix))
    return fold(header.contains or "") in value


def _lower_ascii(text: str) -> str:
    """Lower-case A to Z only, as Envoy does; `str.lower` would also fold letters beyond ASCII."""
    return text.translate(_ASCII_LOWER)


_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
