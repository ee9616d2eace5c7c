"""Discovery streams over gRPC: bytes between a channel and a pure client machine, and the wait before the next try.

The machine (mesh.xds.client) decides what to ask and what to accept. Here is only what can fail: dialling, reading,
writing, and time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from random import Random
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from grpc import aio

from mesh.xds.client.delta import DeltaClient
from mesh.xds.client.held import Update, judge
from mesh.xds.client.sotw import SotwClient

log = logging.getLogger("mesh.sidecar")

BACKOFF_BASE_S = 0.2
BACKOFF_MAX_S = 5.0
Client = DeltaClient | SotwClient
Around = Callable[[Update], AbstractAsyncContextManager[None]]

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A stream that died silently is found within 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # else two channels share a connection, and with it a certificate
    ("grpc.enable_http_proxy", 0),
)


class Backoff:
    """Jittered, growing waits; a success begins again from the start."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._failures = 0

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0

    async def wait(self) -> None:
        """Wait before the next try: uniform in [half, whole] of a time that doubles up to BACKOFF_MAX_S."""
        ceiling_s = min(BACKOFF_BASE_S * 2 ** min(self._failures, 10), BACKOFF_MAX_S)
        self._failures += 1
        await asyncio.sleep(self._rng.uniform(ceiling_s / 2, ceiling_s))


class DiscoveryStream:
    """One stream of one client machine.

    Args:
        channel: to talk over.
        service: full name; the method follows from the machine.
        client: decides.
        apply: takes an update over, or raises a MeshError.
        around: what surrounds the decision: it has time for an update before `apply` is asked; must not raise.
        follow_up: called after each response is settled; returns further requests (new names to watch).
    """

    def __init__(
        self,
        channel: aio.Channel,
        service: str,
        methods: tuple[str, str],
        client: Client,
        apply: Callable[[Update], None],
        follow_up: Callable[[], Sequence[Any]],
        around: Around = lambda _: nullcontext(),
    ) -> None:
        is_delta = isinstance(client, DeltaClient)
        request = discovery_pb2.DeltaDiscoveryRequest if is_delta else discovery_pb2.DiscoveryRequest
        response = discovery_pb2.DeltaDiscoveryResponse if is_delta else discovery_pb2.DiscoveryResponse
        method = methods[0] if is_delta else methods[1]
        self._call = channel.stream_stream(
            f"/{service}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        self._client: Any = client
        self._apply = apply
        self._follow_up = follow_up
        self._around = around

    async def run(self, on_response: Callable[[], None]) -> None:
        """Talk until the stream ends.

        Args:
            on_response: called at each response: the other side is alive.

        Raises:
            grpc.aio.AioRpcError: it ended with an error.
        """
        call = self._call(wait_for_ready=True)
        try:
            await self._write(call, self._client.open())
            while True:
                response = await call.read()
                if response is aio.EOF:
                    return
                on_response()
                answers = await self._answered(response)
                # Before anything that may fail or be cancelled: what is held and what is wanted never disagree.
                requests = self._follow_up()
                self._log_refusals(response, answers)
                await self._write(call, (*answers, *requests))
        finally:
            self._client.close()
            call.cancel()

    async def _answered(self, response: Any) -> Sequence[Any]:
        """Return the ACK or NACK of a response."""
        offer = self._client.offer(response)
        if offer is None:
            return ()
        answers: Sequence[Any]
        async with nullcontext() if offer.update is None else self._around(offer.update):
            answers = self._client.settle(offer, judge(self._apply, offer))
        return answers

    async def _write(self, call: Any, requests: Sequence[Any]) -> None:
        for request in requests:
            await call.write(request)

    def _log_refusals(self, response: Any, answers: Sequence[Any]) -> None:
        for answer in answers:
            if answer.HasField("error_detail"):
                what = {"type": response.type_url, "reason": answer.error_detail.message}
                log.error("configuration refused", extra=what)


def said(error: grpc.RpcError) -> str:
    """Return an RPC's failure in one line."""
    if isinstance(error, aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)
