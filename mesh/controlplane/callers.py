"""Who is calling? From the certificate of the connection to a host and a service, or a refusal.

gRPC has let the connection in because its chain reaches our root; that is not enough. Each call is verified here by
the rules every sidecar uses, and the serial number must be one that this control plane gave out, because that is
how the *host* of a caller is known: the SPIFFE ID only names the service.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mesh.base.clock import Clock
from mesh.base.errors import IdentityError
from mesh.controlplane.errors import ExpiredError
from mesh.controlplane.state import MeshState
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.verify import PeerVerifier

log = logging.getLogger("mesh.controlplane.callers")


@dataclass(frozen=True, slots=True)
class Caller:
    """A proven caller. After `not_after` it is nobody again."""

    spiffe_id: str
    service: str
    host: str
    datacenter: str
    address: str
    not_after: datetime
    serial: int = 0
    chain_der: tuple[bytes, ...] = ()


class Callers:
    """Proves who a gRPC call comes from."""

    def __init__(self, state: MeshState, bundle: TrustBundle, clock: Clock) -> None:
        self._state = state
        self._verifier = PeerVerifier(bundle)
        self._clock = clock
        self._seen_from: dict[int, str] = {}
        self._open: dict[asyncio.Timeout, Caller] = {}

    def trust(self, bundle: TrustBundle) -> None:
        """Believe the roots of another bundle from now on; streams of callers whom it does not prove end."""
        self._verifier = PeerVerifier(bundle)
        for timeout, caller in tuple(self._open.items()):
            if not timeout.expired() and not self._is_proven(caller):
                timeout.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def while_proven(self, caller: Caller) -> AsyncIterator[None]:
        """Run a stream's body no longer than its caller's certificate is valid and its root is trusted.

        Raises:
            ExpiredError: it is over.
        """
        left_s = (caller.not_after - self._clock.utcnow()).total_seconds()
        try:
            async with asyncio.timeout(max(left_s, 0.0)) as timeout:
                self._open[timeout] = caller
                try:
                    yield
                finally:
                    del self._open[timeout]
        except TimeoutError:
            raise ExpiredError(
                "serving a stream: the certificate that opened it has expired or its root is no longer trusted, "
                "open it anew"
            ) from None

    def require(self, context: Any) -> Caller:
        """Return the proven caller of a call.

        Raises:
            IdentityError: no certificate, one that does not verify, or one whose serial number we do not know.
        """
        chain = self._chain(context)
        peer = self._verifier.verify(chain, now=self._clock.utcnow())
        issued = self._state.issued.get(peer.serial)
        if issued is None or issued.service != peer.spiffe_id.service:
            raise IdentityError(f"verifying a caller: {peer.spiffe_id} has a certificate that was not issued here")
        address = peer_address(context.peer())
        self._watch_for_copies(peer.serial, address, issued.host)
        return Caller(
            spiffe_id=str(peer.spiffe_id),
            service=issued.service,
            host=issued.host,
            datacenter=issued.datacenter,
            address=address,
            not_after=peer.not_after,
            serial=peer.serial,
            chain_der=chain,
        )

    def _is_proven(self, caller: Caller) -> bool:
        try:
            self._verifier.verify(caller.chain_der, now=self._clock.utcnow())
        except IdentityError:
            return False
        return True

    def _watch_for_copies(self, serial: int, address: str, host: str) -> None:
        """Raise an alarm when one certificate calls from two addresses: its key may have been copied."""
        before = self._seen_from.setdefault(serial, address)
        if before != address:
            self._seen_from[serial] = address
            log.warning("one certificate calls from two addresses", extra={"host": host, "from": [before, address]})
        if len(self._seen_from) > 2 * len(self._state.issued):
            self._seen_from = {known: seen for known, seen in self._seen_from.items() if known in self._state.issued}

    def _chain(self, context: Any) -> tuple[bytes, ...]:
        """Return the peer's certificates as DER, leaf first.

        gRPC tells a server the leaf and the chain apart, and the chain begins with the leaf on some versions only.
        """
        auth = context.auth_context()
        pems = [*auth.get("x509_pem_cert", ()), *auth.get("x509_pem_cert_chain", ())]
        if not pems:
            raise IdentityError("verifying a caller: the connection has no client certificate")
        try:
            found = [certificate for pem in pems for certificate in x509.load_pem_x509_certificates(pem)]
        except ValueError as error:
            raise IdentityError(f"verifying a caller: malformed certificate: {error}") from error
        return tuple(dict.fromkeys(certificate.public_bytes(Encoding.DER) for certificate in found))


def peer_address(peer: str) -> str:
    """Return the IP address of gRPC's peer string, `ipv4:10.77.1.13:41234`.

    Raises:
        IdentityError: it is not an IPv4 peer.
    """
    family, _, rest = peer.partition(":")
    address, _, port = rest.rpartition(":")
    if family != "ipv4" or not address or not port:
        raise IdentityError(f"reading the address of a caller: {peer!r} is not an IPv4 peer")
    return address
