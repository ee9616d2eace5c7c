"""The gRPC server of the control plane, without its services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from mesh.controlplane.server import grpc_server

ECHO = "/test.Echo/Stream"


async def echo(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
    """Answer each message with the caller's address."""
    async for _ in messages:
        yield context.peer().encode()


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    def service(self, call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(echo)


def test_an_old_connection_keeps_its_streams_and_gets_no_new_ones() -> None:
    async def converse() -> None:
        server = grpc_server(1024, connection_age_s=0.2)
        server.add_generic_rpc_handlers((Echo(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with asyncio.timeout(20), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                old = channel.stream_stream(ECHO)()
                first = await say(old)
                while (fresh := await say(channel.stream_stream(ECHO)())) == first:
                    await asyncio.sleep(0.01)
                assert await say(old) == first, "the stream is where it was"
                assert fresh != first
        finally:
            await server.stop(None)

    asyncio.run(converse())


async def say(call: Any) -> bytes:
    await call.write(b"?")
    heard: bytes = await call.read()
    return heard
