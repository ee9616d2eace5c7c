"""Tables made change by change are those made at once of what is held, and only what a change touches is new."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster as ClusterMessage
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener as ListenerMessage
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.proxy.tables import link
from mesh.proxy.tables.compile import Compiler, compile_tables
from mesh.proxy.tables.kinds import Change
from mesh.proxy.tables.model import FilterChain, HttpChain, ProxyTables
from mesh.proxy.tables.routes import InOrder
from mesh.xds.client.delta import DeltaClient
from mesh.xds.client.held import Update, client_node
from mesh.xds.server.wire import delta_response
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, content_version
from tests.fakes.sample_mesh import ORDER, PAYMENT
from tests.fakes.xds import HeldResource, changed, held_by

WHOLE = held_by(PAYMENT)
URLS = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
MESSAGES: dict[str, Any] = {
    CLUSTER: ClusterMessage,
    ENDPOINTS: ClusterLoadAssignment,
    LISTENER: ListenerMessage,
    ROUTES: RouteConfiguration,
}


def variant(url: str, name: str, number: int) -> Resource:
    """Return a resource as it is, or otherwise in a way that its tables show."""

    def change(message: Any) -> None:
        if url == CLUSTER:
            message.connect_timeout.seconds = 10 + number
        elif url == ENDPOINTS:
            for group in message.endpoints:
                group.lb_endpoints[0].endpoint.hostname = f"variant-{number}"
        elif url == ROUTES:
            for route in message.virtual_hosts[0].routes:
                route.route.timeout.seconds = 10 + number
        elif len(message.filter_chains) > number:
            del message.filter_chains[number]

    body = WHOLE[url][name].body
    body = changed(body, MESSAGES[url], change) if number else body
    return Resource(url, name, content_version(body), body)


class Told:
    """A client and its compiler, at a server that says no more than it has to."""

    def __init__(self) -> None:
        self.offered = {url: {name: variant(url, name, 0) for name in WHOLE[url]} for url in URLS}
        self.client = DeltaClient(client_node("payment-1", "payment-service", "east"))
        self.compiler = Compiler()
        self.client.watch(CLUSTER, None)
        self.client.watch(LISTENER, None)
        self.client.open()

    def say(self, url: str) -> bool:
        """Tell the client of a type what it does not have yet; say whether there was anything."""
        if url in (CLUSTER, LISTENER):
            wanted = self.offered[url]
        else:
            wanted = {k: one for k, one in self.offered[url].items() if k in self.compiler.wanted[url]}
        held = self.client.held.get(url, {})
        new = [one for name, one in wanted.items() if name not in held or held[name].version != one.version]
        gone = sorted(held.keys() - wanted.keys())
        if not new and not gone:
            return False
        response = DeltaDiscoveryResponse.FromString(delta_response(url, "v", "n", new, gone))
        (ack,) = self.client.receive(response, self._apply)
        assert not ack.HasField("error_detail"), ack
        for one, names in self.compiler.wanted.items():
            self.client.watch(one, names)
        return True

    def say_all(self) -> None:
        while {self.say(url) for url in URLS} != {False}:
            pass

    def reconnect(self) -> None:
        self.client.close()
        self.client.open()

    def _apply(self, update: Update) -> None:
        before = self.compiler.tables
        after = self.compiler.apply(update.candidate, Change(update.type_url, update.changed | update.removed))
        names = before.clusters.keys() | after.clusters.keys()
        assert {one for one in names if before.clusters.get(one) is not after.clusters.get(one)} == after.touched


STEPS = st.lists(
    st.tuples(
        st.sampled_from(URLS),
        st.integers(0, 5),  # which of the type
        st.sampled_from([None, 0, 1, 2]),  # gone, or a variant
        st.sampled_from(["say", "say all", "say nothing", "reconnect"]),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_in_whatever_order_things_come_change_and_go_the_tables_are_those_of_what_is_held(
    steps: list[tuple[str, int, int | None, str]],
) -> None:
    told = Told()
    for url, which, number, then in steps:
        name = sorted(WHOLE[url])[which % len(WHOLE[url])]
        if number is None:
            told.offered[url].pop(name, None)
        else:
            told.offered[url][name] = variant(url, name, number)
        if then == "say":
            told.say(url)
        elif then == "say all":
            told.say_all()
        elif then == "reconnect":
            told.reconnect()
    for url in (ENDPOINTS, ROUTES):  # nothing is to be missing in the end: what was in force before would stay
        for name in WHOLE[url]:
            told.offered[url].setdefault(name, variant(url, name, 2))
    told.say_all()
    assert told.compiler.warming == ()
    assert described(told.compiler.tables) == described(compile_tables(told.client.held))


def described(tables: ProxyTables) -> object:
    """Return what matters of tables, without functions, which are never equal."""
    chains = {
        (name, key): (chain.name, chain.tls, chain.max_connections, routes_of(chain))
        for name in tables.listeners
        for key, chain in chains_of(tables, name).items()
    }
    return dict(tables.clusters), chains


def routes_of(chain: FilterChain) -> object:
    if not isinstance(chain.app, HttpChain):
        return chain.app.cluster
    found = []
    for domain, routes in sorted(chain.app.routes.by_domain.items()):
        assert isinstance(routes, InOrder)
        found.append((domain, [(one.name, one.action) for one in routes._routes]))
    return found


def chains_of(tables: ProxyTables, name: str) -> dict[object, FilterChain]:
    listener = tables.listeners[name]
    return {**listener.by_address_and_port, **listener.by_address, **listener.by_port}


def test_a_change_of_routes_touches_their_chain_and_no_other() -> None:
    compiler = Compiler()
    held = held_by(ORDER)
    before = compiler.apply(held)
    held[ROUTES]["payment-service"] = HeldResource("another version", held[ROUTES]["payment-service"].body)
    after = compiler.apply(held, Change(ROUTES, frozenset({"payment-service"})))
    had, has = chains_of(before, "outbound"), chains_of(after, "outbound")
    assert {chain.name for key, chain in had.items() if has[key] is not chain} == {"outbound_payment-service"}
    assert after.listeners["inbound"] is before.listeners["inbound"]


@pytest.mark.parametrize("faulty", ["ClusterLinks", "ListenerLinks"])
def test_after_a_fault_of_our_own_nothing_of_before_is_believed(faulty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The update is refused and not held; the next one, which says nothing of it, makes good what was half done."""
    compiler = Compiler()
    held = held_by(PAYMENT)
    before = compiler.apply(held)
    new = {url: dict(resources) for url, resources in held.items()}
    for url in (CLUSTER, LISTENER):
        name = {CLUSTER: "payment-service", LISTENER: "outbound"}[url]
        one = variant(url, name, 1)
        new[url][name] = HeldResource(one.version, one.body)

    def fails(*_: object) -> None:
        raise KeyError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr(getattr(link, faulty), "link", fails)
        with pytest.raises(KeyError):
            compiler.apply(new)
    assert compiler.tables is before
    name = "ledger-service"
    held[ENDPOINTS][name] = HeldResource("another version", held[ENDPOINTS][name].body)
    after = compiler.apply(held, Change(ENDPOINTS, frozenset({name})))
    assert described(after) == described(compile_tables(held)) == described(before)


def test_what_was_not_taken_is_built_upon_by_nobody() -> None:
    compiler = Compiler()
    held = held_by(PAYMENT)
    compiler.apply(held)
    new = {url: dict(resources) for url, resources in held.items()}
    one = variant(CLUSTER, "payment-service", 1)
    new[CLUSTER]["payment-service"] = HeldResource(one.version, one.body)
    compiler.apply(new, Change(CLUSTER, frozenset({"payment-service"})))
    compiler.distrust()
    after = compiler.apply(held, Change(ENDPOINTS, frozenset()))
    assert described(after) == described(compile_tables(held))
