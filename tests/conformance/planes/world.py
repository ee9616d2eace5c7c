"""The small world around one sidecar: an authority, a control plane, an agent's SDS; all real, all on loopback.

The sidecar is that of order-1. What it calls are the upstreams of the scenarios; who calls it comes with a certificate.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from grpc import aio

from mesh.agent.identity import Identity
from mesh.agent.sds import SERVICE as SDS_SERVICE
from mesh.agent.sds import secrets_of
from mesh.ca.authority import SigningCa, make_intermediate, make_root, new_key
from mesh.ca.csr import make_csr
from mesh.ca.sign import sign_leaf
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.svid import X509Svid
from mesh.xds.bootstrap import Bootstrap, write_bootstrap
from mesh.xds.server.delta import DeltaStream
from mesh.xds.server.sotw import SotwStream
from mesh.xds.server.stream import DiscoveryStream
from mesh.xds.types import SECRET, ResourceView

TRUST_DOMAIN, NAMESPACE = "dominos.internal", "production"
HOST, SERVICE, DATACENTER = "order-1", "order-service", "east"
ADS_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
CONTROL_PLANE_PORT = 8502
CONTROL_PLANE_NAME = "control-plane.mesh"


def spiffe_id(service: str, namespace: str = NAMESPACE) -> str:
    """Return the identity of a service."""
    return str(SpiffeId.for_service(TRUST_DOMAIN, namespace, service))


class Authority:
    """Whoever is anybody here has its certificate from this one."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        self.root = make_root(TRUST_DOMAIN, now=now, ttl=timedelta(days=2))
        self.ca: SigningCa = make_intermediate(self.root, DATACENTER, now=now, ttl=timedelta(days=1))
        self.bundle = TrustBundle(TRUST_DOMAIN, (self.root.certificate,))

    def svid(self, name: str, *dns_names: str) -> X509Svid:
        """Issue a certificate for a SPIFFE ID."""
        key = new_key()
        chain = sign_leaf(
            make_csr(key),
            SpiffeId.parse(name),
            self.ca,
            now=datetime.now(UTC),
            ttl=timedelta(hours=12),
            dns_names=dns_names,
        )
        return X509Svid.from_der(chain, key)

    def server_context(self, service: str, folder: Path) -> ssl.SSLContext:
        """Return the TLS of an upstream's sidecar, which asks its caller for a certificate."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER, service, NAMESPACE, folder)
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["http/1.1"])
        return context

    def client_context(self, service: str, folder: Path, *, namespace: str = NAMESPACE) -> ssl.SSLContext:
        """Return the TLS of a caller's sidecar."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT, service, namespace, folder)
        context.check_hostname = False  # identity is the SPIFFE ID
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _context(self, protocol: int, service: str, namespace: str, folder: Path) -> ssl.SSLContext:
        svid, path = self.svid(spiffe_id(service, namespace)), folder / f"{service}.{namespace}.pem"
        path.write_bytes(svid.key_pem() + svid.chain_pem())
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(path)
        context.load_verify_locations(cadata=self.bundle.to_pem().decode())
        return context


class Conversation:
    """One discovery stream, and whether its client has taken all that there is."""

    def __init__(self, stream: DiscoveryStream) -> None:
        self.stream = stream
        self.refusals: list[str] = []
        self._updates: asyncio.Queue[ResourceView] = asyncio.Queue()

    def show(self, view: ResourceView) -> None:
        """Give the client a new view."""
        self._updates.put_nowait(view)

    async def hold(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Talk until the client is gone."""
        lock = asyncio.Lock()

        async def send(responses: list[bytes]) -> None:
            for response in responses:
                await context.write(response)

        async def follow() -> None:
            while True:
                view = await self._updates.get()
                async with lock:
                    await send(self.stream.update(view))

        follower = asyncio.create_task(follow())
        try:
            async for request in requests:
                if request.HasField("error_detail"):
                    self.refusals.append(request.error_detail.message)
                async with lock:
                    await send(self.stream.receive(request))
        finally:
            follower.cancel()


class ControlPlane:
    """Serves one proxy its resources, in both modes of xDS, and its secrets on a unix socket."""

    def __init__(self, authority: Authority, folder: Path, view: ResourceView) -> None:
        self.authority, self.folder, self.view = authority, folder, view
        self.conversations: list[Conversation] = []
        self._secrets_told: list[Conversation] = []
        self._identity = self._new_identity()
        self.socket = folder / "agent.sock"

    def bootstrap(self, *, is_delta: bool = True) -> Path:
        """Write the bootstrap as an agent does; return its path."""
        values = Bootstrap(
            host=HOST,
            service=SERVICE,
            datacenter=DATACENTER,
            control_plane_address="127.0.0.1",
            control_plane_port=CONTROL_PLANE_PORT,
            control_plane_id=f"spiffe://{TRUST_DOMAIN}/ns/mesh/sa/control-plane",
            control_plane_name=CONTROL_PLANE_NAME,
            agent_socket=str(self.socket),
            is_delta=is_delta,
        )
        path = self.folder / "bootstrap.json"
        path.write_text(write_bootstrap(values))
        return path

    def show(self, view: ResourceView) -> None:
        """Change what the proxy is told."""
        self.view = view
        for conversation in self.conversations:
            conversation.show(view)

    def rotate(self) -> X509Svid:
        """Give the proxy another key and certificate; return them."""
        self._identity = self._new_identity()
        for conversation in self._secrets_told:
            conversation.show(secrets_of(self._identity))
        return self._identity.svid

    def _new_identity(self) -> Identity:
        return Identity(self.authority.svid(spiffe_id(SERVICE)), self.authority.bundle)

    @property
    def refusals(self) -> list[str]:
        """Return the text of every NACK."""
        return [text for conversation in self.conversations for text in conversation.refusals]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve while the block runs."""
        own = self.authority.svid(f"spiffe://{TRUST_DOMAIN}/ns/mesh/sa/control-plane", CONTROL_PLANE_NAME)
        credentials = grpc.ssl_server_credentials(
            [(own.key_pem(), own.chain_pem())], self.authority.bundle.to_pem(), require_client_auth=True
        )
        ads, sds = aio.server(), aio.server()
        ads.add_generic_rpc_handlers(
            (self._handler(ADS_SERVICE, ("StreamAggregatedResources", "DeltaAggregatedResources"), self._ads),)
        )
        ads.add_secure_port(f"127.0.0.1:{CONTROL_PLANE_PORT}", credentials)
        sds.add_generic_rpc_handlers((self._handler(SDS_SERVICE, ("StreamSecrets", "DeltaSecrets"), self._sds),))
        sds.add_insecure_port(f"unix:{self.socket}")
        await ads.start()
        await sds.start()
        try:
            yield
        finally:
            await asyncio.gather(ads.stop(None), sds.stop(None))

    def _handler(self, service: str, methods: tuple[str, str], serve: Any) -> grpc.GenericRpcHandler:
        sotw, delta = methods
        return grpc.method_handlers_generic_handler(
            service,
            {
                sotw: grpc.stream_stream_rpc_method_handler(
                    serve(SotwStream), request_deserializer=discovery_pb2.DiscoveryRequest.FromString
                ),
                delta: grpc.stream_stream_rpc_method_handler(
                    serve(DeltaStream), request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString
                ),
            },
        )

    def _ads(self, machine: type[DiscoveryStream]) -> Any:
        async def serve(requests: AsyncIterator[Any], context: Any) -> None:
            conversation = Conversation(machine(self.view))
            self.conversations.append(conversation)
            await conversation.hold(requests, context)

        return serve

    def _sds(self, machine: type[DiscoveryStream]) -> Any:
        async def serve(requests: AsyncIterator[Any], context: Any) -> None:
            conversation = Conversation(machine(secrets_of(self._identity), (SECRET,)))
            self._secrets_told.append(conversation)
            await conversation.hold(requests, context)

        return serve
