"""`lab compile`: the data path as machine code, for hosts whose sidecar is `compiled`."""

from __future__ import annotations

import click

from lab import compiled
from lab.cli import output
from lab.driver import checkout


@click.command("compile")
def compile_() -> None:
    """Translate the data path to machine code, where that was not yet done for these files."""
    output.follow(compiled.provide(checkout()))
    output.data(str(checkout() / compiled.FOLDER))
