"""`mesh ca root`: from one root to the next without a moment in which anything is refused.

    mesh ca root prepare  --wait    # a new root is made, and everybody is told of it
    mesh ca root activate --wait    # it signs from now on; hosts renew
    mesh ca root retire   --wait    # nothing below the old root is in use: it is believed no more

Each verb may be repeated: a step that was taken already says so and exits 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mesh.base.durations import parse_duration
from mesh.base.errors import ConfigError
from mesh.cli.output import say, show, show_json
from mesh.cli.session import api_options, call

if TYPE_CHECKING:
    from mesh.api.client import MeshClient

POLL_S = 0.5


@click.group()
def root() -> None:
    """The root of the mesh, and its rotation."""


@root.command("status")
@api_options
def status(address: str, token_file: Path | None, output: str) -> None:
    """Show the roots, what comes next, and which hosts have not come along."""
    answer = call(address, token_file, lambda mesh: mesh.root_status())
    if output == "json":
        show_json(answer)
        return
    show(answer["roots"], ["role", "id", "generation", "not_before", "not_after"], output)
    _say_next(answer)


def _wait_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--timeout", default="5m", show_default=True, help="How long to wait; then the exit code is 124."),
        click.option("--wait", is_flag=True, help="Wait until the step may be taken, then until all have come along."),
    ):
        command = option(command)
    return api_options(command)


_force = click.option("--force", is_flag=True, help="Take the step although somebody is left behind.")


@root.command("prepare")
@_wait_options
def prepare(**options: Any) -> None:
    """Make a new root and tell everybody of it. It signs nothing yet."""
    _take("prepare", **options)


@root.command("activate")
@_force
@_wait_options
def activate(**options: Any) -> None:
    """Sign below the prepared root from now on; hosts renew, each at a moment of its own."""
    _take("activate", **options)


@root.command("retire")
@_force
@_wait_options
def retire(**options: Any) -> None:
    """Believe the old root no more, once nothing below it is in use."""
    _take("retire", **options)


@root.command("abandon")
@_wait_options
def abandon(**options: Any) -> None:
    """Drop a prepared root that has signed nothing."""
    _take("abandon", **options)


def _take(
    step: str,
    *,
    address: str,
    token_file: Path | None,
    output: str,
    wait: bool,
    timeout: str,
    force: bool = False,
) -> None:
    try:
        timeout_s = parse_duration(timeout)
    except ConfigError as error:
        raise click.BadParameter(f"{error.reason}, right would be {error.right}", param_hint="--timeout") from error
    if wait:
        answer = call(address, token_file, lambda mesh: _take_patiently(mesh, step, force=force, timeout_s=timeout_s))
    else:
        answer = call(address, token_file, lambda mesh: mesh.rotate_root(step, force=force))
    if output == "json":
        show_json(answer)
        return
    click.echo(answer["message"])
    _say_next(answer["rotation"])


async def _take_patiently(mesh: MeshClient, step: str, *, force: bool, timeout_s: float) -> dict[str, Any]:
    """Take a step as soon as it may be taken, and wait until everybody has come along with it.

    Raises:
        TimeoutError: not in time; says what was waited for.
    """
    from mesh.api.client import ApiError, UnreachableError

    answer: dict[str, Any] | None = None
    waits_for = ""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    answer = answer or await mesh.rotate_root(step, force=force)
                    now = await mesh.root_status()
                except UnreachableError as error:
                    waits_for = str(error)
                except ApiError as error:
                    if error.kind != "not_yet":
                        raise
                    waits_for = str(error)
                else:
                    answer["rotation"] = now
                    if not now["behind"]:
                        return answer
                    waits_for = f"{step} is done, not everybody has come along: {_named(now)}"
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise TimeoutError(f"waited {timeout_s:g} s: {waits_for or 'no answer'}") from None


def _say_next(rotation: dict[str, Any]) -> None:
    """Say what comes next, and who is waited for."""
    following = rotation["next"]
    for one in rotation["behind"]:
        say(f"{one['host']} ({one['service']}): {one['reason']}")
    at = following["automatic_at"]
    clock = f"; by itself at {at}" if at else ""
    ready = "may be taken" if following["allowed"] else "waits for the hosts above"
    say(f"next step: mesh ca root {following['step']} ({ready}{clock})")


def _named(rotation: dict[str, Any]) -> str:
    return "; ".join(f"{one['host']}: {one['reason']}" for one in rotation["behind"])
