"""Connections to the control plane: one for joining, one with our own certificate, rebuilt at every renewal.

Make before break: the channel with the new certificate is announced first; whoever talks over the old one moves
over when the new one has answered, and only then is the old one closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import grpc
from grpc import aio

from mesh.agent.latest import Latest
from mesh.agent.settings import AgentSettings
from mesh.api.rpc import MAX_MESSAGE_BYTES
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.svid import X509Svid

log = logging.getLogger(__name__)

RETIRE_AFTER_S = 15.0
MAX_RETIRED = 4  # with lives of seconds, the oldest goes at once


def join_channel(settings: AgentSettings, roots_pem: bytes) -> aio.Channel:
    """Return a channel that proves the control plane to us and nothing of us: the token in the call does that."""
    credentials = grpc.ssl_channel_credentials(root_certificates=roots_pem)
    return aio.secure_channel(settings.control_plane.join_target, credentials, options=_options(settings))


def mutual_channel(settings: AgentSettings, svid: X509Svid, bundle: TrustBundle) -> aio.Channel:
    """Return a channel on which both sides prove themselves."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=bundle.to_pem(), private_key=svid.key_pem(), certificate_chain=svid.chain_pem()
    )
    return aio.secure_channel(settings.control_plane.grpc_target, credentials, options=_options(settings))


class ChannelKeeper:
    """Owns the mutual channels: the newest is in `channels`, older ones are closed when nobody can need them."""

    def __init__(self, settings: AgentSettings, channels: Latest[aio.Channel]) -> None:
        self._settings = settings
        self._channels = channels
        self._retired: deque[tuple[float, aio.Channel]] = deque()

    async def renew(self, svid: X509Svid, bundle: TrustBundle) -> None:
        """Announce a channel for a new identity; close what was retired long ago."""
        now = asyncio.get_running_loop().time()
        if older := self._channels.peek():
            self._retired.append((now, older))
        self._channels.set(mutual_channel(self._settings, svid, bundle))
        while self._retired and (now - self._retired[0][0] > RETIRE_AFTER_S or len(self._retired) > MAX_RETIRED):
            await self._retired.popleft()[1].close()

    async def close(self) -> None:
        """Close all of them."""
        current = self._channels.peek()
        for channel in (*(channel for _, channel in self._retired), *([current] if current else [])):
            await channel.close()
        self._retired.clear()


def _options(settings: AgentSettings) -> list[tuple[str, str | int]]:
    return [
        # The certificate names the control plane, not its address, which may change.
        ("grpc.ssl_target_name_override", settings.control_plane.server_name),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 5_000),  # how long one attempt may take, whatever its name says
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.use_local_subchannel_pool", 1),  # else two channels share a connection, and with it a certificate
        ("grpc.enable_http_proxy", 0),
    ]
