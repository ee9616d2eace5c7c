"""One certificate, opened once: its extensions as values, and the rules that any certificate has to obey.

What is checked here needs no second certificate: that it parses, that its key and signature are strong enough,
that it asks for nothing we do not understand, and its dates. The rules of a leaf are in `leaf.py`, those of issuers
in `chain.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier, SignatureAlgorithmOID

from mesh.base.errors import IdentityError

MAX_CERTIFICATE_BYTES = 16 * 1024
MAX_FAULT_CHARS = 500
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192  # beyond that, checking one signature costs a peer nothing and us milliseconds

# Extensions that the verifier acts upon. Any other one marked critical is a refusal (RFC 5280 section 4.2).
_UNDERSTOOD = frozenset(
    {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE}
    | {ExtensionOID.SUBJECT_ALTERNATIVE_NAME}
    | {ExtensionOID.NAME_CONSTRAINTS}  # refused in words of its own (chain.py, leaf.py)
)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_SIGNATURES = frozenset(
    {SignatureAlgorithmOID.ECDSA_WITH_SHA256, SignatureAlgorithmOID.ECDSA_WITH_SHA384}
    | {SignatureAlgorithmOID.ECDSA_WITH_SHA512, SignatureAlgorithmOID.ED25519}
    | {SignatureAlgorithmOID.RSA_WITH_SHA256, SignatureAlgorithmOID.RSA_WITH_SHA384}
    | {SignatureAlgorithmOID.RSA_WITH_SHA512}
)
_BOTH_PURPOSES = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH})


@dataclass(frozen=True, slots=True)
class OpenedCertificate:
    """A certificate and the extensions that matter; `role` is how messages call it ("leaf", "intermediate 1")."""

    role: str
    certificate: x509.Certificate
    subject: x509.Name
    issuer: x509.Name
    basic_constraints: x509.BasicConstraints | None
    key_usage: x509.KeyUsage | None
    is_key_usage_critical: bool
    purposes: frozenset[ObjectIdentifier] | None
    uris: tuple[str, ...]
    is_san_critical: bool
    has_name_constraints: bool
    not_before: datetime
    not_after: datetime

    @property
    def is_ca(self) -> bool:
        """Say whether basicConstraints has cA true."""
        return self.basic_constraints is not None and self.basic_constraints.ca

    @property
    def fingerprint(self) -> bytes:
        """Return the SHA-256 of the DER, by which a certificate is revoked."""
        return self.certificate.fingerprint(SHA256())


def refuse(role: str, fault: str) -> IdentityError:
    """Make the one kind of error this room raises about certificates; a peer's long names are cut."""
    shown = fault if len(fault) <= MAX_FAULT_CHARS else fault[:MAX_FAULT_CHARS] + "..."
    return IdentityError(f"verifying peer certificate: {role}: {shown}")


def open_certificate(role: str, source: bytes | x509.Certificate) -> OpenedCertificate:
    """Parse a certificate and check what needs neither a clock nor another certificate.

    Args:
        role: what to call it in messages.
        source: DER, or a certificate that was parsed before.

    Raises:
        IdentityError: malformed, too large, weak, or with a critical extension that nobody here understands.
    """
    certificate = _parse(role, source) if isinstance(source, bytes) else source
    try:
        opened = _open(role, certificate)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise refuse(role, f"malformed name, date or extension: {error}") from error
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise refuse(role, f"critical extension {extension.oid.dotted_string} is not understood")
    _require_strong_signature(role, certificate)
    _require_strong_key(role, certificate)
    return opened


def require_in_force(opened: OpenedCertificate, now: datetime) -> None:
    """Check the dates to the second; both ends belong to the validity (RFC 5280 section 4.1.2.5).

    The issuer may backdate; the verifier grants nothing.

    Raises:
        IdentityError: expired, or not valid yet.
    """
    moment = now.replace(microsecond=0)
    if moment > opened.not_after:
        raise refuse(opened.role, f"expired {_utc(opened.not_after)}, now is {_utc(moment)}")
    if moment < opened.not_before:
        raise refuse(opened.role, f"not valid before {_utc(opened.not_before)}, now is {_utc(moment)}")


def require_both_purposes(opened: OpenedCertificate) -> None:
    """Check that extended key usage, where there is one, allows both ends of a TLS connection.

    Raises:
        IdentityError: serverAuth or clientAuth is missing.
    """
    if opened.purposes is not None and not opened.purposes.issuperset(_BOTH_PURPOSES):
        raise refuse(opened.role, "extended key usage lacks serverAuth or clientAuth, it needs both or none at all")


def weakness_of(key: object) -> str | None:
    """Return why a public key is not good enough, in words; None when it is.

    Good are P-256, P-384, P-521, Ed25519, and RSA from 2048 to 8192 bits.
    """
    if isinstance(key, rsa.RSAPublicKey):
        if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return None
        return f"RSA key of {key.key_size} bits, {MIN_RSA_BITS} to {MAX_RSA_BITS} are allowed"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return (
            None if isinstance(key.curve, _CURVES) else f"elliptic curve {key.curve.name} is not P-256, P-384 or P-521"
        )
    if isinstance(key, ed25519.Ed25519PublicKey):
        return None
    return "public key is neither elliptic curve, RSA nor Ed25519"


def _parse(role: str, der: bytes) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise refuse(role, f"{len(der)} bytes, at most {MAX_CERTIFICATE_BYTES} are allowed")
    try:
        certificate = x509.load_der_x509_certificate(der)
        version = certificate.version
    except (ValueError, x509.InvalidVersion) as error:
        raise refuse(role, f"malformed DER: {error}") from error
    if version is not x509.Version.v3:
        raise refuse(role, "X.509 version 1, an X.509-SVID and its issuers are version 3")
    if certificate.serial_number <= 0:
        raise refuse(role, "its serial number is not positive")
    return certificate


def _require_strong_signature(role: str, certificate: x509.Certificate) -> None:
    if certificate.signature_algorithm_oid not in _SIGNATURES:
        name = certificate.signature_algorithm_oid._name
        raise refuse(role, f"signed with {name}, only SHA-256 and stronger (ECDSA, RSA) or Ed25519 are believed")


def _require_strong_key(role: str, certificate: x509.Certificate) -> None:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise refuse(role, f"unusable public key: {error}") from error
    if fault := weakness_of(key):
        raise refuse(role, fault)


def _open(role: str, certificate: x509.Certificate) -> OpenedCertificate:
    """Read every part that is looked at later: the library parses lazily, and so complains late.

    Raises:
        ValueError, DuplicateExtension, UnsupportedGeneralNameType: as the library does.
    """
    found = {type(extension.value): extension for extension in certificate.extensions}
    basic, usage = found.get(x509.BasicConstraints), found.get(x509.KeyUsage)
    purposes, san = found.get(x509.ExtendedKeyUsage), found.get(x509.SubjectAlternativeName)
    return OpenedCertificate(
        role=role,
        certificate=certificate,
        subject=certificate.subject,
        issuer=certificate.issuer,
        basic_constraints=basic and cast(x509.BasicConstraints, basic.value),
        key_usage=usage and cast(x509.KeyUsage, usage.value),
        is_key_usage_critical=usage is not None and usage.critical,
        purposes=purposes and frozenset(cast(x509.ExtendedKeyUsage, purposes.value)),
        uris=_uris(cast(x509.SubjectAlternativeName, san.value)) if san else (),
        is_san_critical=san is not None and san.critical,
        has_name_constraints=x509.NameConstraints in found,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _uris(san: x509.SubjectAlternativeName) -> tuple[str, ...]:
    return tuple(san.get_values_for_type(x509.UniformResourceIdentifier))


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
