"""Identities as an agent holds them, issued by an authority made on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from mesh.agent.identity import Identity
from mesh.ca.authority import SigningCa, make_intermediate, make_root
from mesh.ca.csr import make_csr
from mesh.ca.sign import sign_leaf
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.svid import X509Svid

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TRUST_DOMAIN = "dominos.internal"
PAYMENT = SpiffeId.for_service(TRUST_DOMAIN, "production", "payment-service")


@dataclass(frozen=True)
class Issuer:
    """A root and an intermediate that issue to whom they are told."""

    root: SigningCa
    intermediate: SigningCa

    @classmethod
    def fresh(cls) -> Issuer:
        root = make_root(TRUST_DOMAIN, now=NOW, ttl=timedelta(days=30))
        return cls(root, make_intermediate(root, "east", now=NOW, ttl=timedelta(days=10)))

    def chain(self, key: ec.EllipticCurvePrivateKey, who: SpiffeId = PAYMENT) -> tuple[bytes, ...]:
        return sign_leaf(make_csr(key), who, self.intermediate, now=NOW, ttl=timedelta(hours=24))

    @property
    def bundle(self) -> TrustBundle:
        return TrustBundle.from_der(TRUST_DOMAIN, (self.root.certificate_der(),))

    def identity(self, who: SpiffeId = PAYMENT) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        return Identity(X509Svid.from_der(self.chain(key, who), key), self.bundle)
