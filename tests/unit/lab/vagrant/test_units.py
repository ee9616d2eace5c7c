"""systemd's words for units are turned into the lab's, and orders into systemctl."""

from __future__ import annotations

from typing import Any

import pytest

from lab.driver import LabError
from lab.topology import HostSpec, Role
from lab.units import units_of as units_on
from lab.vagrant import units

# As `systemctl show` of systemd 252 printed it on a host of the lab.
SHOWN = """\
MainPID=0
NRestarts=0
ExecMainCode=1
ExecMainStatus=0
Id=mesh-redirect.service
LoadState=loaded
ActiveState=active
SubState=exited
StateChangeTimestamp=@1795243000

MainPID=812
NRestarts=2
ExecMainCode=0
ExecMainStatus=0
Id=mesh-agent.service
LoadState=loaded
ActiveState=active
SubState=running
StateChangeTimestamp=@1795243001
"""


@pytest.mark.parametrize(
    ("active", "sub", "job", "state"),
    [
        pytest.param("active", "running", "0", "running", id="it runs"),
        pytest.param("active", "exited", "0", "done", id="a oneshot ended well"),
        pytest.param("activating", "start", "7", "running", id="a oneshot is under way"),
        pytest.param("activating", "auto-restart", "0", "backing-off", id="it died and starts again soon"),
        pytest.param("activating", "start-pre", "7", "waiting", id="what comes before it is under way"),
        pytest.param("inactive", "dead", "7", "waiting", id="its start is queued"),
        pytest.param("inactive", "dead", "0", "stopped", id="it was stopped"),
        pytest.param("inactive", "dead", "", "stopped", id="it was stopped, and systemd prints no job"),
        pytest.param("deactivating", "stop-sigterm", "7", "stopped", id="it is about to end"),
        pytest.param("failed", "failed", "0", "failed", id="it failed"),
        pytest.param("", "", "", "stopped", id="there is no such unit"),
    ],
)
def test_states(active: str, sub: str, job: str, state: str) -> None:
    assert units.state_of({"ActiveState": active, "SubState": sub, "Job": job}) == state


def test_what_show_prints() -> None:
    redirect, agent, app = units.parse(["redirect", "agent", "app"], SHOWN)
    assert (redirect["state"], redirect["starts"], redirect["exit_code"], redirect["pid"]) == ("done", 1, 0, 0)
    assert (agent["state"], agent["starts"], agent["exit_code"], agent["pid"]) == ("running", 3, None, 812)
    assert agent["since"] == 1795243001.0
    assert (app["state"], app["starts"], app["exit_code"]) == ("stopped", 0, None), "systemd does not know it"


@pytest.mark.parametrize(
    ("code", "status", "given"),
    [
        pytest.param("1", "3", 3, id="it exited"),
        pytest.param("2", "9", -9, id="a signal killed it"),
        pytest.param("3", "6", -6, id="a signal killed it and it left a core"),
    ],
)
def test_exit_codes(code: str, status: str, given: int) -> None:
    text = f"Id=mesh-agent.service\nActiveState=failed\nMainPID=0\nExecMainCode={code}\nExecMainStatus={status}\n"
    assert units.parse(["agent"], text)[0]["exit_code"] == given


@pytest.mark.parametrize("role", list(Role))
def test_the_units_are_those_of_every_driver(role: Role) -> None:
    host = HostSpec("a-1", "east", "10.77.1.9", role, service_dir="demo-services/order-service")
    assert units.units_of(host) == tuple(unit.name for unit in units_on(host, "/checkout"))


@pytest.mark.parametrize(
    ("action", "line"),
    [
        pytest.param("start", "systemctl start --no-block demo-service.service || exit", id="start"),
        pytest.param(
            "kill", "systemctl kill --kill-whom=main --signal=KILL demo-service.service || exit", id="it starts again"
        ),
        pytest.param(
            "stop-now",
            "systemctl stop --no-block demo-service.service || exit; "
            "systemctl kill --kill-whom=all --signal=KILL demo-service.service 2>/dev/null || true; "
            "systemctl stop demo-service.service 2>/dev/null || true; "
            "systemctl reset-failed demo-service.service 2>/dev/null || true",
            id="it is told to stay stopped before it is killed, and has not failed by that",
        ),
    ],
)
def test_orders(action: str, line: str) -> None:
    assert units.order("app", action) == ["sh", "-c", line]


def test_there_is_an_order_for_every_action_of_a_driver() -> None:
    assert set(units.ORDERS) == {"start", "stop", "restart", "kill", "pause", "resume", "stop-now"}
    with pytest.raises(LabError, match="no action 'sing'"):
        units.order("app", "sing")


def test_logs() -> None:
    assert units.log("access", 5) == ["tail", "-n", "5", "/var/log/mesh/access.log"]
    command: Any = units.log("app", 7)[-1]
    assert "--lines=7" in command
    assert command.endswith("_SYSTEMD_UNIT=demo-service.service"), "what the unit said, not what was said of it"
    assert f"--since=@$(cat {units.BORN}" in command, "what was said before the mesh started anew is another lab's"
