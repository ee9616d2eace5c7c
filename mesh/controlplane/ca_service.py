"""Join (a token becomes a certificate), Sign (a certificate becomes its successor), WatchRoots (whom to trust)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc

from mesh.api import rpc
from mesh.base.clock import Clock
from mesh.base.errors import IdentityError
from mesh.controlplane.callers import Callers, peer_address
from mesh.controlplane.grpc_shell import service, until
from mesh.controlplane.issuing import IssuedChain, Issuer, JoinAsk
from mesh.controlplane.signal import Signal
from mesh.controlplane.state import MeshState
from mesh.controlplane.writer import Plan, Writer
from mesh.telemetry.metrics import Metrics

log = logging.getLogger("mesh.controlplane.ca")


class CaService:
    """The gRPC face of the authority.

    Args:
        issuer: the issuer in force now; replaced when an intermediate is.
        roots_changed: wakes WatchRoots.
    """

    def __init__(
        self, issuer: Issuer, writer: Writer, callers: Callers, clock: Clock, metrics: Metrics, roots_changed: Signal
    ) -> None:
        self.issuer = issuer
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
        """Turn a one-time token and a CSR into a first certificate."""
        address = peer_address(context.peer())
        ask = JoinAsk(request.token, request.host, request.service, request.csr_der, request.datacenter, address)
        issued = await self._issue(lambda now: self.issuer.join(ask, now=now), "join")
        log.info(
            "workload joined",
            extra={"spiffe_id": issued.spiffe_id, "host": ask.host, "address": address},
        )
        return self._answer(issued)

    async def sign(self, request: Any, context: Any) -> Any:
        """Give a caller its next certificate."""
        caller = self._callers.require(context)
        issued = await self._issue(lambda now: self.issuer.renew(request.csr_der, caller, now=now), "renewal")
        log.info("svid renewed", extra={"spiffe_id": issued.spiffe_id, "host": caller.host})
        return self._answer(issued)

    async def watch_roots(self, request: Any, context: Any) -> None:
        """Send the roots now, and again when they change."""
        caller = self._callers.require(context)
        seen = -1
        async with until(caller.not_after, self._clock):
            while True:
                seen = await self._roots_changed.beyond(seen)
                await context.write(rpc.Roots(roots_der=self.issuer.authority.bundle.to_ders()))

    async def _issue(
        self, command: Callable[[datetime], Callable[[MeshState], Plan[IssuedChain]]], reason: str
    ) -> IssuedChain:
        try:
            issued = await self._writer.write(command(self._clock.utcnow()))
        except IdentityError:
            self._metrics.counter("mesh_ca_refused_total", reason).value += 1
            raise
        self._metrics.counter("mesh_ca_issued_total", issued.datacenter).value += 1
        return issued

    def _answer(self, issued: IssuedChain) -> Any:
        return rpc.Issued(
            chain_der=issued.chain_der, roots_der=self.issuer.authority.bundle.to_ders(), spiffe_id=issued.spiffe_id
        )
