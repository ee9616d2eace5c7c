"""Envoy's Secret Discovery Service on the agent's socket: the sidecar's certificate and the roots, and each new pair.

Two secrets: `default` (chain and key) and `ROOTCA` (the trust bundle). The conversation, its nonces and its ACKs are
those of every discovery stream (mesh.xds.server); this file makes the resources and moves the bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_spiffe_validator_config_pb2 as spiffe_pb2
from envoy.service.discovery.v3 import discovery_pb2

from mesh.agent.holders import Holders
from mesh.agent.identity import Identity
from mesh.agent.latest import Latest
from mesh.base.errors import RemoteProtocolError
from mesh.spiffe.bundle import TrustBundle
from mesh.xds.build.pack import packed
from mesh.xds.build.tls import OWN_CERTIFICATE, TRUST_BUNDLE
from mesh.xds.server.delta import DeltaStream
from mesh.xds.server.sotw import SotwStream
from mesh.xds.types import SECRET, Resource, ResourceView, content_version

log = logging.getLogger(__name__)

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
Context: TypeAlias = Any  # grpc.aio.ServicerContext, which has no types


def secrets_of(identity: Identity) -> ResourceView:
    """Return both secrets. Versions are derived from what is public, so that a key leaves no trace in a log."""
    chain, roots = identity.svid.chain_pem(), identity.bundle.to_pem()
    certificate = common_pb2.TlsCertificate(
        certificate_chain=base_pb2.DataSource(inline_bytes=chain),
        private_key=base_pb2.DataSource(inline_bytes=identity.svid.key_pem()),
    )
    trust = common_pb2.CertificateValidationContext(
        trusted_ca=base_pb2.DataSource(inline_bytes=roots), custom_validator_config=_as_spiffe(identity.bundle, roots)
    )
    own = secret_pb2.Secret(name=OWN_CERTIFICATE, tls_certificate=certificate)
    root = secret_pb2.Secret(name=TRUST_BUNDLE, validation_context=trust)
    return {
        SECRET: {
            OWN_CERTIFICATE: _resource(OWN_CERTIFICATE, content_version(chain), own),
            TRUST_BUNDLE: _resource(TRUST_BUNDLE, content_version(roots), root),
        }
    }


class SecretDiscovery:
    """Serves StreamSecrets and DeltaSecrets from whatever identity is the latest."""

    def __init__(self, identity: Latest[Identity], holders: Holders) -> None:
        self._identity = identity
        self._holders = holders

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a gRPC server needs to answer the service's methods."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "StreamSecrets": grpc.stream_stream_rpc_method_handler(
                    self._sotw, request_deserializer=discovery_pb2.DiscoveryRequest.FromString
                ),
                "DeltaSecrets": grpc.stream_stream_rpc_method_handler(
                    self._delta, request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString
                ),
            },
        )

    async def _sotw(self, requests: AsyncIterator[Any], context: Context) -> None:
        await self._converse(requests, context, SotwStream({}, (SECRET,)))

    async def _delta(self, requests: AsyncIterator[Any], context: Context) -> None:
        await self._converse(requests, context, DeltaStream({}, (SECRET,)))

    async def _converse(self, requests: AsyncIterator[Any], context: Context, stream: SotwStream | DeltaStream) -> None:
        """Feed the machine with requests and identities, one at a time; send what it answers.

        Before there is an identity nothing is answered, and the client waits: an empty answer would mean that the
        secrets do not exist.
        """
        sender = _Sender(context)
        async for identity in self._identity.watch():
            stream.update(secrets_of(identity))
            break
        with self._holders.holding(stream):
            async with asyncio.TaskGroup() as group:
                follower = group.create_task(self._follow(stream, sender))
                try:
                    async for request in requests:
                        answers = _receive(stream, request)
                        self._holders.look()
                        await sender.send(answers)
                except RemoteProtocolError as error:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
                finally:
                    follower.cancel()

    async def _follow(self, stream: SotwStream | DeltaStream, sender: _Sender) -> None:
        async for identity in self._identity.watch():
            await sender.send(stream.update(secrets_of(identity)))


class _Sender:
    """Writes responses in the order in which the machine gave them, whoever asked it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = asyncio.Lock()  # fair: first come, first served

    async def send(self, responses: list[bytes]) -> None:
        async with self._lock:
            for response in responses:
                await self._context.write(response)


def _receive(stream: Any, request: Any) -> list[bytes]:
    if request.HasField("error_detail"):
        log.warning("a secret was refused", extra={"reason": request.error_detail.message[:500]})
    answers: list[bytes] = stream.receive(request)
    return answers


def _as_spiffe(bundle: TrustBundle, roots: bytes) -> extension_pb2.TypedExtensionConfig:
    """Return what makes Envoy judge a peer by SPIFFE's rules, and not only by X.509's: no leaf may sign others."""
    domain = spiffe_pb2.SPIFFECertValidatorConfig.TrustDomain(
        name=bundle.trust_domain, trust_bundle=base_pb2.DataSource(inline_bytes=roots)
    )
    config = spiffe_pb2.SPIFFECertValidatorConfig(trust_domains=[domain])
    return extension_pb2.TypedExtensionConfig(name="envoy.tls.cert_validator.spiffe", typed_config=packed(config))


def _resource(name: str, version: str, secret: secret_pb2.Secret) -> Resource:
    return Resource(SECRET, name, version, packed(secret).SerializeToString(deterministic=True))
