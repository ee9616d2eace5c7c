"""`mesh config`, `mesh validate`: what teams write, into the mesh and out of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from mesh.cli.exits import FAILED
from mesh.cli.output import say, show, show_json
from mesh.cli.session import api_options, call, output_option, read_text

KINDS = click.Choice(["service-intentions", "service-defaults", "proxy-defaults", "service-router"])


@click.group()
def config() -> None:
    """Config entries: who may call whom, what services speak, where requests go."""


@config.command("write")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@api_options
def write(files: tuple[str, ...], address: str, token_file: Path | None, output: str) -> None:
    """Put every entry of each FILE in force (`-` is stdin). A file is taken whole or not at all.

    Says of each entry whether that changed anything.
    """
    from mesh.api.shapes import config_error

    written: list[Any] = []
    for name in files:
        told = call(address, token_file, _writing(read_text(name), "<stdin>" if name == "-" else name))
        written += [{**one, "changed": one["index"] > told["index_before"]} for one in told["written"]]
        for warning in told["warnings"]:
            say(f"warning: {config_error(warning).explain()}")
    show(written, ["kind", "name", "index", "changed"], output, wrapped="written")
    if output == "table":
        say(f"{len(written)} written")


def _writing(text: str, label: str) -> Callable[[Any], Awaitable[dict[str, Any]]]:
    """Write, and note the index of before: an entry that is in force as it is keeps the index that it has."""

    async def ask(mesh: Any) -> dict[str, Any]:
        before = (await mesh.status())["index"]
        return {**await mesh.write_config_told(text, filename=label), "index_before": before}

    return ask


@config.command("read")
@click.argument("kind", type=KINDS)
@click.argument("name")
@api_options
def read(kind: str, name: str, address: str, token_file: Path | None, output: str) -> None:
    """Show one entry."""
    entry = call(address, token_file, lambda mesh: mesh.read_config(kind, name))
    if output == "json":
        show_json(entry)
        return
    say(f"{kind}/{name}, index {entry['index']}, from {entry['file']}")
    click.echo(json.dumps(entry["entry"], indent=2, ensure_ascii=False))


@config.command("list")
@click.argument("kind", type=KINDS)
@api_options
def list_(kind: str, address: str, token_file: Path | None, output: str) -> None:
    """List the entries of a kind."""
    entries = call(address, token_file, lambda mesh: mesh.list_config(kind))
    show(entries, ["kind", "name", "index", "file"], output, wrapped="entries")


@config.command("delete")
@click.argument("kind", type=KINDS)
@click.argument("name")
@api_options
def delete(kind: str, name: str, address: str, token_file: Path | None, output: str) -> None:
    """Take one entry out of force; refused while another entry needs it."""
    answer = call(address, token_file, lambda mesh: mesh.delete_config(kind, name))
    if output == "json":
        show_json(answer)
    else:
        say(f"deleted {kind}/{name}")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--strict", is_flag=True, help="Warnings fail too.")
@output_option
def validate(files: tuple[str, ...], strict: bool, output: str) -> None:
    """Check files without a control plane: each by itself, then all of them together."""
    from mesh.api.shapes import error_shape
    from mesh.cli.offline import check_files

    found = check_files([(name, read_text(name)) for name in files])
    if output == "json":
        shape = {
            "valid": not found.errors,
            "entries": found.entries,
            "errors": [error_shape("config", error)["error"] for error in found.errors],
            "warnings": [error_shape("config", error)["error"] for error in found.warnings],
        }
        show_json(shape)
    else:
        for error in found.errors:
            say(f"error: {error.explain()}")
        for warning in found.warnings:
            say(f"warning: {warning.explain()}")
        say(f"{found.entries} in {len(files)} files: {len(found.errors)} errors, {len(found.warnings)} warnings")
    if found.errors or (strict and found.warnings):
        raise click.exceptions.Exit(FAILED)
