"""The compiled sidecar is the same sidecar: beside one in Python it carries, proves and refuses as that one does."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import compiled
from lab.driver import checkout
from lab.topology import load
from tests.e2e.kit import Lab, eventually, only_on

HOSTS = ("cp-1", "order-1", "payment-1", "ledger-1", "makeline-1", "inventory-1", "pulse-1")

pytestmark = only_on("netns", why="the compiled sidecar is for namespaces alone")


@pytest.fixture(scope="module")
def mixed() -> Iterator[Lab]:
    """A lab in which order-1 and payment-1 have the compiled sidecar, and the others the one in Python."""
    topology = load(checkout() / "lab" / "topology.yaml").only(HOSTS)
    made = Lab(f"test-compiled-{os.getpid()}")
    try:
        for _ in made.driver.up(topology.with_sidecars("order-1=compiled,payment-1=compiled")):
            pass
        yield made
    finally:
        made.driver.down()
        (checkout() / ".lab" / f"{made.driver.lab_name}.lock").unlink(missing_ok=True)


def sidecar_of(lab: Lab, host: str) -> str:
    """Return which files the process of a host's sidecar has in its memory."""
    hosts = {one["name"]: one for one in lab.driver.status()["hosts"]}
    pid = next(unit["pid"] for unit in hosts[host]["units"] if unit["name"] == "sidecar")
    return lab.driver.run(host, ["cat", f"/proc/{pid}/maps"], user="root").stdout


def test_01_it_runs_on_the_hosts_that_want_it_and_nowhere_else(mixed: Lab) -> None:
    code = f"{compiled.FOLDER}/{compiled.GROUP}__mypyc"
    assert code in sidecar_of(mixed, "order-1")
    assert code in sidecar_of(mixed, "payment-1")
    assert code not in sidecar_of(mixed, "ledger-1")


def test_02_an_order_goes_through_both_kinds(mixed: Lab) -> None:
    answer = mixed.order()
    assert answer.status == 201, answer.body
    inbound = eventually(
        lambda: mixed.access_log("payment-1", reporter="destination", response_code=201),
        what="the charge in the log of payment-1",
    )
    assert {line["downstream_peer"].rpartition("/")[2] for line in inbound} == {"order-service"}


def test_03_what_no_intention_allows_is_refused_by_name(mixed: Lab) -> None:
    answer = mixed.http("pulse-1", "GET", "http://payment-service:8080/charges")
    assert answer.status == 403
    assert "intentions/payment-service#" in answer.body
