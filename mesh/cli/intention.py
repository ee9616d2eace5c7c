"""`mesh intention`: may this service call that one, and by which rule?"""

from __future__ import annotations

from pathlib import Path

import click

from mesh.cli.exits import FAILED
from mesh.cli.output import show, show_json
from mesh.cli.session import api_options, call


@click.group()
def intention() -> None:
    """Who may call whom."""


@intention.command("check")
@click.argument("source")
@click.argument("destination")
@click.option("--method", help="Ask about a request with this method.")
@click.option("--path", help="Ask about a request for this path.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of the request.")
@api_options
def check(
    source: str,
    destination: str,
    method: str | None,
    path: str | None,
    headers: tuple[str, ...],
    address: str,
    token_file: Path | None,
    output: str,
) -> None:
    """Say whether SOURCE may call DESTINATION. Exit code 0 allowed, 1 denied."""
    pairs = tuple(_pair(header) for header in headers)
    answer = call(
        address,
        token_file,
        lambda mesh: mesh.check_intention(source, destination, method=method, path=path, headers=pairs),
    )
    if output == "json":
        show_json(answer)
    else:
        click.echo(answer["text"])
    if not answer["allowed"]:
        raise click.exceptions.Exit(FAILED)


@intention.command("list")
@api_options
def list_(address: str, token_file: Path | None, output: str) -> None:
    """List every row of every destination, in the order in which they are tried."""
    rows = call(address, token_file, lambda mesh: mesh.intentions())
    columns = ["destination", "row", "source", "action", "permissions", "precedence", "file"]
    show(rows, columns, output, wrapped="intentions")


def _pair(header: str) -> tuple[str, str]:
    name, colon, value = header.partition(":")
    if not colon or not name:
        raise click.BadParameter(f"{header!r} is not NAME:VALUE", param_hint="--header")
    return name, value.strip()
