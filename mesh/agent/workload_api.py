"""The SPIFFE Workload API on the agent's socket: any SPIFFE client gets this host's SVID and bundle, and each new one.

Each message of a stream is the complete state. Who calls is not asked for: whoever may open the socket (its group is
the workload's) is the workload. The X.509 profile is offered; the JWT and WIT methods are answered by name.

Source: SPIFFE_Workload_API.md, SPIFFE_Workload_Endpoint.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from mesh.agent.identity import Identity
from mesh.agent.latest import Latest
from mesh.spiffe import workload_proto as proto
from mesh.spiffe.id import SpiffeId
from mesh.telemetry.metrics import Metrics

Streamer = Callable[[Any, "aio.ServicerContext[Any, Any]"], AsyncIterator[Any]]


class WorkloadApi:
    """Serves the X.509 profile from whatever identity is the latest."""

    def __init__(self, identity: Latest[Identity], metrics: Metrics) -> None:
        self._identity = identity
        self._metrics = metrics

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a gRPC server needs to answer the service's methods."""
        x509 = {
            proto.FETCH_X509_SVID: (self._follow(proto.FETCH_X509_SVID, svid_response), proto.X509SVIDRequest),
            proto.FETCH_X509_BUNDLES: (
                self._follow(proto.FETCH_X509_BUNDLES, bundles_response),
                proto.X509BundlesRequest,
            ),
        }
        methods = {
            name: grpc.unary_stream_rpc_method_handler(
                streamer, request_deserializer=request.FromString, response_serializer=_serialise
            )
            for name, (streamer, request) in x509.items()
        }
        methods |= {name: grpc.unary_unary_rpc_method_handler(_refuse(name)) for name in proto.UNIMPLEMENTED_CALLS}
        methods |= {
            name: grpc.unary_stream_rpc_method_handler(_refuse_stream(name)) for name in proto.UNIMPLEMENTED_STREAMS
        }
        return grpc.method_handlers_generic_handler(proto.SERVICE, methods)

    def _follow(self, name: str, respond: Callable[[Identity], Any]) -> Streamer:
        async def stream(request: Any, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            await _require_header(context)
            if self._identity.peek() is None:
                await context.abort(
                    grpc.StatusCode.UNAVAILABLE, "this host has no identity yet; try again, with a backoff"
                )
            open_streams = self._metrics.gauge("mesh_workload_api_streams", name)
            open_streams.value += 1
            try:
                async for identity in self._identity.watch():
                    yield respond(identity)
            finally:
                open_streams.value -= 1

        return stream


def svid_response(identity: Identity) -> Any:
    """Return the one SVID of this host with its bundle."""
    svid = proto.X509SVID(
        spiffe_id=str(identity.svid.spiffe_id),
        x509_svid=identity.svid.chain_der(),
        x509_svid_key=identity.svid.key_der(),
        bundle=identity.bundle.to_der(),
    )
    return proto.X509SVIDResponse(svids=[svid])


def bundles_response(identity: Identity) -> Any:
    """Return the bundle under its trust domain's SPIFFE ID."""
    domain = identity.bundle.trust_domain
    return proto.X509BundlesResponse(bundles={str(SpiffeId(domain)): identity.bundle.to_der()})


def _serialise(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded


async def _require_header(context: aio.ServicerContext[Any, Any]) -> None:
    """Refuse a call without the security header: a browser or a forged request cannot set it."""
    name, value = proto.SECURITY_HEADER
    if (name, value) not in tuple(context.invocation_metadata() or ()):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"metadata {name}: {value} is missing")


def _refuse(name: str) -> Callable[[Any, aio.ServicerContext[Any, Any]], Awaitable[bytes]]:
    async def call(request: Any, context: aio.ServicerContext[Any, Any]) -> bytes:
        await _abort_unimplemented(name, context)
        return b""

    return call


def _refuse_stream(name: str) -> Streamer:
    async def stream(request: Any, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        await _abort_unimplemented(name, context)
        yield b""

    return stream


async def _abort_unimplemented(name: str, context: aio.ServicerContext[Any, Any]) -> None:
    await _require_header(context)
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED, f"{name} is not offered: this agent serves the X.509 profile only"
    )
