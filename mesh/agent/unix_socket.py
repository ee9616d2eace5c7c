"""The agent's unix socket: one gRPC server for Workload API and SDS, open to the workload's group and nobody else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc import aio

from mesh.base.errors import ConfigError, Position

GRACE_S = 1.0
MODE = 0o660
OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024),
    # A quiet stream is the usual case here; a client that looks after it every few seconds does no harm.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)


@asynccontextmanager
async def serve(path: Path, group: int, handlers: Sequence[grpc.GenericRpcHandler]) -> AsyncIterator[None]:
    """Serve `handlers` on `path`.

    The socket is made under another name, given its mode and group, and only then renamed: nobody ever finds it
    with wrong permissions, and a path left over from a killed agent is replaced in one step.

    Raises:
        ConfigError: the directory is not ours to write, or we are no member of the group.
    """
    server = aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(tuple(handlers))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{temporary}")
    except RuntimeError as error:
        raise ConfigError(f"opening the agent's socket: {error}", Position(str(path))) from error
    finally:
        os.umask(before)
    await server.start()
    await asyncio.to_thread(_publish, temporary, path, group)
    try:
        yield
    finally:
        await server.stop(GRACE_S)
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _publish(temporary: Path, path: Path, group: int) -> None:
    try:
        os.chown(temporary, -1, group)
        temporary.chmod(MODE)
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(
            f"opening the agent's socket: {error}",
            Position(str(path)),
            right=f"an agent that is a member of group {group}",
        ) from error
