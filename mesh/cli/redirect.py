"""`mesh redirect`: the thin shell round mesh.redirect. It runs iptables-save, -restore and ip, and decides nothing."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import click

from mesh.agent.service import read_service
from mesh.agent.settings import read_settings
from mesh.base import ports
from mesh.cli.routes import ensure_route, has_route, planned_route, remove_routes
from mesh.cli.tools import ToolError, run
from mesh.redirect.model import Family, RedirectPlan, Rule
from mesh.redirect.plan import all_rules, rules_of
from mesh.redirect.reconcile import reconcile, remove
from mesh.redirect.render import render, render_listing, render_markdown, render_route
from mesh.redirect.route import VirtualRoute, missing
from mesh.redirect.saved import Saved, parse_saved
from mesh.redirect.verify import Finding, verify

_COMMENT_TRIAL = '*filter\n-A OUTPUT -m comment --comment "meshyard trial" -j RETURN\nCOMMIT\n'


def _plan_options(command: click.decorators.FC) -> click.decorators.FC:
    for option in reversed(
        (
            click.option("--config", type=click.Path(path_type=Path), help="agent.json; flags override it."),
            click.option("--host-address", help="This host's IPv4 address inside the mesh."),
            click.option("--control-plane", help="The control plane's IPv4 address."),
            click.option("--app-port", type=int, multiple=True, help="Port the application listens on."),
            click.option("--exclude-inbound", type=int, multiple=True, help="Port reached without the sidecar."),
            click.option("--resolver", help="The name server in /etc/resolv.conf."),
            click.option("--forward-to", multiple=True, help="Resolver that the agent alone asks for foreign names."),
            click.option("--operator-network", multiple=True, help="Network that root and system services may dial."),
            click.option("--management-interface", multiple=True, help="Interface by which they may leave."),
        )
    ):
        command = option(command)
    return command


_output = click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
_dry_run = click.option("--dry-run", is_flag=True, help="Print what iptables-restore would be given; change nothing.")


@click.group()
def redirect() -> None:
    """Interception of this host's connections: iptables rules, each with its reason."""


@redirect.command("render")
@_plan_options
@click.option("--output", type=click.Choice(["table", "json", "markdown"]), default="table", show_default=True)
@click.option("--family", type=click.Choice([f.value for f in Family]), help="One family as iptables-restore text.")
@click.option("--comments/--no-comments", default=True, help="Rule names as comments in the kernel.")
def render_command(output: str, family: str | None, comments: bool, **flags: Any) -> None:
    """Print the rules with their reasons, or as text for iptables-restore."""
    plan = _plan(**flags)
    route = VirtualRoute("INTERFACE", plan.host_address)  # the one that has the address: rules are rendered anywhere
    if family:
        click.echo(render(rules_of(plan, Family(family)), with_comments=comments), nl=False)
    elif output == "json":
        click.echo(json.dumps([*map(dataclasses.asdict, all_rules(plan)), dataclasses.asdict(route)], indent=2))
    elif output == "markdown":
        click.echo(render_markdown(all_rules(plan)), nl=False)
    else:
        click.echo(render_listing(all_rules(plan)) + render_route(route), nl=False)


@redirect.command("apply")
@_plan_options
@click.option(
    "--rules-only", is_flag=True, help="Before the network is up: the route of virtual addresses comes later."
)
@_output
@_dry_run
def apply_command(output: str, dry_run: bool, rules_only: bool, **flags: Any) -> None:
    """Bring this host to its rules, closed while it changes; a second run changes nothing."""
    plan = _plan(**flags)
    changed: list[str] = []
    for family in _families():
        rules = rules_of(plan, family)
        saved = _save(family)
        text = reconcile(rules, saved)
        if text and not _has_comments():
            text = reconcile(rules, saved, with_comments=False)
        if text and _restore(family, text, dry_run=dry_run):
            changed.append(family.value)
            _require_in_force(family, rules)
    if not rules_only and ensure_route(plan, dry_run=dry_run):
        changed.append("route")
    _tell(output, changed, dry_run=dry_run, nothing="every rule is in force already", done="rules are in force")


@redirect.command("verify")
@_plan_options
@_output
def verify_command(output: str, **flags: Any) -> None:
    """Compare this host with its rules; exit 1 when they differ."""
    plan = _plan(**flags)
    found = [(family, finding) for family in _families() for finding in verify(rules_of(plan, family), _save(family))]
    if not has_route():
        found.append((Family.V4, missing(planned_route(plan))))
    if output == "json":
        click.echo(json.dumps([{"family": family, **dataclasses.asdict(finding)} for family, finding in found]))
    for family, finding in found if output == "table" else ():
        click.echo(_line(family, finding))
    if found:
        raise click.exceptions.Exit(1)
    click.echo("every rule is in force, in order", err=True)


@redirect.command("remove")
@_output
@_dry_run
def remove_command(output: str, dry_run: bool) -> None:
    """Take away exactly what apply added; a second run changes nothing."""
    changed: list[str] = []
    for family in _families():
        text = remove(_save(family))
        if text and _restore(family, text, dry_run=dry_run):
            changed.append(family.value)
    if remove_routes(dry_run=dry_run):
        changed.append("route")
    _tell(output, changed, dry_run=dry_run, nothing="no rule of ours is here", done="rules are removed")


def _plan(
    *,
    config: Path | None,
    host_address: str | None,
    control_plane: str | None,
    app_port: tuple[int, ...],
    exclude_inbound: tuple[int, ...],
    resolver: str | None,
    forward_to: tuple[str, ...],
    operator_network: tuple[str, ...],
    management_interface: tuple[str, ...],
) -> RedirectPlan:
    """Make the plan from agent.json, the service's definition and flags; flags win."""
    excluded: tuple[int, ...] = (ports.AGENT_HTTP,)
    if config is not None:
        settings = read_settings(config)
        host_address = host_address or str(settings.address)
        control_plane = control_plane or str(settings.control_plane.address)
        app_port = app_port or (read_service(settings.service_file).port,)
        excluded = (settings.http.port, *settings.excluded_inbound_ports)
        resolver = resolver or str(settings.resolver_address)
        forward_to = forward_to or tuple(map(str, settings.dns.forward_to))
        operator_network = operator_network or tuple(map(str, settings.operator_networks))
        management_interface = management_interface or settings.management_interfaces
    if host_address is None or control_plane is None:
        raise click.UsageError("give --config, or --host-address and --control-plane")
    return RedirectPlan(
        host_address,
        control_plane,
        tuple(dict.fromkeys(app_port)),
        excluded_inbound_ports=tuple(dict.fromkeys(excluded + exclude_inbound)),
        resolver_address=resolver or "127.0.0.1",
        forward_to=forward_to,
        operator_networks=operator_network,
        management_interfaces=management_interface,
    )


def _families() -> tuple[Family, ...]:
    """Leave IPv6 out only where the kernel has none: there is nothing to close then."""
    return (Family.V4, Family.V6) if Path("/proc/net/if_inet6").exists() else (Family.V4,)


def _save(family: Family) -> Saved:
    done = run(f"{family.program_prefix}-save")
    if done.returncode:
        raise ToolError(f"reading the rules in force: {done.stderr.strip()}")
    return parse_saved(done.stdout)


def _restore(family: Family, text: str, *, dry_run: bool) -> bool:
    """Hand `text` to iptables-restore; say whether the host was changed."""
    program = f"{family.program_prefix}-restore"
    if dry_run:
        click.echo(f"# {program} --noflush\n{text}", nl=False)
        return False
    done = run(program, "--noflush", text=text)
    if done.returncode:
        raise ToolError(f"writing rules: {program} said {done.stderr.strip()!r}; nothing passes until this is mended")
    return True


@functools.cache
def _has_comments() -> bool:
    """Say whether the kernel has the comment match; both families have it or neither."""
    return run("iptables-restore", "--noflush", "--test", text=_COMMENT_TRIAL).returncode == 0


def _require_in_force(family: Family, rules: tuple[Rule, ...]) -> None:
    """Look again after writing: a rule set is only a claim until somebody looked."""
    if findings := verify(rules, _save(family)):
        raise ToolError("writing rules: the kernel shows others: " + "; ".join(_line(family, f) for f in findings))


def _line(family: Family, finding: Finding) -> str:
    return f"{finding.fault}: {family} {finding.table} {finding.chain}: {finding.text}"


def _tell(output: str, changed: list[str], *, dry_run: bool, nothing: str, done: str) -> None:
    if dry_run:
        return
    if output == "json":
        click.echo(json.dumps({"changed": changed}))
    click.echo(f"{done} ({', '.join(changed)})" if changed else nothing, err=True)
