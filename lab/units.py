"""Which processes run on a host, as which user, and what each waits for. Pure: a topology in, a table out.

The order of a service host is the order of trust: the rules first (nothing can leave uncaught), then the agent
(identity), the sidecar (configuration), the probe (proof that a call really goes round through both listeners),
and only then the application.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab import compiled
from lab.envoy import PROGRAM
from lab.topology import HostSpec, Role, Sidecar
from mesh.base import ports
from mesh.base.compiled import VARIABLE as COMPILED_VARIABLE

CONTROL_PLANE_CONFIG = "/etc/mesh/control-plane.json"
AGENT_CONFIG = "/etc/mesh/agent.json"
BOOTSTRAP = "/run/mesh/bootstrap.json"
TOKEN = "/etc/mesh/join-token"  # noqa: S105 - a path, the token is in the file
SERVICE_DIR = "/run/service"  # where the files of a service lie that is not part of the checkout
PROBE_TIMEOUT = "60s"
ENVOY_OPTIONS = (
    *("-c", BOOTSTRAP),
    *("--concurrency", "1"),  # one worker, as the Python sidecar has
    # Nobody replaces a running Envoy by its successor here, which would need memory that two processes share.
    "--disable-hot-restart",
    # What an intention no longer allows is cut: a filter chain that was replaced has one second for what is under way.
    *("--drain-time-s", "1", "--drain-strategy", "immediate"),
    *("--file-flush-interval-msec", "100"),  # the access log, as soon as the Python sidecar writes it
    *("--log-level", "warning"),
)


@dataclass(frozen=True, slots=True)
class Gate:
    """What a unit waits for: a file to be there, or another unit to have ended well."""

    kind: str  # "file" | "done"
    what: str


@dataclass(frozen=True, slots=True)
class Unit:
    """One process of a host. `argv` is what a person would type; a driver may run it faster, never otherwise.

    `entry` names the Python function behind `argv` (`module:function`, called with argv[2:]), `script` a Python
    file; at most one is set. `is_oneshot` units end, the others are started again when they die.
    """

    name: str
    argv: tuple[str, ...]
    uid: int
    gid: int
    gates: tuple[Gate, ...] = ()
    entry: str = ""
    script: str = ""
    is_oneshot: bool = False
    env: tuple[tuple[str, str], ...] = ()


def units_of(host: HostSpec, checkout: str) -> tuple[Unit, ...]:
    """Return the units of a host in starting order.

    Args:
        host: the host.
        checkout: the folder of this project, where the applications are.
    """
    if host.role is Role.CONTROL_PLANE:
        return (_control_plane(),)
    if host.role is Role.STRANGER:
        return ()
    return (_redirect(), _agent(), _sidecar(host, checkout), _probe(), _app(host, checkout))


def _control_plane() -> Unit:
    return Unit(
        "control-plane",
        ("mesh", "control-plane", "--config", CONTROL_PLANE_CONFIG),
        uid=ports.UID_CONTROL_PLANE,
        gid=ports.UID_CONTROL_PLANE,
        entry="mesh.controlplane.main:run",
    )


def _redirect() -> Unit:
    return Unit(
        "redirect",
        ("mesh", "redirect", "apply", "--config", AGENT_CONFIG),
        uid=0,
        gid=0,
        entry="mesh.cli.main:main",
        is_oneshot=True,
    )


def _agent() -> Unit:
    return Unit(
        "agent",
        ("mesh", "agent", "--config", AGENT_CONFIG),
        uid=ports.UID_AGENT,
        gid=ports.GID_WORKLOAD,
        gates=(Gate("done", "redirect"),),
        entry="mesh.agent.main:run",
    )


def _sidecar(host: HostSpec, checkout: str) -> Unit:
    """Return the data plane: both kinds take the same bootstrap, as the same user, behind the same gate."""
    argv: dict[Sidecar, tuple[str, ...]] = {
        Sidecar.PYTHON: ("mesh", "sidecar", "--bootstrap", BOOTSTRAP),
        # A process of its own: what the lab's first process has imported already is the Python form.
        Sidecar.COMPILED: (f"{checkout}/.venv/bin/mesh", "sidecar", "--bootstrap", BOOTSTRAP),
        Sidecar.ENVOY: (f"{checkout}/{PROGRAM}", *ENVOY_OPTIONS),
    }
    return Unit(
        "sidecar",
        argv[host.sidecar],
        uid=ports.UID_SIDECAR,
        gid=ports.GID_WORKLOAD,
        gates=(Gate("file", BOOTSTRAP),),
        entry="mesh.proxy.main:run" if host.sidecar is Sidecar.PYTHON else "",
        env=((COMPILED_VARIABLE, f"{checkout}/{compiled.FOLDER}"),) if host.sidecar is Sidecar.COMPILED else (),
    )


def _probe() -> Unit:
    return Unit(
        "probe",
        ("mesh", "probe", "--timeout", PROBE_TIMEOUT),
        uid=ports.UID_APP,
        gid=ports.GID_WORKLOAD,
        gates=(Gate("file", BOOTSTRAP),),
        entry="mesh.cli.main:main",
        is_oneshot=True,
    )


def _app(host: HostSpec, checkout: str) -> Unit:
    folder = SERVICE_DIR if host.service_dir.startswith("/") else f"{checkout}/{host.service_dir}"
    return Unit(
        "app",
        ("python", f"{folder}/app.py"),
        uid=ports.UID_APP,
        gid=ports.GID_WORKLOAD,
        gates=(Gate("done", "probe"),),
        script=f"{folder}/app.py",
        env=(("DATA_DIR", "/var/lib/app"), ("HOST_NAME", host.name)),
    )
