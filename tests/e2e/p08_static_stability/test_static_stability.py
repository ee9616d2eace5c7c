"""Promise 8: without the control plane calls go on; after its restart all is as before and no connection was reset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.kit import Lab, eventually, intentions

LAB_HOSTS = ("cp-1", "order-1", "payment-1", "payment-2", "ledger-1", "makeline-1", "inventory-1", "pulse-1")

# A client with one kept-alive connection: sends a request whenever a line comes in, prints the status.
KEPT_ALIVE = """
import http.client, sys
connection = http.client.HTTPConnection("makeline-service", 8080, timeout=10)
connection.connect()
port = connection.sock.getsockname()[1]
for line in sys.stdin:
    connection.request("GET", "/tickets")
    answer = connection.getresponse()
    answer.read()
    print(answer.status, connection.sock is not None and connection.sock.getsockname()[1] == port, flush=True)
"""


def picture(lab: Lab) -> dict[str, Any]:
    """Return what the control plane is asked to remember."""
    instances = lab.mesh_json("catalog", "instances")["instances"]
    return {
        "intentions": lab.mesh_json("intention", "list"),
        "roots": lab.mesh_json("ca", "roots"),
        "services": [(s["name"], s["virtual_ip"]) for s in lab.mesh_json("catalog", "services")["services"]],
        "instances": sorted((one["id"], one["host"], one["address"]) for one in instances),
    }


def control_plane_starts(lab: Lab) -> int:
    return int(lab.unit("cp-1", "control-plane")["starts"])


def ready(lab: Lab) -> bool:
    return lab.mesh("ca", "roots").exit_code == 0


def test_01_calls_go_on_without_a_control_plane_and_nothing_is_forgotten(lab: Lab, tmp_path: Path) -> None:
    extra = intentions("pulse-service", ("order-service", "allow"), ("*", "deny"))
    assert lab.write_config(extra, tmp_path).exit_code == 0  # acknowledged just before the kill
    before = picture(lab)
    with lab.background("order-1", "python", "-u", "-c", KEPT_ALIVE) as client:
        assert client.stdin is not None
        assert client.stdout is not None

        def ask() -> str:
            client.stdin.write("go\n")
            client.stdin.flush()
            return client.stdout.readline().strip()

        assert ask() == "200 True"
        lab.driver.unit("cp-1", "control-plane", "stop-now")
        try:
            eventually(lambda: not ready(lab), what="the control plane to be gone")
            assert [lab.order().status for _ in range(5)] == [201] * 5
            assert lab.http("inventory-1", "GET", "http://payment-service:8080/charges").status == 403
            assert ask() == "200 True"
            assert lab.mesh("catalog", "services").exit_code == 4, "the command says that it cannot reach it"
        finally:
            lab.driver.unit("cp-1", "control-plane", "start")
        eventually(lambda: ready(lab), what="the control plane to answer again")
        eventually(lambda: picture(lab) == before, what="registry, intentions and CAs to be as before")
        eventually(
            lambda: all(proxy["connected"] for proxy in lab.mesh_json("proxy", "status")["proxies"]),
            what="every sidecar to connect again",
        )
        assert ask() == "200 True", "the connection of before the kill still carries requests"
    assert lab.order().status == 201


def test_02_kill_9_between_acknowledged_writes_loses_none(lab: Lab, tmp_path: Path) -> None:
    for number in range(3):
        starts = control_plane_starts(lab)
        source = f"writer-{number}"
        done = lab.write_config(
            intentions("inventory-service", ("order-service", "allow"), (source, "allow")), tmp_path
        )
        assert done.exit_code == 0
        lab.driver.unit("cp-1", "control-plane", "kill")
        eventually(lambda s=starts: control_plane_starts(lab) > s, what="the control plane to be started again")
        eventually(lambda: ready(lab), what="the control plane to answer again")
        rows = lab.mesh_json("intention", "list")
        assert source in str(rows), "what was acknowledged is there after kill -9"


def test_03_after_the_restart_a_change_reaches_the_proxies_again(lab: Lab, tmp_path: Path) -> None:
    url = "http://pulse-service:8080/pulse"
    deny = intentions("pulse-service", ("*", "deny"))
    allow = intentions("pulse-service", ("order-service", "allow"), ("*", "deny"))
    assert lab.write_config(deny, tmp_path).exit_code == 0
    eventually(lambda: lab.http("order-1", "GET", url).status == 403, what="the deny to arrive")
    assert lab.write_config(allow, tmp_path).exit_code == 0
    eventually(lambda: lab.http("order-1", "GET", url).status == 200, within_s=1, what="the allow to arrive")
