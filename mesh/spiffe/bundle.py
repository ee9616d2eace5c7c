"""A trust bundle: the roots that may vouch for one trust domain, and for no other.

It travels as PEM (files, SDS), as DER (the Workload API, our own gRPC) and as a JWK set (the SPIFFE bundle
document, which federation fetches). All three say the same thing.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mesh.base.errors import IdentityError
from mesh.spiffe.id import SpiffeId

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The roots of a trust domain. No root means: nobody of that domain is believed.

    Args:
        trust_domain: whose members these roots vouch for.
        roots: CA certificates, oldest first by habit; order has no meaning.
        revoked: SHA-256 fingerprints of certificates (leaf, intermediate or root) that are no longer believed
            although their signatures hold; not part of any of the three written forms.

    Raises:
        IdentityError: the trust domain is malformed or a root is not a CA certificate.
    """

    trust_domain: str
    roots: tuple[x509.Certificate, ...]
    revoked: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        SpiffeId(self.trust_domain)
        object.__setattr__(self, "roots", tuple(dict.fromkeys(self.roots)))
        for root in self.roots:
            _require_ca(root, self.trust_domain)

    @classmethod
    def from_pem(cls, trust_domain: str, pem: bytes) -> TrustBundle:
        """Read a PEM file of one or more roots.

        Raises:
            IdentityError: no certificate in it, or one that does not parse.
        """
        try:
            return cls(trust_domain, tuple(x509.load_pem_x509_certificates(pem)))
        except ValueError as error:
            raise IdentityError(f"reading the bundle of {trust_domain}: no PEM certificates: {error}") from error

    @classmethod
    def from_der(cls, trust_domain: str, ders: Iterable[bytes]) -> TrustBundle:
        """Read roots in DER, one each.

        Raises:
            IdentityError: one does not parse.
        """
        try:
            return cls(trust_domain, tuple(x509.load_der_x509_certificate(der) for der in ders))
        except ValueError as error:
            raise IdentityError(f"reading the bundle of {trust_domain}: malformed DER: {error}") from error

    @classmethod
    def from_jwks(cls, trust_domain: str, document: str | bytes) -> TrustBundle:
        """Read a SPIFFE bundle document.

        Entries of another use, and entries without `x5c`, are ignored; of an `x5c` only the first certificate counts.

        Raises:
            IdentityError: not a JWK set.

        Source: SPIFFE_Trust_Domain_and_Bundle.md section 4, X509-SVID.md section 6.
        """
        try:
            keys = json.loads(document)["keys"]
            ders = [_jwk_certificate(key) for key in keys if key.get("use") == "x509-svid" and key.get("x5c")]
        except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
            raise IdentityError(f"reading the bundle of {trust_domain}: not a JWK set: {error}") from error
        return cls.from_der(trust_domain, ders)

    def to_pem(self) -> bytes:
        """Write the roots as PEM, one after the other."""
        return b"".join(root.public_bytes(Encoding.PEM) for root in self.roots)

    def to_ders(self) -> tuple[bytes, ...]:
        """Write the roots as DER, one each (our own gRPC)."""
        return tuple(root.public_bytes(Encoding.DER) for root in self.roots)

    def to_der(self) -> bytes:
        """Write the roots as one run of DER, as the Workload API wants them."""
        return b"".join(self.to_ders())

    @property
    def digest(self) -> str:
        """Return what says in 64 characters which roots these are, in whatever order: to acknowledge a bundle by."""
        return sha256(b"".join(sorted(sha256(der).digest() for der in self.to_ders()))).hexdigest()

    def to_jwks(self, *, sequence: int = 0, refresh_hint_s: int = 300) -> str:
        """Write the SPIFFE bundle document, as JSON text."""
        keys = [_jwk(root) for root in self.roots]
        return json.dumps({"keys": keys, "spiffe_sequence": sequence, "spiffe_refresh_hint": refresh_hint_s})


def _require_ca(root: x509.Certificate, trust_domain: str) -> None:
    try:
        is_ca = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        is_ca = False
    if not is_ca:
        name = root.subject.rfc4514_string()
        raise IdentityError(f"reading the bundle of {trust_domain}: {name!r} is not a CA certificate (cA is not true)")


def _jwk_certificate(key: Mapping[str, Any]) -> bytes:
    return base64.b64decode(key["x5c"][0], validate=True)


def _jwk(root: x509.Certificate) -> dict[str, Any]:
    der = base64.b64encode(root.public_bytes(Encoding.DER)).decode()
    return {"use": "x509-svid", **_jwk_public_key(root), "x5c": [der]}


def _jwk_public_key(root: x509.Certificate) -> dict[str, str]:
    """Write the public key as RFC 7518 section 6 (and RFC 8037 for Ed25519) has it."""
    key = root.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        point, width = key.public_numbers(), (key.key_size + 7) // 8
        return {
            "kty": "EC", "crv": _CURVES[key.curve.name], "x": _number(point.x, width), "y": _number(point.y, width),
        }  # fmt: skip
    if isinstance(key, rsa.RSAPublicKey):
        rsa_numbers = key.public_numbers()
        return {"kty": "RSA", "n": _number(rsa_numbers.n), "e": _number(rsa_numbers.e)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    raise IdentityError(f"writing a bundle document: a root has a key of an unusual kind, {type(key).__name__}")


def _number(value: int, width: int = 0) -> str:
    return _base64url(value.to_bytes(width or (value.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
