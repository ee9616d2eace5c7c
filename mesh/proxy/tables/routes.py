"""The routes of one virtual host: the first that matches is taken.

`InOrder` says what that means: one after the other. `ByPath` finds the same route and tries only those whose path
fits the request: exact paths by a look into a table; prefixes by a search among the sorted ones, each of which knows
the next shorter one that it begins with; patterns all, for a pattern shows to nobody which paths it takes. Between
those that fit the order of the configuration decides as ever.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import merge

from mesh.proxy.tables.model import PathKind, RequestView, Route, Routes

FEW = 16  # up to here trying one after the other is as fast

_Placed = tuple[int, Route]  # a route and its place in the configuration
_NONE = -1


def laid_out(routes: Sequence[Route]) -> Routes:
    """Return the routes of a virtual host in the form that is found fastest."""
    return InOrder(routes) if len(routes) <= FEW else ByPath(routes)


class InOrder(Routes):
    """The clear form, and the fast one for a few."""

    __slots__ = ("_routes",)

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)

    def find(self, request: RequestView) -> Route | None:
        """Return the first route that matches."""
        for route in self._routes:
            if route.matches(request):
                return route
        return None


class ByPath(Routes):
    """Many routes, found by their paths."""

    __slots__ = ("_at_path", "_at_prefix", "_outer", "_patterns", "_prefixes")

    def __init__(self, routes: Sequence[Route]) -> None:
        at_path: defaultdict[str, list[_Placed]] = defaultdict(list)
        at_prefix: defaultdict[str, list[_Placed]] = defaultdict(list)
        patterns: list[_Placed] = []
        for place, route in enumerate(routes):
            if route.path_kind is PathKind.EXACT:
                at_path[route.path].append((place, route))
            elif route.path_kind is PathKind.PREFIX:
                at_prefix[route.path].append((place, route))
            else:
                patterns.append((place, route))
        self._at_path = dict(at_path)
        self._prefixes = sorted(at_prefix)
        self._at_prefix = [at_prefix[prefix] for prefix in self._prefixes]
        self._outer = _outer(self._prefixes)
        self._patterns = patterns

    def find(self, request: RequestView) -> Route | None:
        """Return the first route that matches; the same that `InOrder` returns."""
        fitting = self._fitting(request.path)
        if not fitting:
            return None
        in_order: Iterable[_Placed] = fitting[0] if len(fitting) == 1 else merge(*fitting)
        for _, route in in_order:
            if route.matches(request):
                return route
        return None

    def _fitting(self, path: str) -> list[list[_Placed]]:
        """Return the routes whose path may fit, in groups, each in the order of the configuration."""
        fitting = [self._patterns] if self._patterns else []
        if (exact := self._at_path.get(path)) is not None:
            fitting.append(exact)
        # Whatever stands, in sorted order, between a path and its longest prefix begins with that prefix, too.
        at = bisect_right(self._prefixes, path) - 1
        while at != _NONE and not path.startswith(self._prefixes[at]):
            at = self._outer[at]
        while at != _NONE:
            fitting.append(self._at_prefix[at])
            at = self._outer[at]
        return fitting


def _outer(prefixes: Sequence[str]) -> list[int]:
    """Return for each of the sorted prefixes the place of the longest other one that it begins with, or none."""
    outer: list[int] = []
    for at, prefix in enumerate(prefixes):
        around = at - 1
        while around != _NONE and not prefix.startswith(prefixes[around]):
            around = outer[around]
        outer.append(around)
    return outer
