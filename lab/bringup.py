"""What an operator does to fresh hosts, whatever made them: config entries, join tokens, and patience at the gates.

A driver makes hosts and starts their units; the units wait, each for what it needs. This is the other half: it talks
to the control plane over the operator's socket, lays two files onto each host (the trust bundle and a token that is
good once), and then watches the gates turn green. It knows no driver: `Hosts` is all it asks of one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from lab.driver import LabError
from lab.follow import Say
from lab.gates import GateBoard, gates_of
from lab.provision import HostFile
from lab.services import config_entries
from lab.topology import HostSpec
from lab.units import TOKEN
from mesh.api.client import MeshClient, UnreachableError
from mesh.base import ports

ROOTS = "/etc/mesh/roots.pem"
TOKEN_TTL_S = 600.0  # at least; a start that is given longer grants its tokens for as long
TOKEN_SPARE_S = 60.0
MAX_TOKEN_TTL_S = 7 * 86400.0  # the control plane grants none for longer


class Hosts(Protocol):
    """A driver's way to lay files onto its hosts."""

    def write_files(self, host: str, files: Mapping[str, HostFile]) -> None:
        """Write files by absolute path, each whole or not at all, in the given order.

        Raises:
            LabError: the host is not there, or refused.
        """
        ...


async def bring_up(
    operator: MeshClient,
    services: tuple[HostSpec, ...],
    files: Mapping[str, Mapping[str, str]],
    platform: tuple[str, str],
    hosts: Hosts,
    *,
    say: Say,
    deadline: float,
    poll_s: float = 0.03,
) -> None:
    """Write the config, grant the tokens, wait until every gate is green.

    Args, and what is raised: as of `prepare` and `watch_gates`.
    """
    await prepare(operator, services, files, platform, hosts, say=say, deadline=deadline, poll_s=poll_s)
    await watch_gates(operator, services, say=say, deadline=deadline, poll_s=poll_s)


async def prepare(
    operator: MeshClient,
    services: tuple[HostSpec, ...],
    files: Mapping[str, Mapping[str, str]],
    platform: tuple[str, str],
    hosts: Hosts,
    *,
    say: Say,
    deadline: float,
    poll_s: float = 0.03,
) -> None:
    """Write the config and grant the tokens: all that hosts with a service wait for.

    Args:
        operator: the way to the control plane, with the operator's rights.
        services: the hosts with a service.
        files: host -> the files of its service.
        platform: name and text of the entries that hold for all.
        hosts: lays files onto hosts.
        say: is told each step.
        deadline: monotonic seconds.
        poll_s: how often the control plane is asked.

    Raises:
        LabError: the control plane was not ready in time (exit code 124), or a host refused.
        ConfigError: a config entry was refused.
    """
    await until_it_answers(operator, deadline, poll_s=poll_s)
    say("control plane ready", True)
    await operator.write_config(platform[1], filename=platform[0])
    for name, text in config_entries(services, files).items():
        await operator.write_config(text, filename=name)
    say("config entries written: policy is live before the first request", True)
    for host in services:
        await grant(operator, host, hosts, ttl_s=token_ttl_s(deadline, now=time.monotonic()))
    say(f"{len(services)} join tokens granted", True)


async def add(
    operator: MeshClient,
    host: HostSpec,
    files: Mapping[str, str],
    hosts: Hosts,
    *,
    say: Say,
    deadline: float,
    poll_s: float = 0.03,
) -> None:
    """Bring one new host into a running mesh: its entries, one token, its gates."""
    for name, text in config_entries([host], {host.name: files}).items():
        await operator.write_config(text, filename=name)
    await grant(operator, host, hosts, ttl_s=token_ttl_s(deadline, now=time.monotonic()))
    await watch_gates(operator, (host,), say=say, deadline=deadline, poll_s=poll_s)


def token_ttl_s(deadline: float, *, now: float) -> float:
    """Return for how long a token is good: never less than a start may still take. Pure."""
    return min(MAX_TOKEN_TTL_S, max(TOKEN_TTL_S, deadline - now + TOKEN_SPARE_S))


async def grant(operator: MeshClient, host: HostSpec, hosts: Hosts, *, ttl_s: float) -> None:
    """Hand a host the trust bundle and a token; the token's file is the gate its agent waits for."""
    roots = "".join((await operator.ca_roots())["roots"])
    granted = await operator.create_token(
        host.service, host.name, ttl_s=ttl_s, datacenter=host.datacenter, from_address=host.address
    )
    token = HostFile(granted["token"] + "\n", uid=ports.UID_AGENT, mode=0o600)
    await asyncio.to_thread(hosts.write_files, host.name, {ROOTS: HostFile(roots), TOKEN: token})


async def until_it_answers(operator: MeshClient, deadline: float, *, poll_s: float = 0.03) -> None:
    """Wait for the control plane.

    Raises:
        LabError: it was not ready in time.
    """
    while True:
        why = "it is not ready"
        try:
            if (await operator.status())["ready"]:
                return
        except UnreachableError:
            why = "its socket does not answer"
        if time.monotonic() > deadline:
            raise LabError(f"waiting for the control plane: {why}", exit_code=124)
        await asyncio.sleep(poll_s)


async def watch_gates(
    operator: MeshClient, hosts: Iterable[HostSpec], *, say: Say, deadline: float, poll_s: float = 0.03
) -> None:
    """Wait until every gate of every host is green, and say what is waited for.

    Raises:
        LabError: one was not green in time; the text names what is missing, host by host.
    """
    board = GateBoard(gates_of(hosts))
    while not board.is_green:
        for gate in board.update(await operator.instances(), await operator.proxies()):
            say(gate, True)
        if time.monotonic() > deadline:
            raise LabError(f"waiting for {board.slowest()}", exit_code=124)
        if not board.is_green:
            say(f"waiting for {board.slowest()}", False)
            await asyncio.sleep(poll_s)
