"""Look, and decide: the one call that `lab check` and `lab up` make."""

from __future__ import annotations

from lab.check import probes
from lab.check.machine import Finding
from lab.check.table import decide
from lab.topology import Topology


def run(driver: str, topology: Topology, *, has_fixed_ports: bool = True) -> list[Finding]:
    """Look at everything that a driver's lab needs; stop at nothing, so that one run names all there is to mend."""
    return decide(probes.look(driver, topology, has_fixed_ports=has_fixed_ports), driver)


def refused(findings: list[Finding]) -> list[Finding]:
    """Return those findings without whose mending no lab starts."""
    return [finding for finding in findings if finding.is_needed and not finding.is_ok]
