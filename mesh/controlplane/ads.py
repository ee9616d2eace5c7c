"""The aggregated discovery service: one stream per proxy, driven by the pure machines of `mesh.xds.server`.

    requests ──> inbox ─┐
                        ├─> machine ──> responses, in make-before-break order ──> proxy
    changes ──> pending ┘

A change wakes only the streams it concerns, at once; while a stream is busy, further changes merge into one. The stream
is its caller's for as long as the certificate that opened it is valid, and under no other name.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from mesh.base.errors import IdentityError, LocalProtocolError, RemoteProtocolError
from mesh.controlplane.callers import Caller, Callers
from mesh.controlplane.grpc_shell import raw_streams
from mesh.controlplane.proxies import Proxies
from mesh.controlplane.snapshots import Snapshots, affected_services
from mesh.controlplane.state import Change, merge
from mesh.controlplane.views import View
from mesh.telemetry.metrics import Metrics
from mesh.xds.build.cache import ResourceCache
from mesh.xds.server.delta import DeltaStream
from mesh.xds.server.sotw import SotwStream
from mesh.xds.types import SHORT_NAME, NodeIdentity, is_proxyless, parse_node

log = logging.getLogger("mesh.controlplane.ads")

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
MAX_INBOX = 256  # requests a proxy may have waiting; an honest one has a few
WRITE_TIMEOUT_S = 30.0  # a proxy that does not read for this long is cut and starts anew


@dataclass(slots=True, eq=False)
class Mailbox:
    """What a stream has to look at: requests, and changes merged into one."""

    requests: deque[Any] = field(default_factory=deque)
    pending: list[Change] = field(default_factory=list)
    is_closed: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def put_request(self, request: Any) -> None:
        """Take a request in.

        Raises:
            RemoteProtocolError: the proxy sends faster than anybody could answer.
        """
        if len(self.requests) >= MAX_INBOX:
            raise RemoteProtocolError(f"reading a discovery stream: more than {MAX_INBOX} requests are waiting")
        self.requests.append(request)
        self._wake.set()

    def put_change(self, change: Change) -> None:
        """Note a change."""
        self.pending.append(change)
        self._wake.set()

    def close(self) -> None:
        """Say that no more requests come."""
        self.is_closed = True
        self._wake.set()

    def take_change(self) -> Change | None:
        """Return the changes noted so far as one, None when there are none."""
        if not self.pending:
            return None
        change = merge(self.pending[-1].index, self.pending)
        self.pending.clear()
        return change

    async def wait(self) -> None:
        """Wait until there is something to look at."""
        await self._wake.wait()
        self._wake.clear()


class AdsService:
    """Serves both modes of the aggregated discovery service."""

    def __init__(
        self,
        snapshots: Snapshots,
        callers: Callers,
        proxies: Proxies,
        metrics: Metrics,
        *,
        access_log_path: str,
    ) -> None:
        self._snapshots = snapshots
        self._callers = callers
        self._proxies = proxies
        self._metrics = metrics
        self._access_log_path = access_log_path
        self._cache = ResourceCache()
        self._streams: dict[Mailbox, str] = {}

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler of the mutual TLS port."""
        return raw_streams(SERVICE, {"StreamAggregatedResources": self.sotw, "DeltaAggregatedResources": self.delta})

    def on_change(self, change: Change) -> None:
        """Wake the streams that a change concerns."""
        if change.is_empty:
            return
        self._snapshots.forget(change)
        self._cache.forget(self._snapshots.gone(change))
        services = affected_services(change)
        if services is None:
            self._cache.forget_many()
        for mailbox, service in self._streams.items():
            if services is None or service in services:
                mailbox.put_change(change)

    async def sotw(self, requests: Any, context: Any) -> None:
        """Serve one state-of-the-world stream."""
        await self._serve(requests, context, discovery_pb2.DiscoveryRequest, SotwStream)

    async def delta(self, requests: Any, context: Any) -> None:
        """Serve one delta stream."""
        await self._serve(requests, context, discovery_pb2.DeltaDiscoveryRequest, DeltaStream)

    async def _serve(self, requests: Any, context: Any, message: Any, machine: type[Any]) -> None:
        caller = self._callers.require(context)
        mailbox = Mailbox()
        async with self._callers.while_proven(caller):
            first = await anext(aiter(requests), None)
            if first is None:
                return
            request = decode(message, first)
            node = require_own_node(request, caller)
            mailbox.put_request(request)
            view = View(node, self._snapshots, self._cache, self._access_log_path, is_proxyless(request.node))
            await self._serve_node(requests, context, message, machine, view, mailbox)

    async def _serve_node(
        self, requests: Any, context: Any, message: Any, machine: type[Any], view: View, mailbox: Mailbox
    ) -> None:
        node = view.node
        stream = machine(view.resources)
        self._streams[mailbox] = node.service
        self._metrics.gauge("mesh_xds_streams").value += 1
        self._proxies.connected(node, stream)
        log.info("proxy connected", extra={"node": str(node), "mode": machine.__name__})
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(_read(requests, message, node, mailbox))
                await self._answer(context, view, stream, mailbox)
                reading.cancel()
        finally:
            del self._streams[mailbox]
            self._metrics.gauge("mesh_xds_streams").value -= 1
            self._proxies.disconnected(node, stream)
            log.info("proxy disconnected", extra={"node": str(node)})

    async def _answer(self, context: Any, view: View, stream: Any, mailbox: Mailbox) -> None:
        """Take requests and changes in turn, send what the machine says, until the proxy has closed its side."""
        self._refresh(view, None)
        while not view.resources:
            await mailbox.wait()  # nothing is known of this proxy before its service is registered
            if mailbox.is_closed:
                return
            if mailbox.take_change() is not None:
                self._refresh(view, None)
        responses = stream.update(view.resources)
        counted: dict[str, int] = {}
        while True:
            while mailbox.requests:
                request = mailbox.requests.popleft()
                self._count(request)
                responses += stream.receive(request)
            if change := mailbox.take_change():
                changed = self._refresh(view, change)
                responses += stream.update(view.resources, changed)
            for response in responses:
                await _write(context, response)
            if responses:
                self._count_pushes(stream, counted)
            responses = []
            if mailbox.is_closed and not mailbox.requests:
                return
            if not (mailbox.requests or mailbox.pending):
                await mailbox.wait()

    def _refresh(self, view: View, change: Change | None) -> Mapping[str, set[str]]:
        """Make the view follow; a snapshot that contradicts itself is our fault, logged, and changes nothing."""
        try:
            return view.refresh(change)
        except LocalProtocolError as error:
            log.error(
                "snapshot refused, the proxy keeps what it has", extra={"node": str(view.node), "why": str(error)}
            )
            return {}

    def _count_pushes(self, stream: Any, counted: dict[str, int]) -> None:
        """Add what the machine has sent since the last time to the metrics."""
        for url, subscription in stream.subscriptions.items():
            fresh = subscription.responses - counted.get(url, 0)
            if fresh:
                counted[url] = subscription.responses
                self._metrics.counter("mesh_xds_pushes_total", SHORT_NAME[url]).value += fresh

    def _count(self, request: Any) -> None:
        kind = SHORT_NAME.get(request.type_url)
        if kind and request.HasField("error_detail"):
            self._metrics.counter("mesh_xds_nacks_total", kind).value += 1
            log.warning("proxy refused a response", extra={"type": kind, "reason": request.error_detail.message[:1000]})


async def _write(context: Any, response: bytes) -> None:
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await context.write(response)
    except TimeoutError:
        raise RemoteProtocolError(f"sending a push: the proxy has read nothing for {WRITE_TIMEOUT_S:g} s") from None


async def _read(requests: Any, message: Any, node: NodeIdentity, mailbox: Mailbox) -> None:
    """Move requests into the mailbox; a later request may repeat the node, never change it."""
    async for raw in requests:
        request = decode(message, raw)
        if request.HasField("node") and request.node.id and request.node.id != str(node):
            raise IdentityError(
                f"reading a discovery stream: it is of {node}, a request says {request.node.id[:200]!r}"
            )
        mailbox.put_request(request)
    mailbox.close()


def decode(message: Any, raw: bytes) -> Any:
    """Read a request.

    Raises:
        RemoteProtocolError: not a protobuf message of this type.
    """
    try:
        return message.FromString(raw)
    except DecodeError as error:
        raise RemoteProtocolError(f"reading a discovery request: {error}") from error


def require_own_node(request: Any, caller: Caller) -> NodeIdentity:
    """Return the node of a stream's first request, proven by the caller's certificate.

    Raises:
        IdentityError: it is the node of somebody else (CVE-2023-2816 is what happens otherwise).
        RemoteProtocolError: there is no node, or it is malformed.
    """
    node = parse_node(request.node)
    if (node.host, node.service) != (caller.host, caller.service):
        raise IdentityError(
            f"opening a discovery stream: node {node} is not the caller, whose certificate is for "
            f"{caller.host}/{caller.service}"
        )
    return node
