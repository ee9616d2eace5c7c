"""`mesh catalog`, `mesh proxy`, `mesh ca`, `mesh token`: looking at the mesh, and letting a host in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mesh.base.durations import parse_duration
from mesh.base.errors import ConfigError
from mesh.cli.exits import FAILED
from mesh.cli.output import say, show, show_json
from mesh.cli.root import root
from mesh.cli.session import api_options, call


@click.group()
def catalog() -> None:
    """Services and their instances."""


@catalog.command("services")
@api_options
def services(address: str, token_file: Path | None, output: str) -> None:
    """List the services, their virtual addresses and the health of their instances."""
    rows = call(address, token_file, lambda mesh: mesh.services())
    columns = ["name", "virtual_ip", "protocol", "instances", "passing", "warning", "critical"]
    show(rows, columns, output, wrapped="services")


@catalog.command("instances")
@click.argument("service", required=False)
@api_options
def instances(service: str | None, address: str, token_file: Path | None, output: str) -> None:
    """List the instances of SERVICE, or all, with their checks."""
    rows = call(address, token_file, lambda mesh: mesh.instances(service))
    if output == "table":
        rows = [{**row, "checks": [f"{one['id']}={one['status']}" for one in row["checks"]]} for row in rows]
    columns = ["id", "service", "datacenter", "address", "port", "status", "checks"]
    show(rows, columns, output, wrapped="instances")


@click.group()
def proxy() -> None:
    """The sidecars, as the control plane sees them."""


@proxy.command("status")
@api_options
def proxy_status(address: str, token_file: Path | None, output: str) -> None:
    """Show how far each proxy has come with each type. Exit code 1 when one refused something."""
    proxies = call(address, token_file, lambda mesh: mesh.proxies())
    rows = [{**row, **{kind: one["status"] for kind, one in row["types"].items()}} for row in proxies]
    if output == "json":
        show_json({"proxies": proxies})
    else:
        show(rows, ["node", "connected", "CDS", "EDS", "LDS", "RDS"], output)
    refused = [(row["node"], kind, one["nack"]) for row in proxies for kind, one in row["types"].items() if one["nack"]]
    for node, kind, text in refused:
        say(f"{node} refused {kind}: {text}")
    if refused:
        raise click.exceptions.Exit(FAILED)


@click.group()
def ca() -> None:
    """The certificate authority."""


ca.add_command(root)


@ca.command("roots")
@api_options
def roots(address: str, token_file: Path | None, output: str) -> None:
    """Print the roots every member of the mesh trusts, as PEM."""
    answer: dict[str, Any] = call(address, token_file, lambda mesh: mesh.ca_roots())
    if output == "json":
        show_json(answer)
        return
    click.echo("".join(answer["roots"]), nl=False)
    say(f"trust domain {answer['trust_domain']}, intermediates: {', '.join(sorted(answer['intermediates']))}")


@click.group()
def token() -> None:
    """Join tokens: how a new host proves that it is expected."""


@token.command("create")
@click.option("--service", required=True, help="The service its holder may become.")
@click.option("--host", required=True, help="The host it works on.")
@click.option("--datacenter", default="", help="Bind it to a datacenter; without, the host says where it is.")
@click.option("--from-address", default="", help="Bind it to the host's IPv4 address; stolen, it is worth nothing.")
@click.option("--ttl", default="1h", show_default=True, help="How long it may be used.")
@api_options
def create(
    service: str,
    host: str,
    datacenter: str,
    from_address: str,
    ttl: str,
    address: str,
    token_file: Path | None,
    output: str,
) -> None:
    """Make a one-time join token. It is shown once, here, and kept nowhere."""
    try:
        ttl_s = parse_duration(ttl)
    except ConfigError as error:
        raise click.BadParameter(f"{error.reason}, right would be {error.right}", param_hint="--ttl") from error
    answer = call(
        address,
        token_file,
        lambda mesh: mesh.create_token(service, host, ttl_s=ttl_s, datacenter=datacenter, from_address=from_address),
    )
    if output == "json":
        show_json(answer)
        return
    click.echo(answer["token"])
    say(f"for {service} on {host}, once, until {answer['expires_at']}")


@token.command("revoke")
@click.option("--service", required=True, help="The service it is.")
@click.option("--host", required=True, help="The host it works on.")
@api_options
def revoke(service: str, host: str, address: str, token_file: Path | None, output: str) -> None:
    """Take from a host what it could come back or go on with: tokens, rejoin secrets, certificates.

    Other hosts believe a certificate until it ends; none is renewed. A new token lets the host in again.
    """
    answer = call(address, token_file, lambda mesh: mesh.revoke(service, host))
    if output == "json":
        show_json(answer)
        return
    ended = answer["revoked"]
    say(
        f"revoked for {service} on {host}: {ended['tokens']} tokens, {ended['rejoin_lines']} lines of rejoin secrets, "
        f"{ended['certificates']} certificates"
    )
