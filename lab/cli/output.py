"""How `lab` speaks: tables for people, JSON for programs, progress only where somebody watches."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from lab.driver import Progress

SILENCE_S = 30.0  # where nobody can see a line being rewritten, this long without a word looks like a hang


def accept_any_terminal() -> None:
    """Write what a terminal's encoding cannot show as an escape, and never fail over it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Say something to the person at the terminal."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is the talk


def data(text: str) -> None:
    """Hand data to whoever reads stdout."""
    print(text, flush=True)  # noqa: T201 - this is the data


def as_json(value: Any) -> None:
    """Print a value as JSON."""
    data(json.dumps(value, indent=2))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print a table; without a terminal, plain columns that `cut` and `awk` can read."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
        for row in [list(columns), *cells]:
            data("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    shown = Table(title=title or None, box=None, header_style="bold", pad_edge=False)
    for column in columns:
        shown.add_column(column)
    for row in cells:
        shown.add_row(*row)
    Console().print(shown)


def follow(steps: Iterable[Progress]) -> float:
    """Show the steps of a long command; return the seconds it took.

    On a terminal the line that waits is rewritten in place. Elsewhere what is done gets a line, and what is waited for
    gets one when nothing was said for SILENCE_S.
    """
    began = last = time.monotonic()
    is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    try:
        for step in steps:
            now = time.monotonic()
            stamp = f"{now - began:6.2f}s"
            if step.is_done or (not is_live and now - last >= SILENCE_S):
                last = now
                say(f"\r\033[K  {stamp}  {step.text}" if is_live else f"  {stamp}  {step.text}")
            elif is_live:
                print(f"\r\033[K  {stamp}  {step.text[:100]}", end="", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        if isinstance(steps, Generator):
            steps.close()  # Ctrl-C may come between two steps: who makes them hears of it now, not when all ends
    return time.monotonic() - began


def form(function: Any) -> Any:
    """Let --output stand after the verb as well as before it."""

    def keep(context: click.Context, _: click.Parameter, value: str | None) -> None:
        if value:
            context.find_root().obj.form = value

    return click.option(
        "--output", "-o", type=click.Choice(["table", "json"]), expose_value=False, callback=keep, help="table or json"
    )(function)
