"""`mesh agent`: put the parts together, run them in one TaskGroup, end on SIGTERM.

The order is the order of a start: names from disk and the doors first (so that whoever asks gets an answer, if only
"not yet"), then the identity, and everything that needs it as soon as it is there.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import SystemRandom

import aiohttp
import uvloop
from grpc import aio

from mesh.agent import roots_file
from mesh.agent.channel import ChannelKeeper
from mesh.agent.checks import CheckRunner
from mesh.agent.conversation import keep_talking
from mesh.agent.dataplane import SidecarWatch, write_bootstrap_file
from mesh.agent.dns import NameServer, follow_names, load_names, serve_dns
from mesh.agent.forward import Forwarder, read_spare_ports
from mesh.agent.gates import Gate, Gates
from mesh.agent.holders import Holders
from mesh.agent.http import AgentHttp, serve_http
from mesh.agent.identity import Identity, IdentityKeeper
from mesh.agent.latest import Latest
from mesh.agent.names import NameTable, Zone
from mesh.agent.reports import Reporter, Reports, deregister
from mesh.agent.sds import SecretDiscovery, secrets_of
from mesh.agent.service import read_service
from mesh.agent.settings import AgentSettings, read_settings
from mesh.agent.trust import follow_roots
from mesh.agent.unix_socket import serve
from mesh.agent.workload_api import WorkloadApi
from mesh.base.clock import SystemClock
from mesh.base.errors import ConfigError, MeshError
from mesh.config.entries import ServiceDefinition
from mesh.telemetry.logs import setup_logging
from mesh.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class _Stop(Exception):
    """Asked to end."""


class Agent:
    """One host's agent: its parts, and which task feeds which."""

    def __init__(self, settings: AgentSettings, service: ServiceDefinition) -> None:
        self._settings = settings
        self._service = service
        self._clock = SystemClock()
        self._rng = SystemRandom()
        self._metrics = Metrics()
        self._identity: Latest[Identity] = Latest()
        self._channels: Latest[aio.Channel] = Latest()
        self._names: Latest[NameTable] = Latest()
        self._sidecar = SidecarWatch(settings, self._clock)
        self._holders = Holders(on_change=self._sidecar.look)
        self._gates = Gates(self._clock.monotonic())
        self._reports = Reports()
        self._channel_keeper = ChannelKeeper(settings, self._channels)
        self._identity_keeper = IdentityKeeper(
            settings, service.name, self._identity, self._channels,
            clock=self._clock, rng=self._rng, metrics=self._metrics,
        )  # fmt: skip
        self._checks = CheckRunner(
            service.checks, self._reports, clock=self._clock, rng=self._rng, metrics=self._metrics
        )
        resolvers = tuple(map(str, settings.dns.forward_to))
        self._forwarder = Forwarder(resolvers, self._rng, self._metrics, read_spare_ports() if resolvers else ())

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            MeshError: something that only an operator can mend.
        """
        load_names(self._settings.state_dir, self._names)
        try:
            async with AsyncExitStack() as stack:
                await self._open_doors(stack)
                async with asyncio.TaskGroup() as group:
                    group.create_task(_stop_on_signal())
                    self._start(group, await stack.enter_async_context(_session()))
        except* _Stop:
            log.info("stopping")
        finally:
            await self._end()

    async def _open_doors(self, stack: AsyncExitStack) -> None:
        settings = self._settings
        zone = Zone(settings.namespace, settings.trust_domain, settings.datacenter)
        names = NameServer(zone, self._names, self._metrics, forwards=self._forwarder.is_used)
        dns = settings.dns
        await stack.enter_async_context(serve_dns(names, str(dns.address), dns.port, self._forwarder))
        handlers = (
            WorkloadApi(self._identity, self._metrics).handler(),
            SecretDiscovery(self._identity, self._holders).handler(),
        )
        await stack.enter_async_context(serve(settings.socket, settings.socket_group, handlers))
        session = await stack.enter_async_context(_session())
        http = AgentHttp(settings, self._gates, self._checks, self._metrics, self._sidecar, session, self._clock)
        address = str(settings.http.address)
        await stack.enter_async_context(serve_http(http.application(), address, settings.http.port))

    def _start(self, group: asyncio.TaskGroup, session: aiohttp.ClientSession) -> None:
        reporter = Reporter(self._service, self._reports, registered=lambda _: self._open(Gate.REGISTERED))
        group.create_task(self._identity_keeper.run())
        group.create_task(self._renew_channels())
        group.create_task(self._keep_roots())
        group.create_task(self._write_bootstrap())
        group.create_task(self._watch_names())
        group.create_task(self._forwarder.run())
        group.create_task(self._checks.run())
        group.create_task(self._sidecar.run(session, self._note_sidecar))
        for name, converse in (
            ("registry", reporter.converse),
            ("names", lambda channel, done: follow_names(channel, done, self._names, self._settings.state_dir)),
            ("roots", self._follow_roots),
        ):
            group.create_task(keep_talking(name, self._channels, converse, rng=self._rng))

    async def _renew_channels(self) -> None:
        async for identity in self._identity.watch():
            await self._channel_keeper.renew(identity.svid, identity.bundle)
            self._open(Gate.IDENTITY)

    async def _follow_roots(self, channel: aio.Channel, established: asyncio.Event) -> None:
        await follow_roots(channel, established, self._identity, self._holders, self._identity_keeper.hurry)

    async def _keep_roots(self) -> None:
        """Have the roots survive a restart, and only then say that they are held."""
        async for identity in self._identity.watch():
            try:
                await asyncio.to_thread(roots_file.keep, self._settings, identity.bundle.to_pem())
            except OSError as error:
                log.warning("the roots could not be kept, a restart may need a token", extra={"reason": str(error)})
            self._holders.expect(identity, secrets_of(identity))

    async def _watch_names(self) -> None:
        async for _ in self._names.watch():
            self._open(Gate.NAMES)

    async def _write_bootstrap(self) -> None:
        """The sidecar may start as soon as its bootstrap is there; SDS lets it wait for the identity."""
        await write_bootstrap_file(self._settings, self._service.name)
        self._open(Gate.BOOTSTRAP)

    def _note_sidecar(self, reason: str) -> None:
        if not reason:
            self._open(Gate.SIDECAR)
        elif self._gates.shut(Gate.SIDECAR, reason):
            log.warning("the sidecar is no longer ready", extra={"reason": reason})

    def _open(self, gate: Gate) -> None:
        now = self._clock.monotonic()
        if self._gates.open(gate, now=now):
            log.info("gate open", extra={"gate": gate.value, "after_s": round(now - self._gates.began, 3)})

    async def _end(self) -> None:
        if self._settings.leave_on_stop and (channel := self._channels.peek()):
            await deregister(channel, self._service)
        await self._channel_keeper.close()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), trust_env=False)


async def _stop_on_signal() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    raise _Stop


def run(argv: Sequence[str] | None = None) -> int:
    """Run the agent; the exit code is 0 after SIGTERM, 1 when an operator has to mend something.

    Args:
        argv: arguments after the command's name; None takes the process's own.
    """
    parser = argparse.ArgumentParser(prog="mesh agent", description="This host's agent.")
    parser.add_argument("--config", type=Path, default=Path("/etc/mesh/agent.json"))
    arguments = parser.parse_args(argv)
    setup_logging("agent")
    try:
        settings = read_settings(arguments.config)
        service = read_service(settings.service_file, own_address=str(settings.address))
        uvloop.run(Agent(settings, service).run())
    except ConfigError as error:
        sys.stderr.write(error.explain() + "\n")
        return 1
    except (MeshError, OSError) as error:
        log.error("the agent cannot go on", extra={"reason": str(error)})
        return 1
    except BaseExceptionGroup as group:
        log.error("the agent cannot go on", extra={"reason": "; ".join(str(each) for each in group.exceptions)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run())
