"""What one proxy may know, and who has to look again after a change."""

from __future__ import annotations

import pytest

from mesh.config.entries import Protocol
from mesh.controlplane import commands
from mesh.controlplane.snapshots import Snapshots, affected_services
from mesh.controlplane.state import Change
from mesh.registry.catalog import CatalogChange
from mesh.registry.health import CheckStatus
from mesh.xds.snapshot import UpstreamSnapshot
from mesh.xds.types import NodeIdentity
from tests.fakes.mesh_state import StateDriver

ORDER = NodeIdentity("order-1", "order-service")


def snapshots_of(driver: StateDriver) -> Snapshots:
    return Snapshots(driver.state, trust_domain="dominos.internal", namespace="production")


def test_a_proxy_knows_nothing_before_its_service_is_registered_from_its_host() -> None:
    driver = StateDriver()
    driver.register("order-service", "order-2")
    assert snapshots_of(driver).snapshot(ORDER) is None


def test_a_proxy_knows_every_service_and_its_own() -> None:
    driver = StateDriver()
    driver.register("order-service", "order-1", address="10.77.1.11")
    driver.register("payment-service", "payment-1", is_passing=False)
    snapshot = snapshots_of(driver).snapshot(ORDER)
    assert snapshot is not None
    assert snapshot.identity == "spiffe://dominos.internal/ns/production/sa/order-service"
    assert (snapshot.address, snapshot.inbound.port, snapshot.inbound.intentions) == ("10.77.1.11", 8080, None)
    assert [upstream.name for upstream in snapshot.upstreams] == ["order-service", "payment-service"]
    assert [endpoint.is_healthy for endpoint in snapshot.upstreams[1].endpoints] == [False]


def test_protocol_is_the_services_own_word_then_everybodys_then_tcp() -> None:
    driver = StateDriver()
    assert snapshots_of(driver).protocol("a") is Protocol.TCP
    driver.write('Kind = "proxy-defaults"\nName = "global"\nConfig { protocol = "http" }\n')
    assert snapshots_of(driver).protocol("a") is Protocol.HTTP
    driver.write('Kind = "service-defaults"\nName = "a"\nProtocol = "tcp"\n')
    assert snapshots_of(driver).protocol("a") is Protocol.TCP


def test_a_callers_own_policy_is_its_own() -> None:
    driver = StateDriver()
    driver.register("order-service", "order-1")
    driver.register("payment-service", "payment-1")
    driver.write(
        'Kind = "service-defaults"\nName = "order-service"\n'
        'UpstreamConfig { Overrides = [{ Name = "payment-service" ConnectTimeoutMs = 250 }] }\n'
    )
    snapshots = snapshots_of(driver)
    ours, theirs = snapshots.snapshot(ORDER), snapshots.snapshot(NodeIdentity("payment-1", "payment-service"))
    assert ours is not None
    assert theirs is not None
    assert [upstream.connect_timeout_s for upstream in ours.upstreams] == [5.0, 0.25]
    assert [upstream.connect_timeout_s for upstream in theirs.upstreams] == [5.0, 5.0]


def test_intentions_for_everybody_reach_a_service_without_its_own() -> None:
    driver = StateDriver()
    driver.register("order-service", "order-1")
    driver.write('Kind = "service-intentions"\nName = "*"\nSources = [{ Name = "pulse" Action = "allow" }]\n')
    snapshot = snapshots_of(driver).snapshot(ORDER)
    assert snapshot is not None
    assert snapshot.inbound.intentions is not None
    assert [row.name for row in snapshot.inbound.intentions.sources] == ["pulse"]


def test_shared_parts_stay_until_a_change_touches_them() -> None:
    driver = StateDriver()
    instance = driver.register("payment-service", "payment-1")
    driver.register("order-service", "order-1")
    snapshots = snapshots_of(driver)
    payment, order = snapshots.upstream("payment-service"), snapshots.upstream("order-service")
    driver.run(lambda state: commands.report(state, instance.id, "alive", CheckStatus.CRITICAL, "gone"))
    snapshots.forget(driver.changes[-1])
    assert snapshots.upstream("order-service") is order
    assert snapshots.upstream("payment-service") is not payment


def test_callers_who_treat_their_upstreams_alike_share_one_row_of_them() -> None:
    driver = StateDriver()
    for service in ("order", "payment", "pulse"):
        driver.register(f"{service}-service", f"{service}-1")
    driver.write(
        'Kind = "service-defaults"\nName = "pulse-service"\nUpstreamConfig { Defaults { ConnectTimeoutMs = 250 } }\n'
    )
    snapshots = snapshots_of(driver)

    def row(service: str) -> tuple[UpstreamSnapshot, ...]:
        snapshot = snapshots.snapshot(NodeIdentity(f"{service}-1", f"{service}-service"))
        assert snapshot is not None
        return snapshot.upstreams

    before = row("order")
    assert row("payment") is before
    assert {upstream.connect_timeout_s for upstream in row("pulse")} == {0.25}
    driver.write('Kind = "service-intentions"\nName = "order-service"\nSources = [{ Name = "*" Action = "allow" }]\n')
    snapshots.forget(driver.changes[-1])
    assert row("order") is before
    driver.register("payment-service", "payment-2")
    snapshots.forget(driver.changes[-1])
    assert [len(upstream.endpoints) for upstream in row("order")] == [1, 2, 1]
    assert row("payment") is row("order")


ALL = None


@pytest.mark.parametrize(
    ("change", "services"),
    [
        pytest.param(Change(), frozenset(), id="nothing concerns nobody"),
        pytest.param(Change(entries=frozenset({("service-intentions", "a")})), frozenset({"a"}), id="its destination"),
        pytest.param(Change(entries=frozenset({("service-intentions", "*")})), ALL, id="everybody's intentions"),
        pytest.param(Change(entries=frozenset({("service-defaults", "a")})), ALL, id="what a service speaks"),
        pytest.param(Change(entries=frozenset({("service-router", "a")})), ALL, id="where its requests go"),
        pytest.param(Change(catalog=CatalogChange(frozenset({"a"}))), ALL, id="endpoints"),
        pytest.param(Change(catalog=CatalogChange(has_new_names=True)), ALL, id="names"),
    ],
)
def test_who_has_to_look(change: Change, services: frozenset[str] | None) -> None:
    assert affected_services(change) == services
