"""`lab break` and `lab heal`: a fault for a while, and its end."""

from __future__ import annotations

from typing import Any

import click

from lab import keeper
from lab.cli import output
from lab.driver import Driver
from lab.faults import DEFAULT_DURATION_S, FAULTS, STOP_CONTROL_PLANE
from mesh.base.durations import format_duration, parse_duration


def _explained() -> str:
    width = max(len(name) for name in (*FAULTS, STOP_CONTROL_PLANE)) + 2
    lines = [f"{fault.name:{width}}{fault.what}" for fault in FAULTS.values()]
    return "\b\n" + "\n".join(
        [*lines, f"{STOP_CONTROL_PLANE:{width}}the control plane is killed and stays dead; no HOST"]
    )


@click.command("break", epilog=_explained())
@click.option(
    "--for",
    "duration",
    default=format_duration(DEFAULT_DURATION_S),
    show_default=True,
    help="at most 1h; then it heals",
)
@click.option("--unit", default="", help="kill, pause: control-plane, agent, sidecar or app")
@click.option("--by", default="", help="delay: how much later  [default: 100ms]")
@click.option("--jitter", default="", help="delay: by how much more or less, each packet anew  [default: 0]")
@click.option("--percent", default="", help="loss: which share of the packets  [default: 30]")
@click.argument("fault", type=click.Choice([*FAULTS, STOP_CONTROL_PLANE]))
@click.argument("host", default="")
@click.pass_obj
def break_(context: Any, /, fault: str, host: str, duration: str, **options: str) -> None:
    """Break something on a host. It heals by itself."""
    driver: Driver = context.driver
    if fault == STOP_CONTROL_PLANE:
        if host or options["unit"]:
            raise click.UsageError(f"{fault} takes no host and no --unit: there is one control plane")
        fault, host, options["unit"] = "kill", _control_plane_of(driver), "control-plane"
    if not host:
        raise click.UsageError(f"{fault} needs a host; right would be: lab break {fault} payment-1")
    made = keeper.inject(driver, fault, host, duration_s=parse_duration(duration), options=options)
    output.say(f"broken: {made.text}; heals by itself in {format_duration(made.duration_s)}")


@click.command()
@click.pass_obj
def heal(context: Any, /) -> None:
    """End every fault now."""
    healed = keeper.heal(context.driver)
    output.say("healed: " + ", ".join(healed) if healed else "nothing was broken")


def _control_plane_of(driver: Driver) -> str:
    return str(next(host["name"] for host in driver.status()["hosts"] if host["role"] == "control-plane"))
