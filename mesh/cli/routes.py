"""The shell round mesh.redirect.route: it runs `ip` and decides nothing."""

from __future__ import annotations

import click

from mesh.cli.tools import ToolError, read, run
from mesh.redirect import route as routes
from mesh.redirect.model import RedirectPlan
from mesh.redirect.route import VirtualRoute


def planned_route(plan: RedirectPlan) -> VirtualRoute:
    """Return the route as this host would have it.

    Raises:
        ToolError: no interface has the host's address.
    """
    device = routes.device_of(plan.host_address, read(*routes.ADDRESSES))
    if not device:
        raise ToolError(
            f"looking for the way of virtual addresses: no interface of this host has its address {plan.host_address}"
        )
    return VirtualRoute(device, plan.host_address)


def has_route() -> bool:
    """Say whether virtual addresses lead anywhere, whoever put that route there."""
    return run(*routes.LOOKUP).returncode == 0


def ensure_route(plan: RedirectPlan, *, dry_run: bool) -> bool:
    """Add the route where a lookup finds none; say whether the host was changed."""
    if has_route():
        return False
    return _change(planned_route(plan).command, dry_run=dry_run)


def remove_routes(*, dry_run: bool) -> bool:
    """Take away the routes that carry our mark; say whether the host was changed."""
    changed = [_change(command, dry_run=dry_run) for command in routes.removals(read(*routes.OURS))]
    return any(changed)


def _change(command: tuple[str, ...], *, dry_run: bool) -> bool:
    if dry_run:
        click.echo("# " + " ".join(command))
        return False
    done = run(*command)
    if done.returncode:
        raise ToolError(f"changing the routes: {' '.join(command)!r} said {done.stderr.strip()!r}")
    return True
