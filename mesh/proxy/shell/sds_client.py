"""SDS from the agent's unix socket: certificate, key and roots, taken over as a pair.

With the agent gone, the last pair stays in use until it expires by its own clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import DecodeError
from grpc import aio

from mesh.base.errors import IdentityError
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.shell.streams import CHANNEL_OPTIONS, Backoff, DiscoveryStream, said
from mesh.xds.build.tls import OWN_CERTIFICATE, TRUST_BUNDLE
from mesh.xds.client.delta import DeltaClient
from mesh.xds.client.held import Update, client_node
from mesh.xds.client.sotw import SotwClient
from mesh.xds.types import SECRET

log = logging.getLogger("mesh.sidecar")

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
METHODS = ("DeltaSecrets", "StreamSecrets")


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """A pair as the agent gave it, and the identity made of it. The key is needed again for the gRPC channel."""

    identity: Identity
    chain_pem: bytes
    key_pem: bytes
    roots_pem: bytes


class SdsClient:
    """Keeps the pair current.

    Args:
        socket_path: of the agent.
        node: (host, service, datacenter).
        is_delta: incremental or state of the world.
        rng: jitter of reconnects.
        on_secrets: takes each new pair.
    """

    def __init__(
        self,
        socket_path: str,
        node: tuple[str, str, str],
        *,
        is_delta: bool,
        rng: Random,
        on_secrets: Callable[[Secrets], None],
    ) -> None:
        self._target = f"unix:{socket_path}"
        self._client = (DeltaClient if is_delta else SotwClient)(client_node(*node))
        self._client.watch(SECRET, {OWN_CERTIFICATE, TRUST_BUNDLE})
        self._backoff = Backoff(rng)
        self._on_secrets = on_secrets
        self._generation = 0

    async def run(self) -> None:
        """Talk to the agent, for ever."""
        while True:
            async with aio.insecure_channel(self._target, options=CHANNEL_OPTIONS) as channel:
                stream = DiscoveryStream(channel, SERVICE, METHODS, self._client, self._apply, lambda: ())
                try:
                    await stream.run(self._backoff.succeeded)
                    log.warning("the agent ended the secret stream")
                except grpc.RpcError as error:
                    log.warning("the agent is not reachable, keeping the present secrets", extra={"said": said(error)})
            await self._backoff.wait()

    def _apply(self, update: Update) -> None:
        """Take over a pair.

        Raises:
            IdentityError: the two do not fit together; that is a NACK, and the old pair stays.
        """
        held = update.candidate[SECRET]
        if not {OWN_CERTIFICATE, TRUST_BUNDLE} <= held.keys():
            return  # half a pair: the other half is on its way
        own, trust = _secret(held[OWN_CERTIFICATE].body), _secret(held[TRUST_BUNDLE].body)
        chain = own.tls_certificate.certificate_chain.inline_bytes
        key = own.tls_certificate.private_key.inline_bytes
        roots = trust.validation_context.trusted_ca.inline_bytes
        secrets = Secrets(Identity(self._generation + 1, chain, key, roots), chain, key, roots)
        self._generation += 1
        identity = secrets.identity
        log.info("certificate applied", extra={"spiffe_id": identity.spiffe_id, "not_after": str(identity.not_after)})
        self._on_secrets(secrets)


def _secret(body: bytes) -> Any:
    try:
        packed = PackedAny.FromString(body)
        return secret_pb2.Secret.FromString(packed.value)
    except DecodeError as error:
        raise IdentityError("reading a secret: not a Secret message") from error
