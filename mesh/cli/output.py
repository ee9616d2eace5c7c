"""How data leaves: JSON for programs, a table for people, drawn on a terminal and plain elsewhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

Row = Mapping[str, Any]


def show(rows: Sequence[Row], columns: Sequence[str], output: str, *, wrapped: str = "") -> None:
    """Print rows.

    Args:
        rows: what to print; JSON prints them whole.
        columns: the keys of the table, in order.
        output: `json` or `table`.
        wrapped: in JSON, the key under which the rows are; empty for a bare list.
    """
    if output == "json":
        show_json({wrapped: list(rows)} if wrapped else list(rows))
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        _draw(columns, cells)
        return
    titles = [column.upper() for column in columns]
    widths = [max(len(row[place]) for row in (titles, *cells)) for place in range(len(columns))]
    for row in (titles, *cells):
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def show_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """Talk to the person; never data."""
    click.echo(text, err=True)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list):
        return ",".join(str(item) for item in value) or "-"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "".join(character if character.isprintable() else "?" for character in text)


def _draw(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Draw a table on a terminal; rich respects NO_COLOR."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.upper())
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    Console().print(table)
