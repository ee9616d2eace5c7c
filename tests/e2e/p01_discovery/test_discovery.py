"""Promise 1: an order succeeds by service names alone; the applications know nothing of the mesh."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lab.driver import checkout
from lab.topology import load
from tests.e2e.kit import Lab, eventually

DEMO = checkout() / "demo-services"
APPS = sorted(DEMO.glob("*-service/app.py")) + sorted((DEMO / "common").glob("*.py"))


def test_01_an_order_succeeds_and_every_call_crosses_hosts(lab: Lab) -> None:
    answer = lab.order()
    assert answer.status == 201, answer
    assert answer.json["charge"]["charged_by"] in ("payment-1", "payment-2")
    order_id = answer.json["id"]
    far = {
        "inventory-1": "/stock/funghi",
        "makeline-1": "/tickets",
        "ledger-1": "/entries",
    }
    for host, path in far.items():
        eventually(
            lambda host=host, path=path: (
                lab.access_log(host, reporter="destination", path=path, response_flags="-")
                or lab.access_log(host, reporter="destination", path=path)
            ),
            what=f"{host}'s sidecar to log {path}",
        )
    kept = lab.http("order-1", "GET", f"http://127.0.0.1:8080/orders/{order_id}")
    assert kept.json == answer.json


def test_02_names_resolve_to_virtual_addresses(lab: Lab) -> None:
    script = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    for name in ("payment-service", "payment-service.virtual.consul"):
        done = lab.python("order-1", script, name)
        assert done.stdout.startswith("240."), done
    assert lab.python("order-1", script, "no-such-service").exit_code != 0


def test_03_calls_go_to_both_replicas_in_turn(lab: Lab) -> None:
    served = {lab.order().json["charge"]["served_by"] for _ in range(4)}
    assert served == {"payment-1", "payment-2"}


def test_04_a_repeated_key_is_one_charge_whichever_replica_answers(lab: Lab) -> None:
    body = '{"order_id": "once", "amount_cents": 900, "card": "4000"}'
    headers = {"idempotency-key": "once-and-only-once", "content-type": "application/json"}
    answers = [
        lab.http("order-1", "POST", "http://payment-service:8080/charge", headers=headers, body=body) for _ in range(4)
    ]
    assert [answer.status for answer in answers] == [201] * 4
    assert {answer.json["served_by"] for answer in answers} == {"payment-1", "payment-2"}
    assert len({answer.json["charged_by"] for answer in answers}) == 1
    book = lab.http("payment-1", "GET", "http://ledger-service:8080/entries?order_id=once")
    assert len(book.json) == 1


def test_05_orders_survive_a_restart_of_the_application(lab: Lab) -> None:
    order_id = lab.order().json["id"]
    before = lab.unit("order-1", "app")["starts"]
    lab.driver.unit("order-1", "app", "kill")
    eventually(lambda: lab.unit("order-1", "app")["starts"] > before, what="the application to start again")
    kept = eventually(
        lambda: (a := lab.http("order-1", "GET", f"http://127.0.0.1:8080/orders/{order_id}")).status == 200 and a,
        what="the order after the restart",
    )
    assert kept.json["id"] == order_id


@pytest.mark.parametrize("path", APPS, ids=lambda path: f"{path.parent.name} imports nothing of the mesh")
def test_06_no_application_imports_the_mesh(path: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert not names & {"mesh", "lab", "grpc", "envoy", "spiffe"}


def test_07_an_application_could_not_import_the_mesh_if_it_wanted(lab: Lab) -> None:
    pid = lab.unit("order-1", "app")["pid"]
    maps = lab.host("order-1").file(f"/proc/{pid}/environ").content_string
    assert "MESH" not in maps.upper().replace("MESHYARD", "")


def test_08_no_file_of_a_service_names_a_host() -> None:
    hosts = load(checkout() / "lab" / "topology.yaml").hosts
    for path in [*DEMO.rglob("*.py"), *DEMO.rglob("*.hcl")]:
        text = path.read_text()
        assert not [name for name in hosts if name in text], path


def test_09_the_driver_reports_what_the_issue_promises(lab: Lab) -> None:
    hosts = lab.driver.status()["hosts"]
    assert {"name", "address", "datacenter", "units"} <= set(hosts[0])
