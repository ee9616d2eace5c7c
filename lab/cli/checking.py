"""`lab check`, and what `lab up` looks at before it starts."""

from __future__ import annotations

import sys
from typing import Any

import click

from lab import choice
from lab.cli import output
from lab.driver import checkout
from lab.topology import Topology

EXIT_FAILED = 1
EXIT_PREFLIGHT = 5


@click.command()
@click.option("--driver", "said", default="", help="for which hosts: netns, compose or vagrant  [env: LAB]")
@output.form
@click.pass_obj
def check(context: Any, /, said: str) -> None:
    """Say whether this machine can carry a lab.

    Each line says what was found, and what mends it when it is not right. Changes nothing.
    """
    from lab.check.run import refused, run
    from lab.topology import load

    taken = choice.chosen(context.lab, said or context.said)
    is_first = context.lab == "default" and not choice.remembered(context.lab)  # else the lab itself has its ports
    findings = run(taken.name, load(checkout() / "lab" / "topology.yaml", {}), has_fixed_ports=is_first)
    if context.form == "json":
        output.as_json([finding.as_json() for finding in findings])
    else:
        output.say(f"for {choice.DRIVERS[taken.name]}: {taken.why}")
        for finding in findings:
            mark = "√" if finding.is_ok else "×" if finding.is_needed else "‼"
            output.data(f"{mark} {finding.text}" + ("" if finding.is_ok else f"\n    mend it with: {finding.fix}"))
    if refused(findings):
        sys.exit(EXIT_FAILED)


def require_machine(driver: str, topology: Topology, *, has_fixed_ports: bool) -> None:
    """Say what this machine lacks for a lab, and end here when no lab starts without it."""
    from lab.check.run import refused, run

    findings = run(driver, topology, has_fixed_ports=has_fixed_ports)
    for finding in findings:
        if not finding.is_ok:
            output.say(f"preflight: {finding.text}\n  mend it with: {finding.fix}")
    if refused(findings):
        sys.exit(EXIT_PREFLIGHT)
