"""A view follows a change, says how little is new, and never differs from one made from nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.controlplane import commands
from mesh.controlplane.snapshots import Snapshots
from mesh.controlplane.views import View
from mesh.registry.health import CheckStatus
from mesh.xds.build.cache import ResourceCache
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, NodeIdentity
from tests.fakes.mesh_state import StateDriver

NODE = NodeIdentity("order-1", "order-service")
ALLOW = 'Kind = "service-intentions"\nName = "order-service"\nSources = [{{ Name = "*" Action = "{0}" }}]\n'


class Fixture:
    """A mesh of two services, a view of one proxy, and the changes carried over."""

    def __init__(self, *, is_proxyless: bool = False) -> None:
        self.driver = StateDriver()
        self.driver.register("order-service", "order-1")
        self.driver.register("payment-service", "payment-1")
        self.snapshots = Snapshots(self.driver.state, trust_domain="t", namespace="n")
        self.cache = ResourceCache()
        self.view = View(NODE, self.snapshots, self.cache, "/log", is_proxyless)
        self.view.refresh()
        self.driver.changes.clear()

    def follow(self) -> dict[str, set[str]]:
        """Carry all changes into the view; return what differs."""
        changed: dict[str, set[str]] = {}
        for change in self.driver.changes:
            self.snapshots.forget(change)
            for url, names in self.view.refresh(change).items():
                changed.setdefault(url, set()).update(names)
        self.driver.changes.clear()
        return changed


def test_a_failing_check_touches_one_load_assignment() -> None:
    mesh = Fixture()
    built = mesh.cache.built
    run = commands.report
    mesh.driver.run(lambda state: run(state, "payment-1/payment-service", "alive", CheckStatus.CRITICAL, ""))
    assert mesh.follow() == {ENDPOINTS: {"payment-service"}}
    assert mesh.cache.built == built + 1


def test_another_host_leaves_nothing_behind_in_what_all_share() -> None:
    mesh = Fixture()
    mesh.driver.register("payment-service", "payment-2")
    mesh.follow()
    built = mesh.cache.built
    for host in ("payment-1", "payment-2"):
        view = View(NodeIdentity(host, "payment-service"), mesh.snapshots, mesh.cache, "/log")
        view.refresh()
        assert view.own.built == len({"inbound", "self_probe", "local_app"})
    assert mesh.cache.built == built


def test_without_a_sidecar_a_failing_check_touches_one_load_assignment_of_its_own_kind() -> None:
    mesh, beside = Fixture(is_proxyless=True), Fixture()
    built = mesh.cache.built
    run = commands.report
    mesh.driver.run(lambda state: run(state, "payment-1/payment-service", "alive", CheckStatus.CRITICAL, ""))
    assert mesh.follow() == {ENDPOINTS: {"payment-service"}}
    assert mesh.cache.built == built + 1
    ours, theirs = (one.view.resources[ENDPOINTS]["payment-service"] for one in (mesh, beside))
    assert ours.body != theirs.body, "each datacenter has a weight"


def test_without_a_sidecar_an_intention_touches_nothing() -> None:
    mesh = Fixture(is_proxyless=True)
    mesh.driver.write(ALLOW.format("allow"))
    assert mesh.follow() == {}


def test_an_intention_touches_one_listener() -> None:
    mesh = Fixture()
    mesh.driver.write(ALLOW.format("allow"))
    assert mesh.follow() == {LISTENER: {"inbound"}}


def test_a_new_service_touches_what_names_it() -> None:
    mesh = Fixture()
    mesh.driver.register("ledger-service", "ledger-1")
    assert mesh.follow() == {CLUSTER: {"ledger-service"}, ENDPOINTS: {"ledger-service"}, LISTENER: {"outbound"}}


def test_a_view_outlives_its_instance() -> None:
    mesh = Fixture()
    before = mesh.view.resources
    mesh.driver.run(lambda state: commands.deregister(state, "order-1/order-service"))
    mesh.follow()
    assert mesh.view.resources is before


STEPS = st.lists(
    st.sampled_from(["fail", "pass", "come", "go", "allow", "deny", "http", "tcp"]), min_size=1, max_size=12
)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(STEPS)
def test_following_changes_gives_what_building_anew_gives(steps: list[str]) -> None:
    mesh = Fixture()
    driver = mesh.driver
    for step in steps:
        if step in ("fail", "pass"):
            status = CheckStatus.PASSING if step == "pass" else CheckStatus.CRITICAL
            driver.run(lambda state, s=status: commands.report(state, "payment-1/payment-service", "alive", s, ""))  # type: ignore[misc]
        elif step == "come":
            driver.register("payment-service", "payment-2", address="10.77.1.10")
        elif step == "go":
            driver.run(lambda state: commands.deregister(state, "payment-2/payment-service"))
        elif step in ("allow", "deny"):
            driver.write(ALLOW.format(step))
        else:
            driver.write(f'Kind = "service-defaults"\nName = "payment-service"\nProtocol = "{step}"\n')
        mesh.follow()
    anew = View(NODE, Snapshots(driver.state, trust_domain="t", namespace="n"), ResourceCache(), "/log")
    anew.refresh()
    assert mesh.view.resources == anew.resources
