"""The verdict on a peer: from the certificates of a TLS handshake to a proven SPIFFE ID, or an IdentityError.

The order: leaf opened, leaf's rules (leaf.py), trust domain of the leaf chooses the bundle, issuers (chain.py),
signature, dates of all, revocation, and last whether it is one of the identities we wanted to talk to. Nothing here
returns a bool: what comes back is the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.certificate import OpenedCertificate, open_certificate, refuse, require_in_force
from mesh.spiffe.chain import MAX_CHAIN, IssuerPath, prove_issuers, require_signed_by
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.leaf import require_leaf

_T = TypeVar("_T")

MAX_REMEMBERED = 1024  # chains, and paths of issuers, of one bundle; a mesh has a few hundred leaves and two issuers


@dataclass(frozen=True, slots=True)
class VerifiedPeer:
    """Who is at the other end, proven. After `not_after` (the earliest of the chain) it is nobody again."""

    spiffe_id: SpiffeId
    not_after: datetime
    serial: int


@dataclass(frozen=True, slots=True)
class _ProvenChain:
    """A chain whose rules and signatures hold; its dates are for each use."""

    identity: SpiffeId
    leaf: OpenedCertificate
    path: IssuerPath


@dataclass(slots=True)
class PeerVerifier:
    """Verifies peers against one bundle and remembers what that bundle vouches for.

    What is remembered is what never changes for the same bytes and the same bundle: rules and signatures. Only proven
    chains are remembered, so a stranger cannot fill the memory; dates and `expected` are checked each time. A new
    bundle means a new PeerVerifier. A peer seen before costs microseconds, a new leaf one signature.
    """

    bundle: TrustBundle
    _root_ders: frozenset[bytes] = field(init=False, repr=False)
    _paths: dict[tuple[bytes, ...], IssuerPath] = field(default_factory=dict, repr=False)
    _chains: dict[tuple[bytes, ...], _ProvenChain] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._root_ders = frozenset(self.bundle.to_ders())

    def verify(
        self, chain_der: Sequence[bytes], *, now: datetime, expected: frozenset[str] | None = None
    ) -> VerifiedPeer:
        """Prove who the peer is; see `verify_peer`."""
        presented = tuple(chain_der)
        chain = self._chains.get(presented)
        if chain is None:
            chain = self._prove(presented, now)
            _remember(self._chains, presented, chain)
        identity, leaf = chain.identity, chain.leaf
        require_in_force(leaf, now)
        chain.path.require_in_force(now)
        if expected is not None and str(identity) not in expected:
            raise refuse("leaf", f"proves {identity}, expected {' or '.join(sorted(expected)) or 'nobody'}")
        not_after = min(leaf.not_after, *(issuer.not_after for issuer in chain.path.issuers))
        return VerifiedPeer(identity, not_after, leaf.certificate.serial_number)

    def _prove(self, presented: tuple[bytes, ...], now: datetime) -> _ProvenChain:
        """Check rules and signatures; the leaf's dates too, which saves an expired one its expensive checks."""
        if not 1 <= len(presented) <= MAX_CHAIN:
            raise refuse("chain", f"{len(presented)} certificates, 1 to {MAX_CHAIN} are allowed")
        leaf = open_certificate("leaf", presented[0])
        identity = require_leaf(leaf)
        if identity.trust_domain != self.bundle.trust_domain:
            raise refuse("leaf", f"{identity} is of another trust domain than {self.bundle.trust_domain}")
        require_in_force(leaf, now)
        if leaf.fingerprint in self.bundle.revoked:
            raise refuse("leaf", "revoked")
        intermediates = self._without_own_root(presented[1:])
        path = self._issuers_of(leaf, intermediates)
        if intermediates:  # otherwise the walk began with the leaf itself
            require_signed_by(leaf, path.issuers[0])
        return _ProvenChain(identity, leaf, path)

    def _issuers_of(self, leaf: OpenedCertificate, intermediates: tuple[bytes, ...]) -> IssuerPath:
        path = self._paths.get(intermediates) if intermediates else None
        if path is None:
            path = prove_issuers(leaf, intermediates, self.bundle)
            if intermediates:
                _remember(self._paths, intermediates, path)
        return path

    def _without_own_root(self, issuers: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the intermediates; a root at the end is dropped when the bundle has the very same one."""
        return issuers[:-1] if issuers and issuers[-1] in self._root_ders else issuers


def _remember(memory: dict[tuple[bytes, ...], _T], key: tuple[bytes, ...], value: _T) -> None:
    """Keep a proven thing; a full memory starts again, which costs a signature per peer and nothing else."""
    if len(memory) >= MAX_REMEMBERED:
        memory.clear()
    memory[key] = value


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
