"""Promise 7: an instance that fails its check leaves every proxy within interval plus one second, and comes back."""

from __future__ import annotations

import time

from tests.e2e.kit import Lab, eventually

INTERVAL_S = 1.0  # of the demo services' checks
WITHIN_S = INTERVAL_S + 1.0
PROXIES = ("order-1", "payment-1", "payment-2", "ledger-1", "makeline-1", "pulse-1", "inventory-1")
SEEN_BY_SIDECAR = (
    "import json, sys, urllib.request\n"
    "print(urllib.request.urlopen('http://127.0.0.1:15000/clusters?format=json', timeout=5).read().decode())"
)


def healthy_addresses(lab: Lab, host: str, cluster: str) -> set[str]:
    """Return the addresses one sidecar has in rotation for a cluster."""
    done = lab.python(host, SEEN_BY_SIDECAR, user="root")
    assert done.exit_code == 0, done.stderr
    import json

    clusters = {item["name"]: item for item in json.loads(done.stdout)["clusters"]}
    return {endpoint["address"] for endpoint in clusters[cluster]["endpoints"] if endpoint["is_healthy"]}


def everybody_sees(lab: Lab, count: int) -> bool:
    return all(len(healthy_addresses(lab, host, "payment-service")) == count for host in PROXIES)


def test_01_a_failing_instance_leaves_every_proxy_and_comes_back(lab: Lab) -> None:
    eventually(lambda: everybody_sees(lab, 2), within_s=5, what="both payment instances in every proxy")
    address = lab.driver.address_of("payment-1")
    lab.driver.unit("payment-1", "app", "pause")
    try:
        # A frozen application accepts and never answers: the check needs its timeout (1 s) on top.
        began = time.monotonic()
        eventually(lambda: everybody_sees(lab, 1), within_s=WITHIN_S + 1.0 + 2.0, what="payment-1 to leave every proxy")
        assert address not in healthy_addresses(lab, "order-1", "payment-service")
        assert time.monotonic() - began < WITHIN_S + 3.0
        served = {lab.order().json["charge"]["served_by"] for _ in range(4)}
        assert served == {"payment-2"}
    finally:
        lab.driver.unit("payment-1", "app", "resume")
    eventually(lambda: everybody_sees(lab, 2), within_s=WITHIN_S + 2.0, what="payment-1 to come back")
    served = {lab.order().json["charge"]["served_by"] for _ in range(4)}
    assert served == {"payment-1", "payment-2"}


def test_02_a_dead_application_leaves_and_comes_back(lab: Lab) -> None:
    eventually(lambda: everybody_sees(lab, 2), within_s=5, what="both payment instances in every proxy")
    lab.driver.unit("payment-2", "app", "stop")
    try:
        eventually(lambda: everybody_sees(lab, 1), within_s=WITHIN_S + 2.0, what="payment-2 to leave every proxy")
        shown = {one["host"]: one["status"] for one in lab.mesh_json("catalog", "instances")["instances"]}
        assert shown["payment-2"] == "critical"
    finally:
        lab.driver.unit("payment-2", "app", "start")
    eventually(lambda: everybody_sees(lab, 2), within_s=10, what="payment-2 to come back")


def test_03_a_host_that_falls_silent_leaves_too(lab: Lab) -> None:
    eventually(lambda: everybody_sees(lab, 2), within_s=10, what="both payment instances in every proxy")
    lab.driver.inject("cut", "payment-1", duration_s=60, options={})
    try:
        eventually(
            lambda: len(healthy_addresses(lab, "order-1", "payment-service")) == 1,
            within_s=20,
            what="the host without a cable to be taken out (its agent's heartbeat is missed for 10 s)",
        )
        assert lab.order().status == 201
    finally:
        lab.driver.heal()
    eventually(lambda: everybody_sees(lab, 2), within_s=20, what="the host to come back")
