"""What `lab status` says of containers."""

from __future__ import annotations

from typing import Any

import pytest

from lab.compose import report
from lab.driver import checkout
from lab.topology import load

NEVER = "0001-01-01T00:00:00Z"
TOPOLOGY = load(checkout() / "lab" / "topology.yaml")


def container(
    status: str,
    *,
    exit_code: int = 0,
    pid: int = 0,
    restarts: int = 0,
    host: str = "order-1",
    unit: str = "app",
    was_started: bool = True,
) -> dict[str, Any]:
    return {
        "Id": "c0ffee",
        "Created": "2026-11-21T06:00:00.123456789Z",
        "RestartCount": restarts,
        "Config": {"Labels": {"dev.meshyard.host": host, "dev.meshyard.unit": unit}},
        "State": {
            "Status": status,
            "Running": status == "running",
            "Pid": pid,
            "ExitCode": exit_code,
            "StartedAt": "2026-11-21T06:00:10.5Z" if was_started else NEVER,
            "FinishedAt": "2026-11-21T06:00:20Z" if status in ("exited", "restarting", "dead") else NEVER,
        },
    }


def said_of(unit: str, one: dict[str, Any] | None, earlier: int = 0) -> dict[str, Any]:
    return report.unit_report(unit, one, earlier, inside_pid=lambda found: int(found["State"]["Pid"]) - 1000)


@pytest.mark.parametrize(
    ("unit", "status", "exit_code", "state"),
    [
        pytest.param("app", "created", 0, "waiting", id="made, and waits for its turn"),
        pytest.param("app", "running", 0, "running", id="runs"),
        pytest.param("app", "paused", 0, "running", id="paused by hand: it is there, as a stopped process is"),
        pytest.param("app", "restarting", 137, "backing-off", id="killed, and about to start again"),
        pytest.param("app", "exited", 0, "stopped", id="a service that ended stays down on purpose only"),
        pytest.param("app", "exited", 137, "stopped", id="and so when it was killed on purpose"),
        pytest.param("redirect", "exited", 0, "done", id="interception is in force"),
        pytest.param("probe", "exited", 0, "done", id="the probe came back"),
        pytest.param("probe", "exited", 124, "failed", id="the probe did not come back"),
        pytest.param("redirect", "exited", 1, "failed", id="the rules could not be written"),
        pytest.param("app", "dead", 1, "failed", id="the engine could not remove it"),
    ],
)
def test_the_state_of_a_unit(unit: str, status: str, exit_code: int, state: str) -> None:
    assert said_of(unit, container(status, exit_code=exit_code, unit=unit))["state"] == state


def test_a_running_unit_tells_its_number_on_the_host_and_its_starts() -> None:
    said = said_of("app", container("running", pid=1042, restarts=2), earlier=3)
    assert (said["pid"], said["starts"], said["exit_code"], said["waits_for"]) == (42, 6, None, [])
    assert said["since"] == pytest.approx(1795240810.5)


def test_a_unit_that_ended_tells_how_and_when() -> None:
    said = said_of("probe", container("exited", exit_code=124, unit="probe"))
    assert (said["pid"], said["starts"], said["exit_code"]) == (0, 1, 124)
    assert said["since"] == pytest.approx(1795240820.0)


@pytest.mark.parametrize(
    "one", [None, container("created", was_started=False)], ids=["not made yet", "not started yet"]
)
def test_a_unit_that_waits_says_for_what(one: dict[str, Any] | None) -> None:
    said = said_of("app", one)
    assert (said["state"], said["starts"], said["waits_for"]) == ("waiting", 0, ["done probe"])


def test_hosts_come_in_the_order_of_the_topology_with_their_units() -> None:
    found = [container("running", pid=7, unit="host"), container("running", pid=8)]
    shown = report.hosts_report(TOPOLOGY.hosts.values(), found, {"order-1/app": 1}, lambda _: 5)
    assert [host["name"] for host in shown] == list(TOPOLOGY.hosts)
    order = shown[1]
    assert (order["pid"], order["role"], order["address"]) == (7, "service", "10.77.1.11")
    states = {unit["name"]: unit["state"] for unit in order["units"]}
    assert states == dict.fromkeys(("redirect", "agent", "sidecar", "probe"), "waiting") | {"app": "running"}
    assert order["units"][-1]["starts"] == 2


def test_a_host_whose_own_container_ended_is_dead() -> None:
    shown = report.hosts_report(TOPOLOGY.hosts.values(), [container("exited", pid=0, unit="host")], {}, lambda _: 5)
    assert [host["pid"] for host in shown] == [0] * len(TOPOLOGY.hosts)
