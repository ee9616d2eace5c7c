"""A click group that imports a verb only when it is called: `mesh --help` stays fast and starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click


class LazyGroup(click.Group):
    """Commands by name: where they are (`module:attribute`) and the line that help shows."""

    def __init__(self, *, verbs: Mapping[str, tuple[str, str]], **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]  # click's own keywords, passed through
        self._verbs = dict(verbs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self._verbs:
            return None
        module, _, attribute = self._verbs[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._verbs.items()])
