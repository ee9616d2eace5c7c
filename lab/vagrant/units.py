"""How the units of systemd are those of the lab. Pure: what `systemctl show` printed in, units out; orders in, argv.

what systemd says                     what the lab says
active, running                       running
active, exited                        done (a oneshot that ended well)
activating, start                     running (a oneshot under way)
activating, auto-restart              backing-off
activating, anything else; or queued  waiting
failed                                failed
inactive, deactivating                stopped
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.driver import LabError
from lab.topology import HostSpec, Role

SERVICES = {
    "control-plane": "mesh-control-plane.service",
    "redirect": "mesh-redirect.service",
    "agent": "mesh-agent.service",
    "sidecar": "mesh-sidecar.service",
    "probe": "mesh-probe.service",
    "app": "demo-service.service",
}
ACCESS_LOG = "/var/log/mesh/access.log"
BORN = "/var/lib/meshyard-born"  # when the mesh on this host started anew; what was said before is another lab's
SHOWN = "Id,LoadState,ActiveState,SubState,Job,MainPID,NRestarts,ExecMainCode,ExecMainStatus,StateChangeTimestamp"
UNITS_OF = {
    Role.CONTROL_PLANE: ("control-plane",),
    Role.SERVICE: ("redirect", "agent", "sidecar", "probe", "app"),
    Role.STRANGER: (),
}
ORDERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "start": (("start", "--no-block"),),
    "stop": (("stop", "--no-block"),),
    "restart": (("restart", "--no-block"),),
    "kill": (("kill", "--kill-whom=main", "--signal=KILL"),),
    "pause": (("kill", "--kill-whom=all", "--signal=STOP"),),
    "resume": (("kill", "--kill-whom=all", "--signal=CONT"),),
    # It is told to stay stopped before it is killed: otherwise it might start again in between. For systemd a unit that
    # was killed has failed, whoever wanted it; this one did as it was told.
    "stop-now": (("stop", "--no-block"), ("kill", "--kill-whom=all", "--signal=KILL"), ("stop",), ("reset-failed",)),
}


def units_of(host: HostSpec) -> tuple[str, ...]:
    """Return the names of a host's units, in starting order."""
    return UNITS_OF[host.role]


def order(unit: str, action: str) -> list[str]:
    """Return the command that gives one order.

    Raises:
        LabError: there is no such action.
    """
    if action not in ORDERS:
        raise LabError(f"no action {action!r}; there are: {', '.join(ORDERS)}", exit_code=2)
    name = SERVICES[unit]
    first, *more = (f"systemctl {' '.join(words)} {name}" for words in ORDERS[action])
    # The later orders find nothing to do where the first has done it already.
    return ["sh", "-c", "; ".join([f"{first} || exit", *(f"{line} 2>/dev/null || true" for line in more)])]


def show(units: Sequence[str]) -> list[str]:
    """Return the command that prints what `parse` reads."""
    names = [SERVICES[unit] for unit in units]
    return ["env", "TZ=UTC", "systemctl", "show", "--timestamp=unix", f"--property={SHOWN}", *names]


def parse(units: Sequence[str], text: str) -> list[dict[str, Any]]:
    """Return the units of a host from what `show` printed, in the order asked for."""
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in text.strip().split("\n\n")]
    by_id = {block.get("Id", ""): block for block in blocks}
    return [_unit(unit, by_id.get(SERVICES[unit], {})) for unit in units]


def state_of(block: dict[str, str]) -> str:
    """Return the lab's word for what systemd says of a unit."""
    active, sub = block.get("ActiveState", ""), block.get("SubState", "")
    if active == "active":
        return "done" if sub == "exited" else "running"
    if active == "activating":
        return {"start": "running", "auto-restart": "backing-off"}.get(sub, "waiting")
    if active == "failed":
        return "failed"
    return "waiting" if active == "inactive" and block.get("Job", "0") not in ("", "0") else "stopped"


def _unit(unit: str, block: dict[str, str]) -> dict[str, Any]:
    state, pid = state_of(block), int(block.get("MainPID") or 0)
    has_started = pid > 0 or block.get("ExecMainCode", "0") != "0" or state == "done"
    return {
        "name": unit,
        "state": state,
        "pid": pid,
        "starts": int(block.get("NRestarts") or 0) + 1 if has_started else 0,
        "exit_code": _exit_code(block) if pid == 0 and has_started else None,
        "since": float((block.get("StateChangeTimestamp") or "@0").removeprefix("@") or 0),
        "waits_for": ["the units that it comes after"] if state == "waiting" else [],
    }


def _exit_code(block: dict[str, str]) -> int:
    """Return the exit code of the last process; of one that a signal ended, the signal's number, negative."""
    status = int(block.get("ExecMainStatus") or 0)
    return -status if block.get("ExecMainCode") in ("2", "3") else status  # CLD_KILLED, CLD_DUMPED


def log(unit: str, lines: int) -> list[str]:
    """Return the command that prints the last lines of a unit's own words."""
    if unit == "access":
        return ["tail", "-n", str(lines), ACCESS_LOG]
    since = f"--since=@$(cat {BORN} 2>/dev/null || echo 0)"
    match = f"_SYSTEMD_UNIT={SERVICES[unit]}"
    return ["sh", "-c", f"exec journalctl --quiet --output=cat --no-pager --lines={int(lines)} {since} {match}"]
