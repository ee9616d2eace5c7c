"""Register, Report, Deregister, WatchNames: what agents tell the catalog, and what their DNS is told.

An agent speaks for its own host and service only. The address of an instance is the one its agent calls from, the
host the one its certificate was issued to; neither is a field anybody could fill in.
"""

from __future__ import annotations

import logging
from typing import Any

import grpc

from mesh.api import rpc
from mesh.base.clock import Clock
from mesh.base.errors import IdentityError, LocalProtocolError, RemoteProtocolError
from mesh.base.ports import AGENT_DNS, AGENT_HTTP, INBOUND, OUTBOUND, PROBE, SIDECAR_ADMIN
from mesh.config.entries import CheckKind
from mesh.controlplane import commands
from mesh.controlplane.callers import Caller, Callers
from mesh.controlplane.errors import NotFoundError
from mesh.controlplane.grpc_shell import service
from mesh.controlplane.signal import Signal
from mesh.controlplane.writer import Writer
from mesh.registry.catalog import Check, Instance, require_dialable
from mesh.registry.health import CheckStatus
from mesh.registry.liveness import AGENT_ALIVE, Liveness

log = logging.getLogger("mesh.controlplane.registry")

MAX_CHECKS = 32
MAX_TAGS = 64
MAX_TEXT = 512
MESH_PORTS = frozenset({SIDECAR_ADMIN, OUTBOUND, PROBE, INBOUND, AGENT_HTTP, AGENT_DNS})


class RegistryService:
    """The gRPC face of the catalog."""

    def __init__(
        self,
        writer: Writer,
        callers: Callers,
        liveness: Liveness,
        clock: Clock,
        names_changed: Signal,
        *,
        allow_loopback: bool = False,
    ) -> None:
        self._writer = writer
        self._callers = callers
        self._liveness = liveness
        self._clock = clock
        self._names_changed = names_changed
        self._allow_loopback = allow_loopback

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler of the mutual TLS port."""
        behaviours = {
            rpc.REGISTER: self.register,
            rpc.REPORT: self.report,
            rpc.DEREGISTER: self.deregister,
            rpc.WATCH_NAMES: self.watch_names,
        }
        return service(rpc.REGISTRY_SERVICE, behaviours)

    async def register(self, request: Any, context: Any) -> Any:
        """Put the caller's instance into the catalog."""
        caller = self._callers.require(context)
        address = require_dialable(caller.address, allow_loopback=self._allow_loopback)
        instance = instance_of(request.service, caller, address)
        await self._writer.write(lambda state: commands.register(state, instance))
        self._liveness.heard(instance.id, now=self._clock.monotonic())
        state = self._writer.state
        log.info("instance registered", extra={"instance": instance.id, "address": f"{address}:{instance.port}"})
        return rpc.Registered(virtual_ip=state.catalog.virtual_ip(instance.service) or "", index=state.index)

    async def report(self, requests: Any, context: Any) -> None:
        """Take heartbeats and check results in for as long as the caller's certificate is valid."""
        caller = self._callers.require(context)
        async with self._callers.while_proven(caller):
            async for message in requests:
                await self._take(message, caller)
                await context.write(rpc.ReportAck(index=self._writer.state.index))

    async def deregister(self, request: Any, context: Any) -> Any:
        """Take the caller's instance out of the catalog."""
        caller = self._callers.require(context)
        instance_id = own_id(caller, request.instance_id)
        await self._writer.write(lambda state: commands.leave(state, instance_id, caller.service, caller.host))
        self._liveness.forget(instance_id)
        log.info("instance deregistered", extra={"instance": instance_id})
        return rpc.Empty()

    async def watch_names(self, request: Any, context: Any) -> None:
        """Send the whole table of names now, and again when it changes."""
        caller = self._callers.require(context)
        seen = -1
        async with self._callers.while_proven(caller):
            while True:
                seen = await self._names_changed.beyond(seen)
                catalog = self._writer.state.catalog
                names = [rpc.Name(service=name, virtual_ip=ip) for name, ip in sorted(catalog.names().items())]
                await context.write(rpc.Names(index=catalog.index, names=names))

    async def _take(self, message: Any, caller: Caller) -> None:
        instance_id = own_id(caller, message.instance_id)
        if self._writer.state.catalog.instance(instance_id) is None:
            self._liveness.forget(instance_id)
            raise NotFoundError(f"reporting {instance_id}: it is not registered")
        if self._liveness.heard(instance_id, now=self._clock.monotonic()) or self._looks_dead(instance_id):
            await self._write_report(instance_id, AGENT_ALIVE, CheckStatus.PASSING, "heartbeats arrive")
            log.info("agent is back", extra={"instance": instance_id})
        if message.check_id:
            await self._write_report(instance_id, message.check_id, status_of(message.status), message.output)

    async def mark_silent(self) -> None:
        """Make instances critical whose agents have been silent for too long; called again and again."""
        for instance_id in self._liveness.newly_silent(now=self._clock.monotonic()):
            if self._writer.state.catalog.instance(instance_id) is None:
                self._liveness.forget(instance_id)
                continue
            output = f"no heartbeat from the agent for {self._liveness.timeout_s:g} s"
            await self._write_report(instance_id, AGENT_ALIVE, CheckStatus.CRITICAL, output)
            log.warning("agent is silent", extra={"instance": instance_id})

    def _looks_dead(self, instance_id: str) -> bool:
        """Whether the catalog (perhaps from before a restart) has the agent as dead."""
        instance = self._writer.state.catalog.instance(instance_id)
        checks = instance.checks if instance else ()
        return any(check.id == AGENT_ALIVE and check.status is CheckStatus.CRITICAL for check in checks)

    async def _write_report(self, instance_id: str, check_id: str, status: CheckStatus, output: str) -> None:
        try:
            await self._writer.write(lambda state: commands.report(state, instance_id, check_id, status, output))
        except LocalProtocolError as error:
            raise RemoteProtocolError(str(error)) from error


def own_id(caller: Caller, instance_id: str) -> str:
    """Return the catalog's id of an instance on the caller's own host.

    Raises:
        RemoteProtocolError: not an id.
    """
    if not 0 < len(instance_id) <= MAX_TEXT or "/" in instance_id:
        raise RemoteProtocolError(f"reading an instance id: {instance_id[:80]!r} is empty, too long or has a slash")
    return f"{caller.host}/{instance_id}"


def status_of(text: str) -> CheckStatus:
    """Read a check's status.

    Raises:
        RemoteProtocolError: not one of the three.
    """
    try:
        return CheckStatus(text)
    except ValueError:
        raise RemoteProtocolError(f"reading a check report: status {text[:40]!r} is not one of the three") from None


def instance_of(message: Any, caller: Caller, address: str) -> Instance:
    """Return the instance that a registration describes.

    Raises:
        IdentityError: it names another service than the certificate.
        RemoteProtocolError: a field is out of bounds.
    """
    if message.name != caller.service:
        raise IdentityError(f"registering {message.name[:80]!r}: the caller's certificate is for {caller.service}")
    if not 0 < message.port < 65536 or message.port in MESH_PORTS:
        raise RemoteProtocolError(f"registering {caller.service}: port {message.port} is not one for applications")
    texts = [*message.tags, *message.meta.keys(), *message.meta.values()]
    if len(texts) > MAX_TAGS or any(len(text) > MAX_TEXT for text in texts):
        raise RemoteProtocolError(f"registering {caller.service}: more than {MAX_TAGS} tags and meta, or too long")
    return Instance(
        id=own_id(caller, message.id or message.name),
        service=caller.service,
        host=caller.host,
        datacenter=caller.datacenter,
        address=address,
        port=message.port,
        tags=tuple(message.tags),
        meta=dict(sorted(message.meta.items())),
        checks=(*_checks(message.checks, caller), _alive()),
    )


def _checks(messages: Any, caller: Caller) -> tuple[Check, ...]:
    checks = tuple(Check(message.id, message.name[:MAX_TEXT], message.kind) for message in messages)
    ids = {check.id for check in checks}
    if len(checks) > MAX_CHECKS or len(ids) != len(checks) or AGENT_ALIVE in ids:
        raise RemoteProtocolError(f"registering {caller.service}: more than {MAX_CHECKS} checks, or two of one id")
    for check in checks:
        if not 0 < len(check.id) <= MAX_TEXT or check.kind not in set(CheckKind):
            raise RemoteProtocolError(
                f"registering {caller.service}: check {check.id[:80]!r} has no id or no known kind"
            )
    return checks


def _alive() -> Check:
    return Check(AGENT_ALIVE, "the agent of this host is alive", "heartbeat", CheckStatus.PASSING, "registered")
