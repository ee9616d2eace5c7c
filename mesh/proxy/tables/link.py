"""Compiled resources put together: a cluster gets its endpoints, a listener its routes.

What is still missing for that makes it *warming*: the old one, if there is one, stays in force until the missing part
has come, or was waited for long enough. A round does again only what the change touches, and what was incomplete in
the round before, so its cost does not grow with what is held besides.

An object that did not change is the same object in the next tables, so that whoever keeps state beside it can tell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from mesh.proxy.tables.compile_clusters import ClusterDraft
from mesh.proxy.tables.compile_listeners import ListenerDraft
from mesh.proxy.tables.model import Cluster, Endpoint, Listener, RouteTable
from mesh.proxy.tables.warming import Warming
from mesh.xds.types import ENDPOINTS, ROUTES

Endpoints = tuple[Endpoint, ...]

NO_ENDPOINTS: Endpoints = ()
NO_ROUTES = RouteTable("", {})


class Pointers:
    """Who points at what: owners (clusters, listeners) at the names of parts (endpoints, routes)."""

    def __init__(self) -> None:
        self.wanted: frozenset[str] = frozenset()  # the same object for as long as it says the same
        self._owners: dict[str, set[str]] = {}
        self._parts: dict[str, frozenset[str]] = {}

    def owners(self, part: str) -> Collection[str]:
        """Return who points at a part."""
        return self._owners.get(part, ())

    def point(self, parts_by_owner: Mapping[str, frozenset[str]]) -> frozenset[str]:
        """Note where some owners point now; return the parts at which nobody points any more."""
        if not parts_by_owner:
            return frozenset()
        lost: set[str] = set()
        for owner, parts in parts_by_owner.items():
            before = self._parts.pop(owner, frozenset())
            if parts:
                self._parts[owner] = parts
            for part in parts - before:
                self._owners.setdefault(part, set()).add(owner)
            for part in before - parts:
                self._owners[part].discard(owner)
                lost.add(part)
        alone = frozenset(part for part in lost if not self._owners[part])
        for part in alone:
            del self._owners[part]
        if self._owners.keys() != self.wanted:
            self.wanted = frozenset(self._owners)
        return alone


@dataclass(frozen=True, slots=True)
class _LinkedCluster:
    """A cluster and what it was made of, to know when it has to be made again."""

    draft: ClusterDraft
    endpoints: Endpoints
    value: Cluster


class ClusterLinks:
    """Links clusters with their endpoints.

    Args:
        drafts: the compiled clusters, as they are now.
        endpoints: the compiled endpoints, as they are now.
        warming: told what is missing.
    """

    def __init__(
        self, drafts: Mapping[str, ClusterDraft], endpoints: Mapping[str, Endpoints], warming: Warming
    ) -> None:
        self.pointers = Pointers()
        self._drafts = drafts
        self._endpoints = endpoints
        self._warming = warming
        self._linked: dict[str, _LinkedCluster] = {}
        self._incomplete: set[str] = set()

    def follow(self, names: Iterable[str]) -> frozenset[str]:
        """Follow drafts that came, changed or went; return the endpoints that nobody wants any more."""
        parts: dict[str, frozenset[str]] = {}
        for name in names:
            draft = self._drafts.get(name)
            eds_name = None if draft is None else draft.eds_name
            parts[name] = frozenset() if eds_name is None else frozenset((eds_name,))
        return self.pointers.point(parts)

    def link(self, names: Iterable[str], parts: Iterable[str], before: Mapping[str, Cluster]) -> dict[str, Cluster]:
        """Link again what is concerned; return what is not the object that it was, a cluster without a draft left out.

        Args:
            names: clusters whose drafts came, changed or went.
            parts: endpoints that came, changed or went.
            before: the clusters in force.
        """
        concerned = self._incomplete.union(names, *(self.pointers.owners(part) for part in parts))
        self._incomplete = set()
        made: dict[str, Cluster] = {}
        for name in sorted(concerned):
            draft = self._drafts.get(name)
            if draft is None:
                self._linked.pop(name, None)
            else:
                cluster = self._cluster(name, draft, before.get(name))
                if cluster is not None and cluster is not before.get(name):
                    made[name] = cluster
        return made

    def _cluster(self, name: str, draft: ClusterDraft, old: Cluster | None) -> Cluster | None:
        if draft.eds_name is None:
            return draft.cluster
        endpoints = self._endpoints.get(draft.eds_name)
        if endpoints is None:
            self._incomplete.add(name)
            if self._warming.is_awaited((ENDPOINTS, draft.eds_name)):
                self._warming.say(f"cluster {name} waits for the endpoints {draft.eds_name}")
                return old
            endpoints = NO_ENDPOINTS if old is None else old.endpoints
        linked = self._linked.get(name)
        if linked is None or linked.draft is not draft or linked.endpoints is not endpoints:
            linked = _LinkedCluster(draft, endpoints, replace(draft.cluster, endpoints=endpoints))
            self._linked[name] = linked
        return linked.value


@dataclass(frozen=True, slots=True)
class _LinkedListener:
    """A listener and what it was made of."""

    draft: ListenerDraft
    routes: Mapping[str, RouteTable]
    value: Listener


class ListenerLinks:
    """Links listeners with their routes. There are few listeners; one of them has a chain for every service.

    Args:
        drafts: the compiled listeners, as they are now.
        routes: the compiled routes, as they are now.
        warming: told what is missing.
    """

    def __init__(self, drafts: Mapping[str, ListenerDraft], routes: Mapping[str, RouteTable], warming: Warming) -> None:
        self.pointers = Pointers()
        self._drafts = drafts
        self._routes = routes
        self._warming = warming
        self._linked: dict[str, _LinkedListener] = {}
        self._incomplete: set[str] = set()

    def follow(self, names: Iterable[str]) -> frozenset[str]:
        """Follow drafts that came, changed or went; return the routes that nobody wants any more."""
        drafts = {name: self._drafts.get(name) for name in names}
        return self.pointers.point(
            {name: frozenset() if draft is None else frozenset(draft.places) for name, draft in drafts.items()}
        )

    def link(self, names: Iterable[str], parts: Iterable[str], before: Mapping[str, Listener]) -> dict[str, Listener]:
        """Link again what is concerned; return what is not the object that it was, a listener without a draft left out.

        Args:
            names: listeners whose drafts came, changed or went.
            parts: routes that came, changed or went.
            before: the listeners in force.
        """
        touched: dict[str, set[str]] = {name: set() for name in self._incomplete.union(names)}
        anew = frozenset(touched)
        for part in parts:
            for name in self.pointers.owners(part):
                touched.setdefault(name, set()).add(part)
        self._incomplete = set()
        made: dict[str, Listener] = {}
        for name in sorted(touched):
            draft = self._drafts.get(name)
            if draft is None:
                self._linked.pop(name, None)
                continue
            listener = None if name in anew else self._relinked(name, draft, touched[name])
            listener = listener or self._listener(name, draft, before.get(name))
            if listener is not None and listener is not before.get(name):
                made[name] = listener
        return made

    def _relinked(self, name: str, draft: ListenerDraft, changed: set[str]) -> Listener | None:
        """Return a complete listener with some routes changed; None: it has to be looked at as a whole."""
        linked = self._linked.get(name)
        if linked is None or linked.draft is not draft or not changed <= self._routes.keys():
            return None
        routes = {one: self._routes[one] for one in changed}
        value = draft.relink(linked.value, routes)
        self._linked[name] = _LinkedListener(draft, {**linked.routes, **routes}, value)
        return value

    def _listener(self, name: str, draft: ListenerDraft, old: Listener | None) -> Listener | None:
        missing = sorted(one for one in draft.places if one not in self._routes)
        if missing:
            self._incomplete.add(name)
        awaited = [one for one in missing if self._warming.is_awaited((ROUTES, one))]
        if awaited:
            self._warming.say(f"listener {name} waits for the routes {', '.join(awaited)}")
            return old
        linked = self._linked.get(name)
        had: Mapping[str, RouteTable] = {} if linked is None else linked.routes
        routes = {one: self._routes.get(one) or had.get(one, NO_ROUTES) for one in draft.places}
        if linked is None or linked.draft is not draft or not _same(linked.routes, routes):
            linked = self._linked[name] = _LinkedListener(draft, routes, draft.link(routes))
        return linked.value


def _same(left: Mapping[str, RouteTable], right: Mapping[str, RouteTable]) -> bool:
    """Say whether both hold the very same objects."""
    return left.keys() == right.keys() and all(left[name] is right[name] for name in left)
