"""All resources a proxy holds -> `ProxyTables`, doing again only what changed.

Two steps. *Compile*: each resource by itself, once per version (kinds.py); what it says and we do not implement raises
`ConfigNack` and leaves everything as it was. *Link*: what points at each other is put together (link.py). A route to a
cluster that is not there is no fault of the table; it answers NC when it is used.

Compiling a thousand resources takes longer than a request may wait: who has requests calls `prepare` first, which
compiles in steps and changes nothing that is in force; `apply` then has only to put together what is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from mesh.proxy.tables.compile_clusters import ClusterDraft, compile_cluster
from mesh.proxy.tables.compile_endpoints import compile_endpoints_steps
from mesh.proxy.tables.compile_listeners import ListenerDraft, compile_listener_steps
from mesh.proxy.tables.compile_routes import compile_routes_steps
from mesh.proxy.tables.kinds import Change, HeldResources, Kind, in_one_step
from mesh.proxy.tables.link import ClusterLinks, Endpoints, ListenerLinks
from mesh.proxy.tables.model import EMPTY, ProxyTables, RouteTable
from mesh.proxy.tables.steps import Steps
from mesh.proxy.tables.warming import Warming
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES

T = TypeVar("T")
NOTHING: frozenset[str] = frozenset()


class Compiler:
    """Turns what the xDS client holds into tables; one per proxy.

    `warming` says, after each `apply` and `check`, what is waiting for which resource, in sentences.
    """

    def __init__(self) -> None:
        self.tables = EMPTY
        self._is_sound = True  # False: a fault of our own left it half done, and nothing of before is believed
        self._warming = Warming()
        self._clusters: Kind[ClusterDraft] = Kind(CLUSTER, in_one_step(compile_cluster))
        self._endpoints: Kind[Endpoints] = Kind(ENDPOINTS, compile_endpoints_steps)
        self._listeners: Kind[ListenerDraft] = Kind(LISTENER, compile_listener_steps)
        self._routes: Kind[RouteTable] = Kind(ROUTES, compile_routes_steps)
        self._cluster_links = ClusterLinks(self._clusters.values, self._endpoints.values, self._warming)
        self._listener_links = ListenerLinks(self._listeners.values, self._routes.values, self._warming)

    @property
    def warming(self) -> tuple[str, ...]:
        """Say what waits for which resource."""
        return self._warming.sentences

    @property
    def wanted(self) -> dict[str, frozenset[str]]:
        """Return what the resources held point at, and so has to be asked for: type URL -> names."""
        return {ENDPOINTS: self._cluster_links.pointers.wanted, ROUTES: self._listener_links.pointers.wanted}

    def prepare(self, held: HeldResources, change: Change | None = None) -> Steps[None]:
        """Compile what `apply` will want of the same resources, in steps; nothing that is in force changes.

        Raises:
            ConfigNack: a resource cannot be taken; `apply` would say the same.
        """
        try:
            yield from self._clusters.prepare(held, change)
            yield from self._endpoints.prepare(held, change)
            yield from self._listeners.prepare(held, change)
            yield from self._routes.prepare(held, change)
        except GeneratorExit:  # whoever ran it was cancelled: nobody will ask for it
            self._drop_prepared()
            raise

    def apply(self, held: HeldResources, change: Change | None = None) -> ProxyTables:
        """Return the tables for what is held now, and remember them.

        Args:
            held: type URL -> name -> resource; all of them, also those that did not change. Endpoints and routes that
                nothing points at any more may be missing without being named.
            change: all that differs from what was last applied; None: that is found out by looking at everything.

        Raises:
            ConfigNack: a resource cannot be taken; tables and memory are as before. After any other exception the
                tables are, and the next call looks at everything.
        """
        if not self._is_sound:
            change = None
        try:
            clusters = self._clusters.compiled(held, change)
            endpoints = self._endpoints.compiled(held, change)
            listeners = self._listeners.compiled(held, change)
            routes = self._routes.compiled(held, change)
        finally:  # what was prepared was prepared for this
            self._drop_prepared()
        was_sound, self._is_sound = self._is_sound, False
        self._clusters.take(clusters)
        self._endpoints.take(endpoints)
        self._listeners.take(listeners)
        self._routes.take(routes)
        self._endpoints.forget(self._cluster_links.follow(clusters))
        self._routes.forget(self._listener_links.follow(listeners))
        if was_sound:
            self._link(frozenset(clusters), frozenset(endpoints), frozenset(listeners), frozenset(routes))
        else:
            all_clusters = self._clusters.values.keys() | self.tables.clusters.keys()
            all_listeners = self._listeners.values.keys() | self.tables.listeners.keys()
            self._link(frozenset(all_clusters), listeners=frozenset(all_listeners))
        self._is_sound = True
        return self.tables

    def distrust(self) -> None:
        """Believe nothing of before at the next `apply`: what it returned was not taken."""
        self._is_sound = False

    def check(self, now: float) -> ProxyTables | None:
        """Do without what was waited for too long. Called about twice a second.

        Args:
            now: monotonic seconds.

        Returns:
            The tables, when they changed.
        """
        if not self._warming.overdue(now):
            return None
        self._link()
        return self.tables

    def _drop_prepared(self) -> None:
        for kind in (self._clusters, self._endpoints, self._listeners, self._routes):
            kind.drop_prepared()

    def _link(
        self,
        clusters: frozenset[str] = NOTHING,
        endpoints: frozenset[str] = NOTHING,
        listeners: frozenset[str] = NOTHING,
        routes: frozenset[str] = NOTHING,
    ) -> None:
        """Link what these names concern, and what was incomplete."""
        before = self.tables
        self._warming.begin()
        made_clusters = self._cluster_links.link(clusters, endpoints, before.clusters)
        made_listeners = self._listener_links.link(listeners, routes, before.listeners)
        self._warming.end()
        gone = frozenset(one for one in clusters - self._clusters.values.keys() if one in before.clusters)
        self.tables = ProxyTables(
            before.index + 1,
            _merged(before.listeners, made_listeners, listeners - self._listeners.values.keys()),
            _merged(before.clusters, made_clusters, gone),
            gone.union(made_clusters),
        )


def _merged(before: Mapping[str, T], made: Mapping[str, T], gone: frozenset[str]) -> Mapping[str, T]:
    after = {**before, **made}
    for name in gone:
        after.pop(name, None)
    return after


def compile_tables(held: HeldResources) -> ProxyTables:
    """Compile everything from nothing.

    Raises:
        ConfigNack: a resource cannot be taken.
    """
    return Compiler().apply(held)
