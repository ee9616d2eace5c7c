"""Join (a token or a rejoin secret becomes a certificate), Sign (its successor), WatchRoots (whom to trust)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import grpc

from mesh.api import rpc
from mesh.base.clock import Clock
from mesh.base.errors import IdentityError, RemoteProtocolError
from mesh.controlplane.acknowledgements import Acknowledgements
from mesh.controlplane.callers import Caller, Callers, peer_address
from mesh.controlplane.grpc_shell import service
from mesh.controlplane.issuing import IssuedChain, Issuer, JoinAsk
from mesh.controlplane.rejoining import ALARMS
from mesh.controlplane.rotation import RootRotation
from mesh.controlplane.signal import Signal
from mesh.controlplane.state import MeshState
from mesh.controlplane.writer import Plan, Writer
from mesh.telemetry.metrics import Metrics

log = logging.getLogger("mesh.controlplane.ca")

T = TypeVar("T")

REMIND_EVERY_S = 5.0  # how soon a host that says to hold other roots is sent the present ones once more


class CaService:
    """The gRPC face of the authority.

    Args:
        rotation: which roots there are.
        said: takes what agents acknowledge.
        roots_changed: wakes WatchRoots.
    """

    def __init__(
        self,
        issuer: Issuer,
        rotation: RootRotation,
        said: Acknowledgements,
        writer: Writer,
        callers: Callers,
        clock: Clock,
        metrics: Metrics,
        roots_changed: Signal,
    ) -> None:
        self.issuer = issuer
        self._rotation = rotation
        self._said = said
        self._writer = writer
        self._callers = callers
        self._clock = clock
        self._metrics = metrics
        self._roots_changed = roots_changed

    def join_handler(self) -> grpc.GenericRpcHandler:
        """Return the handler of the join port."""
        return service(rpc.JOIN_SERVICE, {rpc.JOIN: self.join})

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler of the mutual TLS port."""
        return service(rpc.CA_SERVICE, {rpc.SIGN: self.sign, rpc.WATCH_ROOTS: self.watch_roots})

    async def join(self, request: Any, context: Any) -> Any:
        """Turn a one-time token, or a rejoin secret, and a CSR into a first certificate."""
        address = peer_address(context.peer())
        ask = JoinAsk(
            request.token, request.host, request.service, request.csr_der, request.datacenter, address,
            request.rejoin_secret, request.next_rejoin_digest,
        )  # fmt: skip
        if request.rejoin_secret and not request.token:
            issued = await self._rejoin(ask)
        else:
            issued = await self._issue(lambda now: self.issuer.join(ask, now=now), "join")
        how = "a token" if request.token else "a rejoin secret"
        told = {"spiffe_id": issued.spiffe_id, "host": ask.host, "address": address, "with": how}
        log.info("workload joined", extra=told)
        return self._answer(issued)

    async def _rejoin(self, ask: JoinAsk) -> IssuedChain:
        """Raises: IdentityError or NotFoundError when the secret is refused; what that ends is on disk by then."""
        outcome = await self._issue(lambda now: self.issuer.rejoin(ask, now=now), "rejoin")
        if isinstance(outcome, IssuedChain):
            return outcome
        self._metrics.counter("mesh_ca_refused_total", "rejoin").value += 1
        if outcome.found in ALARMS:
            self._alarm(outcome.found, outcome.service, outcome.host, ask.address)
        raise outcome.error

    def _alarm(self, what: str, service: str, host: str, address: str) -> None:
        self._metrics.counter("mesh_rejoin_copies_total", service, host, what).value += 1
        told = {"what": what, "service": service, "host": host, "address": address}
        log.error("a copy of a rejoin secret is out: mesh token revoke ends what it bought", extra=told)

    async def sign(self, request: Any, context: Any) -> Any:
        """Give a caller its next certificate."""
        caller = self._callers.require(context)
        following = request.next_rejoin_digest
        renewed = await self._issue(
            lambda now: self.issuer.renew(request.csr_der, caller, now=now, next_digest=following), "renewal"
        )
        issued = renewed.issued
        if renewed.lives_twice:
            self._alarm("another lives with it", caller.service, caller.host, caller.address)
        log.info("svid renewed", extra={"spiffe_id": issued.spiffe_id, "host": caller.host})
        return self._answer(issued)

    async def watch_roots(self, requests: Any, context: Any) -> None:
        """Send the roots now, and again when they change; hear which ones the host holds."""
        caller = self._callers.require(context)
        async with self._callers.while_proven(caller):
            with self._said.connected(caller.host):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._hear(requests, caller))
                    await self._tell(context, caller)

    async def _tell(self, context: Any, caller: Caller) -> None:
        """Send the roots whenever they change, and once more when the host says to hold others."""
        seen = -1
        while True:
            before = seen
            with suppress(TimeoutError):
                async with asyncio.timeout(REMIND_EVERY_S):
                    seen = await self._roots_changed.beyond(seen)
            if before >= 0 and seen != before:
                await asyncio.sleep(self._rotation.push_delay_s())
            if seen != before or self._holds_others(caller):
                await self._send_roots(context, caller)

    def _holds_others(self, caller: Caller) -> bool:
        return self._said.of(caller.host).digest not in ("", self._rotation.authority.bundle.digest)

    async def _send_roots(self, context: Any, caller: Caller) -> None:
        ders = self._rotation.authority.bundle.to_ders()
        within_s = self._rotation.renew_within_s(caller.serial)
        await context.write(rpc.Roots(roots_der=ders, renew_within_s=within_s))

    async def _hear(self, requests: Any, caller: Caller) -> None:
        async for word in requests:
            self._said.note(
                caller.host,
                digest=word.digest[:64],
                serial=_serial(word.serial),
                holders=word.holders,
                behind=word.behind,
            )

    async def _issue(self, command: Callable[[datetime], Callable[[MeshState], Plan[T]]], reason: str) -> T:
        try:
            return await self._writer.write(command(self._clock.utcnow()))
        except IdentityError:
            self._metrics.counter("mesh_ca_refused_total", reason).value += 1
            raise

    def _answer(self, issued: IssuedChain) -> Any:
        self._metrics.counter("mesh_ca_issued_total", issued.datacenter).value += 1
        return rpc.Issued(
            chain_der=issued.chain_der, roots_der=self._rotation.authority.bundle.to_ders(), spiffe_id=issued.spiffe_id
        )


def _serial(text: str) -> int:
    """Read a serial number in hex.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        return int(text[:64] or "0", 16)
    except ValueError:
        raise RemoteProtocolError(f"reading an acknowledgement: serial {text[:64]!r} is not in hex") from None
