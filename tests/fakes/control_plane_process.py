"""A control plane as a process of its own on the loopback, to be killed and started; and an agent's calls to it."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from mesh.api import rpc
from mesh.api.client import MeshClient, UnreachableError
from mesh.ca.authority import new_key
from mesh.ca.csr import make_csr
from mesh.spiffe.svid import X509Svid
from mesh.xds.types import SHORT_NAME

DEADLINE_S = 60.0
ADS_PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_NAME = (("grpc.ssl_target_name_override", "control-plane.mesh"), ("grpc.use_local_subchannel_pool", 1))


class ControlPlaneProcess:
    """One control plane with a folder of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.http_port, self.grpc_port, self.join_port = _free_ports(3)
        values = {
            "datacenter": "east",
            "datacenters": ["east", "west"],
            "address": "127.0.0.1",
            "http_port": self.http_port,
            "grpc_port": self.grpc_port,
            "join_port": self.join_port,
            "socket": str(folder / "cp.sock"),
            "data_dir": str(folder / "data"),
            "allow_loopback_instances": True,
            **settings,
        }
        self._settings = folder / "control-plane.json"
        self._settings.write_text(json.dumps(values))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ControlPlaneProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it has logged."""
        return (self.folder / "log").read_text()

    def client(self) -> MeshClient:
        """Return a client on the unix socket."""
        return MeshClient(f"unix://{self.folder / 'cp.sock'}")

    def start(self) -> None:
        """Start the process; `until_ready` waits for it."""
        argv = [sys.executable, "-m", "mesh.controlplane.main", "--config", str(self._settings)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stderr=log)

    def kill(self) -> None:
        """Kill it the hard way."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        assert self._process is not None
        self._process.terminate()
        code, self._process = self._process.wait(DEADLINE_S), None
        return code

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        assert self._process is not None
        code, self._process = self._process.wait(DEADLINE_S), None
        return code

    async def join(self, token: str, host: str, service: str, roots: bytes, **more: Any) -> X509Svid:
        """Turn a token into an SVID, as an agent does."""
        key = new_key()
        request = rpc.JoinRequest(token=token, host=host, service=service, csr_der=make_csr(key), **more)
        credentials = grpc.ssl_channel_credentials(roots)
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.join_port}", credentials, options=_NAME) as channel:
            issued = await rpc.JOIN.on(channel)(request, timeout=30)
        return X509Svid.from_der(list(issued.chain_der), key)

    @asynccontextmanager
    async def channel(self, svid: X509Svid, roots: bytes) -> AsyncIterator[Any]:
        """Open a mutual TLS channel, as an agent or a proxy does."""
        credentials = grpc.ssl_channel_credentials(roots, svid.key_pem(), svid.chain_pem())
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.grpc_port}", credentials, options=_NAME) as channel:
            yield channel


class DeltaTalk:
    """A proxy's side of a delta stream: acknowledges what comes and remembers it by type."""

    def __init__(self, channel: Any, node: str) -> None:
        self._node = node
        self._call = channel.stream_stream(
            ADS_PATH,
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )()
        self.held: dict[str, set[str]] = {}

    async def subscribe(self, type_url: str, *names: str) -> None:
        """Ask for names, or for everything."""
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
        request.node.id, request.node.cluster = self._node, self._node.rpartition("/")[2]
        await self._call.write(request)

    async def next(self) -> tuple[str, set[str]]:
        """Take one response and acknowledge it; return its type (CDS ...) and the names in it."""
        response = await self._call.read()
        if response is grpc.aio.EOF:
            raise EOFError(f"{await self._call.code()}: {await self._call.details()}")
        ack = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        await self._call.write(ack)
        names = {resource.name for resource in response.resources}
        self.held.setdefault(SHORT_NAME[response.type_url], set()).update(names)
        return SHORT_NAME[response.type_url], names


async def until_ready(client: MeshClient) -> dict[str, Any]:
    """Wait until the control plane says that it is ready."""

    async def ask() -> dict[str, Any] | None:
        try:
            status = await client.status()
        except UnreachableError:
            return None
        return status if status["ready"] else None

    return dict(await until(ask))


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until there is an answer, up to a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        if (answer := await ask()) is not None:
            return answer
        assert time.monotonic() < deadline, "it took too long"
        await asyncio.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago; a process cannot tell which one it got for zero."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()

    return ports
