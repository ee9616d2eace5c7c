"""The verdict on a peer: from the certificates of a TLS handshake to a proven SPIFFE ID, or an IdentityError.

The order: leaf opened, leaf's rules (leaf.py), trust domain of the leaf chooses the bundle, issuers (chain.py),
signature, dates of all, revocation, and last whether it is one of the identities we wanted to talk to. Nothing here
returns a bool: what comes back is the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.certificate import OpenedCertificate, open_certificate, refuse, require_in_force
from mesh.spiffe.chain import MAX_CHAIN, IssuerPath, prove_issuers, require_signed_by
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.leaf import require_leaf

MAX_KNOWN_PATHS = 64


@dataclass(frozen=True, slots=True)
class VerifiedPeer:
    """Who is at the other end, proven. After `not_after` (the earliest of the chain) it is nobody again."""

    spiffe_id: SpiffeId
    not_after: datetime
    serial: int


@dataclass(slots=True)
class PeerVerifier:
    """Verifies peers against one bundle and remembers which intermediates that bundle vouches for.

    What is remembered are signatures and constraints of issuers, which never change for the same bytes and the same
    bundle. Dates are checked each time. A new bundle means a new PeerVerifier.
    """

    bundle: TrustBundle
    _known_paths: dict[tuple[bytes, ...], IssuerPath] = field(default_factory=dict, repr=False)
    _root_ders: frozenset[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._root_ders = frozenset(self.bundle.to_ders())

    def verify(
        self, chain_der: Sequence[bytes], *, now: datetime, expected: frozenset[str] | None = None
    ) -> VerifiedPeer:
        """Prove who the peer is; see `verify_peer`."""
        if not 1 <= len(chain_der) <= MAX_CHAIN:
            raise refuse("chain", f"{len(chain_der)} certificates, 1 to {MAX_CHAIN} are allowed")
        leaf = open_certificate("leaf", chain_der[0])
        identity = require_leaf(leaf)
        if identity.trust_domain != self.bundle.trust_domain:
            raise refuse("leaf", f"{identity} is of another trust domain than {self.bundle.trust_domain}")
        require_in_force(leaf, now)
        path = self._issuers_of(leaf, chain_der)
        require_signed_by(leaf, path.issuers[0])
        path.require_in_force(now)
        if leaf.fingerprint in self.bundle.revoked:
            raise refuse("leaf", "revoked")
        if expected is not None and str(identity) not in expected:
            raise refuse("leaf", f"proves {identity}, expected {' or '.join(sorted(expected)) or 'nobody'}")
        not_after = min(leaf.not_after, *(issuer.not_after for issuer in path.issuers))
        return VerifiedPeer(identity, not_after, leaf.certificate.serial_number)

    def _issuers_of(self, leaf: OpenedCertificate, chain_der: Sequence[bytes]) -> IssuerPath:
        intermediates = self._without_own_root(chain_der)
        path = self._known_paths.get(intermediates) if intermediates else None
        if path is None:
            path = prove_issuers(leaf, intermediates, self.bundle)
            if intermediates:
                if len(self._known_paths) >= MAX_KNOWN_PATHS:
                    self._known_paths.clear()
                self._known_paths[intermediates] = path
        return path

    def _without_own_root(self, chain_der: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return the intermediates; a root at the end is dropped when the bundle has the very same one."""
        intermediates = tuple(chain_der[1:])
        if intermediates and intermediates[-1] in self._root_ders:
            return intermediates[:-1]
        return intermediates


def verify_peer(
    chain_der: Sequence[bytes], bundle: TrustBundle, *, now: datetime, expected: frozenset[str] | None = None
) -> VerifiedPeer:
    """Prove who the peer is, without remembering anything.

    Args:
        chain_der: as presented in the handshake: leaf, then its issuer, then that one's.
        bundle: the roots of the trust domain that peers have to belong to.
        now: aware; an expired certificate is refused in the second after its end.
        expected: SPIFFE IDs that are welcome; None for anybody of the trust domain.

    Raises:
        IdentityError: not proven; the message names the certificate and the fault.

    Source: X509-SVID.md section 5; RFC 5280 section 6.
    """
    return PeerVerifier(bundle).verify(chain_der, now=now, expected=expected)
