"""All resources a proxy holds -> `ProxyTables`, doing again only what changed.

Two steps. *Compile*: each resource by itself, once per version; what it says and we do not implement raises
`ConfigNack` and leaves everything as it was. *Link*: a cluster of type EDS gets its endpoints, a listener its routes.
What is still missing for that makes it *warming*: the old one, if there is one, stays in force until the missing part
has come, or was waited for long enough (`warming`). A route to a cluster that is not there is no fault of the table; it
answers NC when it is used.

Compiling a thousand resources takes longer than a request may wait: who has requests calls `prepare` first, which
compiles with a pause after each resource and changes nothing that is in force; `apply` then finds the work done.

An object that did not change is the same object in the next tables, so that whoever keeps state beside it can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from mesh.proxy.tables.compile_clusters import ClusterDraft, compile_cluster
from mesh.proxy.tables.compile_endpoints import compile_endpoints
from mesh.proxy.tables.compile_listeners import ListenerDraft, compile_listener_steps
from mesh.proxy.tables.compile_routes import compile_routes
from mesh.proxy.tables.model import EMPTY, Cluster, Endpoint, Listener, ProxyTables, RouteTable
from mesh.proxy.tables.steps import Steps, at_once
from mesh.proxy.tables.warming import Warming
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES

T = TypeVar("T")

NO_ENDPOINTS: tuple[Endpoint, ...] = ()
NO_ROUTES = RouteTable("", {})


class Held(Protocol):
    """One resource as the xDS client holds it (`mesh.xds.types.Resource`)."""

    @property
    def version(self) -> str:
        """Return what changes exactly when the content does."""
        ...

    @property
    def body(self) -> bytes:
        """Return the serialised google.protobuf.Any."""
        ...


HeldResources = Mapping[str, Mapping[str, Held]]


class _Kind(Generic[T]):
    """The compiled resources of one type, by name, with the version that each was compiled from."""

    def __init__(self, type_url: str, compile_steps: Callable[[str, bytes, T | None], Steps[T]]) -> None:
        self.type_url = type_url
        self._compile_steps = compile_steps
        self._versions: dict[str, str] = {}
        self._prepared: dict[str, tuple[str, T]] = {}  # name -> version, value
        self.values: dict[str, T] = {}

    def prepare(self, held: HeldResources) -> Steps[None]:
        """Compile what is new, for `compiled` to find."""
        self._prepared = {}
        for name, resource in held.get(self.type_url, {}).items():
            if self._versions.get(name) != resource.version:
                value = yield from self._steps(name, resource)
                self._prepared[name] = (resource.version, value)

    def compiled(self, held: HeldResources) -> tuple[dict[str, str], dict[str, T]]:
        """Compile what is new; returns the next versions and values and changes nothing."""
        versions: dict[str, str] = {}
        values: dict[str, T] = {}
        for name, resource in held.get(self.type_url, {}).items():
            versions[name] = resource.version
            if self._versions.get(name) == resource.version:
                values[name] = self.values[name]
            elif name in self._prepared and self._prepared[name][0] == resource.version:
                values[name] = self._prepared[name][1]
            else:
                values[name] = at_once(self._steps(name, resource))
        return versions, values

    def take(self, compiled: tuple[dict[str, str], dict[str, T]]) -> None:
        """Make what `compiled` returned the present state."""
        self._versions, self.values = compiled
        self._prepared = {}

    def _steps(self, name: str, resource: Held) -> Steps[T]:
        return self._compile_steps(name, resource.body, self.values.get(name))


def _in_one_step(compile_one: Callable[[str, bytes], T]) -> Callable[[str, bytes, T | None], Steps[T]]:
    """Return steps that are one: a pause, then all of it."""

    def steps(name: str, body: bytes, _: T | None) -> Steps[T]:
        yield
        return compile_one(name, body)

    return steps


@dataclass(frozen=True, slots=True)
class _Linked(Generic[T]):
    """A linked object and what it was made of, to know when it has to be made again."""

    parts: tuple[object, ...]
    value: T


class Compiler:
    """Turns what the xDS client holds into tables; one per proxy.

    `warming` says, after each `apply` and `check`, what is waiting for which resource, in sentences.
    """

    def __init__(self, previous: ProxyTables = EMPTY) -> None:
        self.tables = previous
        self._warming = Warming()
        self._clusters: _Kind[ClusterDraft] = _Kind(CLUSTER, _in_one_step(compile_cluster))
        self._endpoints: _Kind[tuple[Endpoint, ...]] = _Kind(ENDPOINTS, _in_one_step(compile_endpoints))
        self._listeners: _Kind[ListenerDraft] = _Kind(LISTENER, compile_listener_steps)
        self._routes: _Kind[RouteTable] = _Kind(ROUTES, _in_one_step(compile_routes))
        self._linked_clusters: dict[str, _Linked[Cluster]] = {}
        self._linked_listeners: dict[str, _Linked[Listener]] = {}

    @property
    def warming(self) -> tuple[str, ...]:
        """Say what waits for which resource."""
        return self._warming.sentences

    @property
    def wanted(self) -> dict[str, frozenset[str]]:
        """Return what the resources held point at, and so has to be asked for: type URL -> names."""
        clusters, listeners = self._clusters.values.values(), self._listeners.values.values()
        return {
            ENDPOINTS: frozenset(draft.eds_name for draft in clusters if draft.eds_name is not None),
            ROUTES: frozenset(name for draft in listeners for name in draft.rds_names.values()),
        }

    def prepare(self, held: HeldResources) -> Steps[None]:
        """Compile what `apply` will want of the same resources, in steps; nothing that is in force changes.

        Raises:
            ConfigNack: a resource cannot be taken; `apply` would say the same.
        """
        for kind in (self._clusters, self._endpoints, self._listeners, self._routes):
            yield from kind.prepare(held)

    def apply(self, held: HeldResources) -> ProxyTables:
        """Return the tables for what is held now, and remember them.

        Args:
            held: type URL -> name -> resource; all of them, also those that did not change.

        Raises:
            ConfigNack: a resource cannot be taken; tables and memory are as before.
        """
        clusters = self._clusters.compiled(held)
        endpoints = self._endpoints.compiled(held)
        listeners = self._listeners.compiled(held)
        routes = self._routes.compiled(held)
        self._clusters.take(clusters)
        self._endpoints.take(endpoints)
        self._listeners.take(listeners)
        self._routes.take(routes)
        self.tables = self._link()
        return self.tables

    def check(self, now: float) -> ProxyTables | None:
        """Do without what was waited for too long. Called about twice a second.

        Args:
            now: monotonic seconds.

        Returns:
            The tables, when they changed.
        """
        if not self._warming.overdue(now):
            return None
        self.tables = self._link()
        return self.tables

    def _link(self) -> ProxyTables:
        self._warming.begin()
        clusters = {name: self._cluster(name, draft) for name, draft in self._clusters.values.items()}
        listeners = {name: self._listener(name, draft) for name, draft in self._listeners.values.items()}
        self._forget_removed()
        self._warming.end()
        ready_clusters = {name: cluster for name, cluster in clusters.items() if cluster is not None}
        ready_listeners = {name: listener for name, listener in listeners.items() if listener is not None}
        return ProxyTables(self.tables.index + 1, ready_listeners, ready_clusters)

    def _cluster(self, name: str, draft: ClusterDraft) -> Cluster | None:
        if draft.eds_name is None:
            return draft.cluster
        old, endpoints = self.tables.clusters.get(name), self._endpoints.values.get(draft.eds_name)
        if endpoints is None:
            if self._warming.is_awaited((ENDPOINTS, draft.eds_name)):
                self._warming.say(f"cluster {name} waits for the endpoints {draft.eds_name}")
                return old
            endpoints = NO_ENDPOINTS if old is None else old.endpoints
        linked = self._linked_clusters.get(name)
        if linked is None or not _same(linked.parts, (draft, endpoints)):
            linked = _Linked((draft, endpoints), replace(draft.cluster, endpoints=endpoints))
            self._linked_clusters[name] = linked
        return linked.value

    def _listener(self, name: str, draft: ListenerDraft) -> Listener | None:
        missing = sorted(set(draft.rds_names.values()) - self._routes.values.keys())
        awaited = [one for one in missing if self._warming.is_awaited((ROUTES, one))]
        if awaited:
            self._warming.say(f"listener {name} waits for the routes {', '.join(awaited)}")
            return self.tables.listeners.get(name)
        linked = self._linked_listeners.get(name)
        had = {part.name: part for part in linked.parts if isinstance(part, RouteTable)} if linked is not None else {}
        routes = {**dict.fromkeys(missing, NO_ROUTES), **had, **self._routes.values}
        parts = (draft, *(routes[rds_name] for rds_name in draft.rds_names.values()))
        if linked is None or not _same(linked.parts, parts):
            linked = self._linked_listeners[name] = _Linked(parts, draft.link(routes))
        return linked.value

    def _forget_removed(self) -> None:
        for name in self._linked_clusters.keys() - self._clusters.values.keys():
            del self._linked_clusters[name]
        for name in self._linked_listeners.keys() - self._listeners.values.keys():
            del self._linked_listeners[name]


def compile_tables(held: HeldResources, previous: ProxyTables = EMPTY) -> ProxyTables:
    """Compile everything from nothing; `previous` is what stays in force where something is still missing.

    Raises:
        ConfigNack: a resource cannot be taken.
    """
    return Compiler(previous).apply(held)


def _same(left: tuple[object, ...], right: tuple[object, ...]) -> bool:
    """Say whether both are made of the very same objects."""
    return len(left) == len(right) and all(one is other for one, other in zip(left, right, strict=True))
