"""What every verb that talks to the control plane shares: where it is, who we are, how to print the answer."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mesh.base.errors import ConfigError, Position

T = TypeVar("T")
SOCKET = Path("/run/mesh/control-plane.sock")  # on the control plane's own host
LAB_SOCKET = ".lab/{lab}/mesh.sock"  # where a lab publishes its control plane's socket, below the checkout


def default_address(folder: Path, lab: str) -> str:
    """Return the control plane that is meant when nobody says: this host's own, else the lab of this checkout.

    Args:
        folder: the working directory; a lab is looked for in it and above it.
        lab: the lab's name.
    """
    if not SOCKET.exists():
        for place in (folder, *folder.parents):
            if (found := place / LAB_SOCKET.format(lab=lab)).exists():
                return f"unix://{found}"
    return f"unix://{SOCKET}"


def _default_output() -> str:
    """Return the form that was asked for before the verb, as in `mesh --output json catalog services`."""
    return click.get_current_context().find_root().params.get("output") or "table"


output_option = click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default=_default_output,
    show_default="table",
    help="How to print.",
)


def _require_address(_: click.Context, __: click.Parameter, value: str) -> str:
    if not value.startswith(("unix:///", "http://", "https://")):
        raise click.BadParameter(f"{value!r} is not an address; right would be: unix:///path or http://host:port")
    return value


def api_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--address`, `--token-file` and `--output` to a verb."""
    for option in (
        output_option,
        click.option(
            "--token-file",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar="MESH_TOKEN_FILE",
            help="File with the management token, for an address on TCP. [env: MESH_TOKEN_FILE]",
        ),
        click.option(
            "--address",
            envvar="MESH_ADDRESS",
            default=lambda: default_address(Path.cwd(), os.environ.get("LAB_NAME", "default")),
            show_default="this host's control plane, else the lab of this checkout",
            callback=_require_address,
            help="Control plane: unix:///path or http://host:port. [env: MESH_ADDRESS]",
        ),
    ):
        command = option(command)
    return command


def call(address: str, token_file: Path | None, ask: Callable[[Any], Awaitable[T]]) -> T:
    """Open a client, ask one thing, close it.

    Raises:
        UnreachableError: nobody answers.
        MeshError: the control plane refused.
    """
    from mesh.api.client import MeshClient

    token = _read(token_file).strip() if token_file else ""

    async def talk() -> T:
        async with MeshClient(address, token=token) as client:
            return await ask(client)

    return asyncio.run(talk())


def read_text(path: str) -> str:
    """Read a file, or stdin for `-`.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    if path == "-":
        return sys.stdin.read()
    return _read(Path(path))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"reading the file: {error.strerror}", Position(str(path))) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"reading the file: not UTF-8: {error.reason}", Position(str(path))) from error
