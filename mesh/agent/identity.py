"""The host's identity: a key made in memory, a certificate bought with a token once and renewed ever after.

The key never leaves this process but through the agent's unix socket. It is replaced at every renewal, so a stolen
key is worth at most one certificate's life. Key and chain change together: `Identity` is one value. An agent that
starts again has no key; it comes back with a rejoin secret (`mesh.agent.rejoin`), which each certificate renews.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from grpc import aio

from mesh.agent.channel import join_channel
from mesh.agent.latest import Latest
from mesh.agent.rejoin import RejoinSecrets
from mesh.agent.renewal import RenewalSchedule
from mesh.agent.roots_file import roots_for_join
from mesh.agent.settings import AgentSettings
from mesh.api import rpc
from mesh.base.clock import Clock
from mesh.base.errors import ConfigError, IdentityError, MeshError, Position
from mesh.ca.csr import make_csr
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.svid import X509Svid
from mesh.spiffe.verify import verify_peer
from mesh.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 10.0
MAX_SLEEP_S = 60.0  # looked at again at least this often, so that a clock that jumps is noticed
MAX_TOKEN_BYTES = 4096
DECIDED = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT})
CONNECTING = frozenset({grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING})


@dataclass(frozen=True, slots=True)
class Identity:
    """What this host can prove and whom it believes; one value, replaced whole."""

    svid: X509Svid
    bundle: TrustBundle


class IdentityKeeper:
    """Gets the identity, renews it, and tells everybody who watches `identity`."""

    def __init__(
        self,
        settings: AgentSettings,
        service: str,
        identity: Latest[Identity],
        channels: Latest[aio.Channel],
        *,
        clock: Clock,
        rng: Random,
        metrics: Metrics,
    ) -> None:
        self.expected = SpiffeId.for_service(settings.trust_domain, settings.namespace, service)
        self.schedule = RenewalSchedule(rng, now=clock.utcnow())
        self._settings = settings
        self._service = service
        self._identity = identity
        self._channels = channels
        self._clock = clock
        self._metrics = metrics
        self._secrets = RejoinSecrets(settings.state_dir)
        self._hurried = asyncio.Event()
        self.last_error = "has not asked yet"

    async def run(self) -> None:
        """Ask whenever the schedule says so, until cancelled."""
        await asyncio.to_thread(self._secrets.load)
        while True:
            if self.schedule.tick(now=self._clock.utcnow()):
                await self._ask()
            self._hurried.clear()
            wait_s = (self.schedule.next_at - self._clock.utcnow()).total_seconds()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(wait_s, 0.0), MAX_SLEEP_S)):
                    await self._hurried.wait()

    def hurry(self, within_s: float) -> None:
        """Renew within so many seconds: the root above our certificate is on its way out."""
        self.schedule.hurry(within_s, now=self._clock.utcnow())
        self._hurried.set()

    async def _ask(self) -> None:
        # The key of one attempt; a refused or lost answer wastes it, which costs nothing.
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            is_renewal = self._can_renew
            issued = await self._obtain(key)
            now = self._clock.utcnow()
            identity = read_issued(issued, key, self._settings.trust_domain, self.expected, now=now)
            if is_renewal:
                identity = with_roots_of(self._identity.get(), identity, now=now)
        except (aio.AioRpcError, MeshError, OSError) as error:
            self.last_error = _describe(error)
            self._metrics.counter("mesh_svid_renewals_total", "failed").value += 1
            self.schedule.failed(now=self._clock.utcnow())
            log.warning("no certificate", extra={"reason": self.last_error, "state": self.schedule.state})
            return
        self.schedule.issued(identity.svid.not_after, now=self._clock.utcnow())
        self._metrics.counter("mesh_svid_renewals_total", "issued").value += 1
        self._metrics.gauge("mesh_svid_not_after_seconds").value = identity.svid.not_after.timestamp()
        self._identity.set(identity)
        self.last_error = ""
        log.info("certificate held", extra=describe(identity))

    @property
    def _can_renew(self) -> bool:
        """Say whether our certificate still opens the mutual TLS port."""
        held = self._identity.peek()
        return held is not None and self._clock.utcnow() < held.svid.not_after

    async def _obtain(self, key: ec.EllipticCurvePrivateKey) -> Any:
        """Get a certificate: with a token, if an operator left one; else with the certificate held, or a secret."""
        has_another, token = self._can_renew or bool(self._secrets.held), ""
        try:
            token = await asyncio.to_thread(_read_token, self._settings.token_file)
            if token or not has_another:
                return await self._join(key, token)
        except (aio.AioRpcError, MeshError, OSError) as error:
            if not has_another:
                raise
            if token:  # a token that is no good must not cost what needs none
                log.warning("the join token bought nothing, trying without", extra={"reason": _describe(error)})
        return await (self._sign(key) if self._can_renew else self._rejoin(key))

    async def _join(self, key: ec.EllipticCurvePrivateKey, token: str) -> Any:
        async with join_channel(self._settings, await self._roots()) as channel:
            try:
                following = await asyncio.to_thread(self._secrets.prepare)
            except OSError as error:
                following = ""
                log.warning("a restart will need a token: no secret can be kept", extra={"reason": str(error)})
            request = self._request(key, token=token, next_rejoin_digest=following)
            issued = await self._call(rpc.JOIN, channel, request)
        await asyncio.to_thread(_discard_token, self._settings.token_file)
        return issued

    async def _rejoin(self, key: ec.EllipticCurvePrivateKey) -> Any:
        """Present what is held, newest first; only "unknown" leads to the next, for anything else is an answer."""
        async with join_channel(self._settings, await self._roots()) as channel:
            following = await asyncio.to_thread(self._secrets.prepare)
            for secret in self._secrets.held:
                request = self._request(key, rejoin_secret=secret, next_rejoin_digest=following)
                try:
                    return await self._call(rpc.JOIN, channel, request)
                except aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.NOT_FOUND:
                        raise
        raise IdentityError("rejoining: the control plane knows no secret of this host, right would be a join token")

    async def _sign(self, key: ec.EllipticCurvePrivateKey) -> Any:
        request = rpc.SignRequest(csr_der=make_csr(key))
        try:
            request.next_rejoin_digest = await asyncio.to_thread(self._secrets.prepare)
        except OSError as error:
            log.warning("the rejoin secret is not renewed", extra={"reason": str(error)})
        return await self._call(rpc.SIGN, self._channels.get(), request)

    async def _call(self, method: rpc.Method, channel: aio.Channel, request: Any) -> Any:
        """Make one call; note what became of the secret that it named."""
        is_connected = await _is_connected(channel)
        try:
            issued = await method.on(channel)(request, timeout=CALL_TIMEOUT_S)
        except aio.AioRpcError as error:
            if error.code() not in DECIDED and (is_connected or error.code() is not grpc.StatusCode.UNAVAILABLE):
                self._secrets.unsure()
            raise
        if request.next_rejoin_digest:
            with suppress(OSError):
                await asyncio.to_thread(self._secrets.accepted)
        return issued

    def _request(self, key: ec.EllipticCurvePrivateKey, **fields: str) -> Any:
        return rpc.JoinRequest(host=self._settings.host, service=self._service, csr_der=make_csr(key), **fields)

    async def _roots(self) -> bytes:
        roots = await asyncio.to_thread(roots_for_join, self._settings)
        TrustBundle.from_pem(self._settings.trust_domain, roots)  # a broken file is named here, not inside a handshake
        return roots


def read_issued(
    issued: Any, key: ec.EllipticCurvePrivateKey, trust_domain: str, expected: SpiffeId, *, now: datetime
) -> Identity:
    """Check what a control plane issued before anybody uses it: our key, our name, a chain that the bundle proves.

    Raises:
        IdentityError: it is for another key or another name, or peers would not believe it.
    """
    bundle = TrustBundle.from_der(trust_domain, tuple(issued.roots_der))
    svid = X509Svid.from_der(tuple(issued.chain_der), key)
    verify_peer(tuple(issued.chain_der), bundle, now=now, expected=frozenset({str(expected)}))
    return Identity(svid, bundle)


def with_roots_of(held: Identity, fresh: Identity, *, now: datetime) -> Identity:
    """Return a renewed identity with the roots held before, if they prove it; else with those that came with it.

    Roots have a conversation of their own. An answer that was on its way while they changed would turn them back.
    """
    try:
        verify_peer([each.public_bytes(Encoding.DER) for each in fresh.svid.chain], held.bundle, now=now)
    except IdentityError:
        return fresh
    return Identity(fresh.svid, held.bundle)


def describe(identity: Identity) -> dict[str, str]:
    """Return what a log line may say of an identity."""
    return {
        "spiffe_id": str(identity.svid.spiffe_id),
        "serial": f"{identity.svid.serial:x}",
        "not_after": identity.svid.not_after.isoformat(),
    }


def _read_token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TOKEN_BYTES).decode("ascii").strip()
    except OSError as error:
        raise ConfigError(
            f"reading the join token: {error.strerror}",
            Position(str(path)),
            right="mesh token create, put into this file",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("reading the join token: it is not ASCII", Position(str(path))) from error


async def _is_connected(channel: aio.Channel) -> bool:
    """Wait until a channel is connected or has failed to; what is called on one that failed was never sent."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CALL_TIMEOUT_S):
            while (state := channel.get_state(try_to_connect=True)) in CONNECTING:
                await channel.wait_for_state_change(state)
    return bool(channel.get_state() is grpc.ChannelConnectivity.READY)


def _discard_token(path: Path) -> None:
    """Remove the token: it is used up, and what nobody needs nobody should find.

    A failure does not cost the certificate that the token has just bought: in a directory that is not ours the file
    is emptied in place of removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError:
        try:
            path.write_bytes(b"")
        except OSError as error:
            log.warning("the used join token could not be removed", extra={"path": str(path), "reason": str(error)})


def _describe(error: Exception) -> str:
    if isinstance(error, aio.AioRpcError):
        code: grpc.StatusCode = error.code()
        return f"{code.name}: {error.details()}"
    return str(error)
