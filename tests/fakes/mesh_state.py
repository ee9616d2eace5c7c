"""A MeshState without a store: commands are applied as the writer would, one index per step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mesh.config.load import load_text
from mesh.controlplane import commands
from mesh.controlplane.state import Change, MeshState
from mesh.controlplane.writer import Plan
from mesh.registry.catalog import Check, Instance
from mesh.registry.health import CheckStatus

T = TypeVar("T")


class StateDriver:
    """Holds a state and applies commands to it; `changes` has what each step changed."""

    def __init__(self) -> None:
        self.state = MeshState()
        self.changes: list[Change] = []

    def run(self, command: Callable[[MeshState], Plan[T]]) -> T:
        """Run one command and return its answer."""
        plan = command(self.state)
        if plan.records:
            self.changes.append(self.state.apply(self.state.index + 1, plan.records))
        return plan.answer

    def write(self, text: str, path: str = "mesh.hcl") -> None:
        """Write a file's entries."""
        loaded = load_text(text, path)
        self.run(lambda state: commands.write_entries(state, loaded.entries, loaded.source))

    def register(self, service: str, host: str, *, address: str = "10.77.1.9", is_passing: bool = True) -> Instance:
        """Register an instance with one check."""
        status = CheckStatus.PASSING if is_passing else CheckStatus.CRITICAL
        checks = (Check("alive", "alive", "http", status),)
        made = Instance(f"{host}/{service}", service, host, "east", address, 8080, checks=checks)
        self.run(lambda state: commands.register(state, made))
        return made
