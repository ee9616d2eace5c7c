"""Hypothesis strategies for intentions and requests, over a few names so that they meet each other often."""

from __future__ import annotations

from hypothesis import strategies as st

from mesh.base.names import WILDCARD
from mesh.config.entries import Action, HeaderMatch, HttpMatch, Permission, ServiceIntentions, SourceIntention
from mesh.config.precedence import precedence_of
from mesh.intentions.match import Request

SERVICES = ("order-service", "pulse-service", "ledger-service", "stranger")
PATHS = ("/", "/charge", "/charge/1", "/admin", "/health")
METHODS = ("GET", "POST", "DELETE")

actions = st.sampled_from(list(Action))
conditions = st.one_of(
    st.builds(lambda value: {"present": value}, st.booleans()),
    st.builds(
        lambda way, value: {way: value},
        st.sampled_from(["exact", "prefix", "suffix", "contains"]),
        st.sampled_from(["a", "B", "ab"]),
    ),
    st.just({"regex": "[ab]+"}),
)
header_matches = st.builds(
    lambda name, condition, invert, fold: HeaderMatch(name=name, invert=invert, ignore_case=fold, **condition),
    st.sampled_from(["x-team", "x-kind"]),
    conditions,
    st.booleans(),
    st.booleans(),
)
path_conditions = st.one_of(
    st.just({}),
    st.builds(
        lambda way, path: {way: path},
        st.sampled_from(["path_exact", "path_prefix", "path_regex"]),
        st.sampled_from(PATHS),
    ),
)
http_matches = st.builds(
    lambda path, headers, methods: HttpMatch(headers=tuple(headers), methods=tuple(methods), **path),
    path_conditions,
    st.lists(header_matches, max_size=2),
    st.lists(st.sampled_from(METHODS), max_size=2, unique=True),
)
permissions = st.builds(Permission, actions, http_matches)


def sources(destination: str) -> st.SearchStrategy[SourceIntention]:
    """Return rows for a destination: an action, or permissions where they are allowed."""
    allows_permissions = destination != WILDCARD

    def row(name: str, action: Action, some: list[Permission]) -> SourceIntention:
        kept = tuple(some) if allows_permissions else ()
        return SourceIntention(name, None if kept else action, kept, precedence=precedence_of(destination, name))

    return st.builds(row, st.sampled_from([*SERVICES[:3], WILDCARD]), actions, st.lists(permissions, max_size=3))


def entries(destination: str = "payment-service") -> st.SearchStrategy[ServiceIntentions]:
    """Return entries as reading a file accepts them: each source once, `*` last."""

    def entry(rows: list[SourceIntention]) -> ServiceIntentions:
        return ServiceIntentions(destination, tuple(sorted(rows, key=lambda row: row.name == WILDCARD)))

    return st.lists(sources(destination), min_size=1, max_size=4, unique_by=lambda row: row.name).map(entry)


requests = st.builds(
    lambda method, path, headers: Request(method, path, {name: tuple(values) for name, values in headers.items()}),
    st.sampled_from(METHODS),
    st.sampled_from(PATHS),
    st.dictionaries(
        st.sampled_from(["x-team", "x-kind"]), st.lists(st.sampled_from(["a", "b", "AB"]), min_size=1, max_size=2)
    ),
)
callers = st.sampled_from(SERVICES)
