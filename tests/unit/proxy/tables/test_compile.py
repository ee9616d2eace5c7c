"""What the control plane builds is taken without a NACK, incrementally, and all or nothing."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster as ClusterMessage
from envoy.config.core.v3.base_pb2 import INBOUND
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener as ListenerMessage

from mesh.proxy.tables import compile_listeners, kinds
from mesh.proxy.tables.compile import Compiler, compile_tables
from mesh.proxy.tables.kinds import HeldResources
from mesh.proxy.tables.model import EMPTY, HttpChain, ProxyTables, RequestView, TcpChain, Verdict
from mesh.proxy.tables.nack import ConfigNack, Place
from mesh.proxy.tables.warming import WARM_S
from mesh.xds.snapshot import ProxySnapshot
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.fakes.sample_mesh import ACCESS_LOG, LEDGER, ORDER, PAYMENT, spiffe_id
from tests.fakes.xds import HeldResource, changed, held_by, pack


@pytest.mark.parametrize("snapshot", [ORDER, PAYMENT, LEDGER], ids=lambda one: one.node_id)
def test_what_the_control_plane_builds_is_taken_whole(snapshot: ProxySnapshot) -> None:
    compiler = Compiler()
    tables = compiler.apply(held_by(snapshot))
    assert compiler.warming == ()
    assert set(tables.listeners) == {"outbound", "inbound"}
    assert {"local_app", "self_probe", *(upstream.name for upstream in snapshot.upstreams)} == set(tables.clusters)


def payment_tables() -> ProxyTables:
    return compile_tables(held_by(PAYMENT))


def test_a_cluster_has_its_endpoints_with_host_datacenter_weight_and_health() -> None:
    cluster = payment_tables().clusters["payment-service"]
    found = [(one.key, one.host, one.datacenter, one.weight, one.is_healthy) for one in cluster.endpoints]
    assert found == [
        (("10.77.1.13", 8080), "payment-1", "east", 1, True),
        (("10.77.1.14", 8080), "payment-2", "east", 1, False),
        (("10.77.2.13", 8080), "payment-3", "west", 2, True),
    ]
    assert cluster.tls is not None
    assert cluster.tls.expected_ids == {spiffe_id("payment-service")}
    assert cluster.limits.max_connections == 100
    assert cluster.outlier is not None
    assert (cluster.outlier.consecutive_5xx, cluster.outlier.max_ejection_percent) == (3, 50)


def test_the_application_is_dialled_from_the_delivery_address() -> None:
    local = payment_tables().clusters["local_app"]
    assert (local.endpoints[0].key, local.source_address, local.tls) == (("127.0.0.1", 8080), "127.0.0.6", None)


def test_outbound_chains_are_found_by_virtual_address_and_anything_else_is_closed() -> None:
    outbound = payment_tables().listeners["outbound"]
    http, tcp = outbound.find("240.0.0.2", 80), outbound.find("240.0.0.3", 9000)
    assert http is not None
    assert tcp is not None
    assert isinstance(http.app, HttpChain)
    assert http.app.routes.find(RequestView("GET", "/", "payment-service", {})) is not None
    assert isinstance(tcp.app, TcpChain)
    assert tcp.app.cluster == "ledger-service"
    assert outbound.find("93.184.216.34", 80) is None


def test_the_inbound_chain_knows_who_may_come_in() -> None:
    chain = payment_tables().listeners["inbound"].find("10.77.1.13", 8080)
    assert chain is not None
    assert chain.tls is not None
    assert chain.tls.expected_prefix == "spiffe://dominos.internal/"
    assert chain.max_connections == 50
    assert isinstance(chain.app, HttpChain)
    assert chain.app.local_reply_headers == {"UF": (("x-mesh-undelivered", "connect-failure"),)}
    assert chain.app.is_forwarding_client_identity
    assert chain.app.access_log is not None
    assert chain.app.access_log.path == ACCESS_LOG
    assert chain.app.authorizer is not None
    view = RequestView("POST", "/charge", "payment-service", {}, spiffe_id("order-service"))
    decision = chain.app.authorizer.decide(view)
    assert (decision.verdict, decision.rule) == (
        Verdict.ALLOW,
        "intentions/payment-service#1:order-service/permission 2",
    )


@pytest.mark.parametrize(
    ("method", "headers", "retried", "route"),
    [
        pytest.param("GET", {}, True, "payment-service/default/safe", id="a GET may be repeated"),
        pytest.param("POST", {}, False, "payment-service/default/once", id="a POST may not"),
        pytest.param(
            "POST", {"idempotency-key": ("k",)}, True, "payment-service/default/keyed", id="a POST with a key may"
        ),
    ],
)
def test_how_hard_a_request_is_tried(
    method: str, headers: dict[str, tuple[str, ...]], retried: bool, route: str
) -> None:
    chain = payment_tables().listeners["outbound"].find("240.0.0.2", 80)
    assert chain is not None
    assert isinstance(chain.app, HttpChain)
    found = chain.app.routes.find(RequestView(method, "/", "payment-service:8080", headers))
    assert found is not None
    assert found.name == route
    assert found.is_counting_attempts
    assert ("reset" in found.action.retry.retry_on) is retried


# ---------------------------------------------------------------------------------------- incremental


def without(held: HeldResources, url: str, name: str) -> dict[str, dict[str, HeldResource]]:
    return {
        kind: {key: one for key, one in resources.items() if (kind, key) != (url, name)}
        for kind, resources in held.items()
    }


def test_what_did_not_change_is_the_same_object() -> None:
    compiler = Compiler()
    before = compiler.apply(held_by(PAYMENT))
    after = compiler.apply(held_by(PAYMENT))
    assert after.index == before.index + 1
    assert all(after.clusters[name] is before.clusters[name] for name in before.clusters)
    assert all(after.listeners[name] is before.listeners[name] for name in before.listeners)


def test_a_change_of_endpoints_touches_its_cluster_and_nothing_else() -> None:
    compiler = Compiler()
    held = held_by(PAYMENT)
    before = compiler.apply(held)
    held[ENDPOINTS]["payment-service"] = HeldResource("another version", held[ENDPOINTS]["payment-service"].body)
    after = compiler.apply(held)
    changed = {name for name in before.clusters if after.clusters[name] is not before.clusters[name]}
    assert changed == {"payment-service"}
    assert after.listeners["outbound"] is before.listeners["outbound"]


@pytest.mark.parametrize(
    ("url", "name", "waiting"),
    [
        pytest.param(
            ENDPOINTS, "payment-service", "cluster payment-service waits for the endpoints payment-service", id="EDS"
        ),
        pytest.param(ROUTES, "payment-service", "listener outbound waits for the routes payment-service", id="RDS"),
    ],
)
def test_what_is_not_complete_is_warming_and_the_old_one_stays(url: str, name: str, waiting: str) -> None:
    held = held_by(PAYMENT)
    fresh = Compiler()
    tables = fresh.apply(without(held, url, name))
    assert fresh.warming == (waiting,)
    assert "payment-service" not in tables.clusters or "outbound" not in tables.listeners
    compiler = Compiler()
    before = compiler.apply(held)
    after = compiler.apply(without(held, url, name))
    assert after.clusters["payment-service"] is before.clusters["payment-service"]
    assert after.listeners["outbound"] is before.listeners["outbound"]
    assert compiler.apply(held) is compiler.tables
    assert compiler.warming == ()


@pytest.mark.parametrize(
    "url", [pytest.param(ENDPOINTS, id="a cluster has no endpoints"), pytest.param(ROUTES, id="a chain has no routes")]
)
def test_what_does_not_come_in_time_is_done_without_until_it_comes(url: str) -> None:
    held = held_by(PAYMENT)
    compiler = Compiler()
    compiler.apply(without(held, url, "payment-service"))
    assert compiler.check(100.0) is None
    assert compiler.check(100.0 + WARM_S) is None
    tables = compiler.check(100.1 + WARM_S)
    assert tables is not None
    assert compiler.warming == ()
    assert {"payment-service"} <= tables.clusters.keys()
    assert {"outbound", "inbound"} == tables.listeners.keys()
    assert bool(tables.clusters["payment-service"].endpoints) is (url != ENDPOINTS)
    assert compiler.check(200.0) is None
    assert compiler.apply(held).clusters["payment-service"].endpoints
    compiler.apply(without(held, url, "payment-service"))
    assert compiler.warming != (), "what was there and went is waited for anew"
    assert compiler.check(300.0) is None


@pytest.mark.parametrize("url", [ENDPOINTS, ROUTES])
def test_what_went_without_its_owner_stays_as_it_was(url: str) -> None:
    held = held_by(PAYMENT)
    compiler = Compiler()
    before = compiler.apply(held)
    compiler.apply(without(held, url, "payment-service"))
    assert compiler.check(100.0) is None
    after = compiler.check(101.0 + WARM_S)
    assert after is not None
    assert compiler.warming == ()
    assert after.clusters["payment-service"] is before.clusters["payment-service"]
    assert after.listeners["outbound"] is before.listeners["outbound"]


@pytest.mark.parametrize(("url", "name"), [(CLUSTER, "payment-service"), (LISTENER, "inbound")])
def test_what_is_removed_is_gone(url: str, name: str) -> None:
    compiler = Compiler()
    held = held_by(PAYMENT)
    compiler.apply(held)
    tables = compiler.apply(without(held, url, name))
    assert name not in (tables.clusters if url == CLUSTER else tables.listeners)


def test_a_refused_resource_changes_nothing() -> None:
    compiler = Compiler()
    held = held_by(PAYMENT)
    before = compiler.apply(held)
    bad = ClusterMessage(name="bad", dns_refresh_rate={"seconds": 1})
    broken = without(held, ENDPOINTS, "payment-service")
    broken[CLUSTER] = {**broken[CLUSTER], "bad": HeldResource("1", pack(bad))}
    with pytest.raises(ConfigNack, match="bad: dns_refresh_rate: this field is not implemented by this proxy"):
        compiler.apply(broken)
    assert compiler.tables is before
    assert compiler.apply(held).clusters["payment-service"] is before.clusters["payment-service"]


# ---------------------------------------------------------------------------------------- in steps


def steps_of(compiler: Compiler, held: HeldResources) -> int:
    return sum(1 for _ in compiler.prepare(held))


def test_what_was_prepared_is_taken_and_until_then_nothing_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler()
    held = held_by(PAYMENT)
    assert steps_of(compiler, held) >= sum(len(resources) for resources in held.values())
    assert compiler.tables is EMPTY
    assert compiler.wanted == {ENDPOINTS: frozenset(), ROUTES: frozenset()}
    monkeypatch.setattr(kinds, "at_once", lambda _: pytest.fail("it was compiled already"))
    tables = compiler.apply(held)
    assert tables.clusters == compile_clean(monkeypatch, held).clusters


def compile_clean(monkeypatch: pytest.MonkeyPatch, held: HeldResources) -> ProxyTables:
    monkeypatch.undo()
    return compile_tables(held)


def test_what_changed_after_it_was_prepared_is_compiled_anew() -> None:
    compiler = Compiler()
    held = held_by(PAYMENT)
    steps_of(compiler, held)
    other = ClusterMessage(name="local_app", connect_timeout={"seconds": 77})
    held[CLUSTER]["local_app"] = HeldResource("another version", pack(other))
    assert compiler.apply(held).clusters["local_app"].connect_timeout_s == 77


def test_what_is_refused_while_it_is_prepared_is_refused_again_and_changes_nothing() -> None:
    compiler = Compiler()
    before = compiler.apply(held_by(PAYMENT))
    bad = {CLUSTER: {"bad": HeldResource("1", pack(ClusterMessage(name="bad", dns_refresh_rate={"seconds": 1})))}}
    for _ in range(2):
        with pytest.raises(ConfigNack, match="dns_refresh_rate"):
            steps_of(compiler, bad)
        with pytest.raises(ConfigNack, match="dns_refresh_rate"):
            compiler.apply(bad)
    assert compiler.tables is before


def test_of_a_listener_with_many_chains_only_those_that_changed_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_chain = compile_listeners._chain

    def noted(message: FilterChain, at: Place, *, is_inbound: bool) -> object:
        compiled.append(message.name)
        return compile_chain(message, at, is_inbound=is_inbound)

    monkeypatch.setattr(compile_listeners, "_chain", noted)
    compiler = Compiler()
    held = held_by(PAYMENT)
    before = compiler.apply(held)

    def change(message: ListenerMessage) -> None:
        chain = next(one for one in message.filter_chains if one.name == "outbound_ledger-service")
        chain.filter_chain_match.destination_port.value = 9001

    body = changed(held[LISTENER]["outbound"].body, ListenerMessage, change)
    held[LISTENER]["outbound"] = HeldResource("another version", body)
    compiled.clear()
    after = compiler.apply(held).listeners["outbound"]
    kept = before.listeners["outbound"].find("240.0.0.2", 80)
    assert kept is not None
    assert compiled == ["outbound_ledger-service"]
    assert after.find("240.0.0.2", 80) == kept
    assert after.find("240.0.0.3", 9000) is None
    assert after.find("240.0.0.3", 9001) is not None


def test_chains_that_are_known_are_compiled_anew_for_the_other_direction() -> None:
    compiler = Compiler()
    held = held_by(PAYMENT)
    before = compiler.apply(held)

    def turn(message: ListenerMessage) -> None:
        message.traffic_direction = INBOUND

    body = changed(held[LISTENER]["outbound"].body, ListenerMessage, turn)
    held[LISTENER]["outbound"] = HeldResource("another version", body)
    with pytest.raises(ConfigNack, match="outbound: filter_chains"):  # an inbound chain has to say who may come in
        compiler.apply(held)
    assert compiler.tables is before


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        pytest.param("name", "outbound_ledger-service", "a chain needs a name of its own", id="its name"),
        pytest.param("filter_chain_match", None, "are for the same destination", id="its destination"),
    ],
)
def test_a_new_chain_may_not_take_what_a_known_one_has(field: str, value: str | None, said: str) -> None:
    compiler = Compiler()
    held = held_by(PAYMENT)
    compiler.apply(held)

    def double(message: ListenerMessage) -> None:
        known = next(one for one in message.filter_chains if one.name == "outbound_ledger-service")
        new = message.filter_chains.add()
        new.CopyFrom(known)
        new.name = "new"
        new.filter_chain_match.destination_port.value = 9999
        if value is None:
            new.filter_chain_match.CopyFrom(known.filter_chain_match)
        else:
            setattr(new, field, value)

    body = changed(held[LISTENER]["outbound"].body, ListenerMessage, double)
    held[LISTENER]["outbound"] = HeldResource("another version", body)
    with pytest.raises(ConfigNack, match=said):
        compiler.apply(held)


def test_what_is_held_says_what_else_to_ask_for() -> None:
    compiler = Compiler()
    compiler.apply(held_by(PAYMENT))
    services = {upstream.name for upstream in PAYMENT.upstreams}
    assert compiler.wanted == {ENDPOINTS: services, ROUTES: services - {"ledger-service"}}


def test_nothing_held_is_an_empty_table() -> None:
    tables = compile_tables({})
    assert (dict(tables.clusters), dict(tables.listeners), tables.index) == ({}, {}, EMPTY.index + 1)
