"""Simulated sidecars: real joins, real certificates, real delta ADS streams over mutual TLS; no data plane.

A process of its own with some of them, driven by lines of JSON on its input, each answered by one line:

    {"do": "join", "hosts": [{"host", "service", "token", "port"}]}    -> {"took_s"}      all have a certificate
    {"do": "register"}                                                  -> {"took_s"}      all are in the catalog
    {"do": "connect"}                                                   -> {"took_s", "bytes", "messages"}
    {"do": "expect", "type": "EDS", "name": "svc-3", "count": 40}       -> {"is_expecting": true}
    {"do": "await"}                                                     -> {"last", "bytes", "messages", "bytes_all"}
    {"do": "sign"}                                                      -> {"took_s"}      a new certificate for each

Times are of the machine's monotonic clock, which all its processes share. Fresh channels share nothing, so that a
thousand sidecars are a thousand connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from mesh.agent.reports import HEARTBEAT_S
from mesh.api import rpc
from mesh.ca.authority import new_key
from mesh.ca.csr import make_csr
from mesh.spiffe.svid import X509Svid
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SHORT_NAME

AT_ONCE = 64  # joins and the like that are under way at a time
DEADLINE_S = 120.0
NAME = (("grpc.ssl_target_name_override", "control-plane.mesh"), ("grpc.use_local_subchannel_pool", 1))
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


@dataclass(slots=True)
class Expected:
    """What all are waiting for, and how much of it has come."""

    type_name: str
    name: str
    count: int
    seen: set[str] = field(default_factory=set)
    last: float = 0.0
    bytes: int = 0
    messages: int = 0
    bytes_all: int = 0  # whatever came meanwhile, of every type, to everybody
    is_complete: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, host: str, type_name: str, names: set[str], size: int) -> None:
        """Note a response."""
        self.bytes_all += size
        if type_name != self.type_name or self.name not in names:
            return
        self.bytes += size
        self.messages += 1
        self.seen.add(host)
        self.last = time.monotonic()
        if len(self.seen) >= self.count:
            self.is_complete.set()


class Simulated:
    """One sidecar with its agent's part of joining and registering."""

    def __init__(self, world: World, host: str, service: str, token: str, port: int) -> None:
        self.world, self.host, self.service, self.token, self.port = world, host, service, token, port
        self.svid: X509Svid | None = None
        self.is_configured = asyncio.Event()
        self._channel: Any = None
        self._held: dict[str, set[str]] = {}
        self._following: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Turn the token into a certificate."""
        key = new_key()
        request = rpc.JoinRequest(token=self.token, host=self.host, service=self.service, csr_der=make_csr(key))
        credentials = grpc.ssl_channel_credentials(self.world.roots)
        async with grpc.aio.secure_channel(self.world.join_address, credentials, options=NAME) as channel:
            issued = await rpc.JOIN.on(channel)(request, timeout=DEADLINE_S)
        self.svid = X509Svid.from_der(list(issued.chain_der), key)

    @property
    def channel(self) -> Any:
        """Return the one channel of this sidecar."""
        if self._channel is None:
            assert self.svid is not None
            credentials = grpc.ssl_channel_credentials(self.world.roots, self.svid.key_pem(), self.svid.chain_pem())
            self._channel = grpc.aio.secure_channel(self.world.grpc_address, credentials, options=NAME)
        return self._channel

    async def register(self) -> None:
        """Put the instance into the catalog."""
        message = rpc.ServiceMessage(name=self.service, id=self.service, port=self.port)
        await rpc.REGISTER.on(self.channel)(rpc.RegisterRequest(service=message), timeout=DEADLINE_S)
        self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        """Say now and then that this host lives, as an agent does; one that is silent is taken for dead."""
        call = rpc.REPORT.on(self.channel)()
        while True:
            await call.write(rpc.CheckReport(instance_id=self.service))
            await call.read()
            await asyncio.sleep(HEARTBEAT_S)

    async def sign(self) -> None:
        """Have a new certificate signed."""
        key = new_key()
        await rpc.SIGN.on(self.channel)(rpc.SignRequest(csr_der=make_csr(key)), timeout=DEADLINE_S)

    async def connect(self) -> None:
        """Open the stream and wait for a whole configuration."""
        self._following = asyncio.create_task(self._follow())
        configured = asyncio.create_task(self.is_configured.wait())
        await asyncio.wait((self._following, configured), return_when=asyncio.FIRST_COMPLETED)
        configured.cancel()
        if self._following.done():
            await self._following  # says why
            raise RuntimeError(f"{self.host}: its stream ended before it was configured")

    async def _follow(self) -> None:
        call = self.channel.stream_stream(
            ADS,
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=lambda raw: raw,
        )()
        for url in (CLUSTER, LISTENER):
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=url)
            request.node.id, request.node.cluster = f"{self.host}/{self.service}", self.service
            await call.write(request)
        while (raw := await call.read()) is not grpc.aio.EOF:
            response = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
            names = {one.name for one in response.resources}
            await call.write(
                discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            )
            await self._subscribe_to_what_is_named(call, response.type_url, names)
            held = self._held.setdefault(response.type_url, set())
            held |= names
            self.world.took(self.host, SHORT_NAME[response.type_url], names, len(raw))
            if self._held.keys() >= {CLUSTER, ENDPOINTS, LISTENER, ROUTES}:
                self.is_configured.set()

    async def _subscribe_to_what_is_named(self, call: Any, type_url: str, names: set[str]) -> None:
        """Ask for what new clusters and listeners point at, as Envoy does: services are named alike in all types."""
        wanted = {CLUSTER: ENDPOINTS, LISTENER: ROUTES}.get(type_url)
        if wanted is None:
            return
        services = {name for name in self._held.get(CLUSTER, set()) | names if name.startswith("svc-")}
        fresh = services - self._held.get(f"asked {wanted}", set())
        self._held.setdefault(f"asked {wanted}", set()).update(fresh)
        if fresh:
            await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=wanted, resource_names_subscribe=fresh))

    async def close(self) -> None:
        """End the stream and the channel."""
        for task in (self._following, self._beating):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, grpc.RpcError):
                    await task
        if self._channel is not None:
            await self._channel.close()


class World:
    """All sidecars of this process."""

    def __init__(self, grpc_address: str, join_address: str, roots: bytes) -> None:
        self.grpc_address, self.join_address, self.roots = grpc_address, join_address, roots
        self.sidecars: list[Simulated] = []
        self.bytes, self.messages = 0, 0
        self.expected: Expected | None = None

    def took(self, host: str, type_name: str, names: set[str], size: int) -> None:
        """Note a response of any sidecar."""
        self.bytes += size
        self.messages += 1
        if self.expected is not None:
            self.expected.take(host, type_name, names, size)

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order."""
        began = time.monotonic()
        match order["do"]:
            case "join":
                self.sidecars = [Simulated(self, **one) for one in order["hosts"]]
                await self._all(Simulated.join)
            case "register":
                await self._all(Simulated.register)
            case "sign":
                await self._all(Simulated.sign)
            case "connect":
                self.bytes = self.messages = 0
                async with asyncio.timeout(DEADLINE_S):
                    await asyncio.gather(*(one.connect() for one in self.sidecars))
                return {"took_s": time.monotonic() - began, "bytes": self.bytes, "messages": self.messages}
            case "expect":
                self.expected = Expected(order["type"], order["name"], order["count"])
                return {"is_expecting": True}
            case "await":
                assert self.expected is not None
                expected = self.expected
                if expected.count:
                    async with asyncio.timeout(DEADLINE_S):
                        await expected.is_complete.wait()
                names = ("last", "bytes", "messages", "bytes_all")
                return {name: getattr(expected, name) for name in names}
        return {"took_s": time.monotonic() - began}

    async def _all(self, do: Any) -> None:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(sidecar: Simulated) -> None:
            async with turn:
                await do(sidecar)

        await asyncio.gather(*(one(sidecar) for sidecar in self.sidecars))


async def main() -> None:
    """Obey until the input ends."""
    first = json.loads(sys.stdin.readline())
    world = World(first["grpc"], first["join"], first["roots"].encode())
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await world.obey(json.loads(line))), flush=True)
    await asyncio.gather(*(one.close() for one in world.sidecars))


if __name__ == "__main__":
    asyncio.run(main())
