"""The signing certificates: one root for the trust domain, one intermediate per datacenter.

    root (pathLen 1)  ->  intermediate of "east" (pathLen 0)  ->  leaves of hosts in east
                      ->  intermediate of "west" (pathLen 0)  ->  leaves of hosts in west

Keys are P-256. A `SigningCa` is a certificate and its key as values; the control plane's store keeps them in files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from mesh.base.errors import IdentityError, LocalProtocolError
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.id import SpiffeId

BACKDATE = timedelta(seconds=60)  # clocks of hosts differ; the verifier grants nothing, so the issuer does


@dataclass(frozen=True, slots=True)
class SigningCa:
    """A signing certificate with its key. The key stays out of `repr`.

    Raises:
        LocalProtocolError: the key is not the certificate's, as after a mix-up of files.
    """

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        if self.certificate.public_key() != self.private_key.public_key():
            raise LocalProtocolError(f"loading the authority {self.name!r}: key and certificate do not belong together")

    @classmethod
    def from_pem(cls, certificate_pem: bytes, key_pem: bytes) -> SigningCa:
        """Read what `certificate_pem` and `key_pem` wrote.

        Raises:
            LocalProtocolError: either does not parse, the key is not elliptic curve, or they do not belong together.
        """
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError) as error:
            raise LocalProtocolError(f"loading an authority: certificate or key is malformed: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise LocalProtocolError("loading an authority: the key is not an elliptic curve key")
        return cls(certificate, key)

    @property
    def name(self) -> str:
        """Return the subject as text."""
        return self.certificate.subject.rfc4514_string()

    @property
    def not_before(self) -> datetime:
        """Return when it begins to be valid."""
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """Return when it expires."""
        return self.certificate.not_valid_after_utc

    @property
    def trust_domain(self) -> str:
        """Return the trust domain that the certificate names, as every authority of ours does.

        Raises:
            LocalProtocolError: it names none.
        """
        try:
            names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            raise LocalProtocolError(f"reading the authority {self.name!r}: it names no trust domain") from None
        return SpiffeId.parse(names.get_values_for_type(x509.UniformResourceIdentifier)[0]).trust_domain

    def certificate_der(self) -> bytes:
        """Write the certificate as DER."""
        return self.certificate.public_bytes(Encoding.DER)

    def certificate_pem(self) -> bytes:
        """Write the certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        """Write the key as unencrypted PKCS#8 PEM; the store keeps it in a file of mode 0600."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True, slots=True)
class Authority:
    """Everything that signs in one trust domain; intermediates by datacenter.

    `also_trusted` are roots that do not sign and are believed all the same: a successor before it signs, a predecessor
    until the last leaf below it is gone.
    """

    trust_domain: str
    root: SigningCa
    intermediates: Mapping[str, SigningCa]
    also_trusted: tuple[x509.Certificate, ...] = ()

    @property
    def bundle(self) -> TrustBundle:
        """Return what the members of the trust domain have to know: every root that is believed, oldest first."""
        roots = sorted((self.root.certificate, *self.also_trusted), key=lambda root: root.not_valid_before_utc)
        return TrustBundle(self.trust_domain, tuple(roots))

    @property
    def not_before(self) -> datetime:
        """Return when its root begins to be valid."""
        return self.root.not_before

    @property
    def not_after(self) -> datetime:
        """Return when its root expires, and with it everything below."""
        return self.root.not_after

    def intermediate(self, datacenter: str) -> SigningCa:
        """Return the intermediate that signs for hosts of a datacenter.

        Raises:
            IdentityError: there is none.
        """
        if datacenter not in self.intermediates:
            raise IdentityError(f"choosing an authority: datacenter {datacenter!r} has no intermediate")
        return self.intermediates[datacenter]


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key from the operating system's randomness."""
    return ec.generate_private_key(ec.SECP256R1())


def make_root(trust_domain: str, *, now: datetime, ttl: timedelta) -> SigningCa:
    """Make the root of a trust domain: self-signed, pathLen 1 (intermediates, then leaves).

    Raises:
        IdentityError: the trust domain is malformed.
    """
    key = new_key()
    subject = _name(trust_domain, "root", key)
    builder = _ca_builder(trust_domain, key, subject, issuer=subject, path_length=1)
    builder = builder.not_valid_before(now - BACKDATE).not_valid_after(now + ttl)
    builder = builder.add_extension(_authority_key_id(key.public_key()), critical=False)
    return SigningCa(builder.sign(key, SHA256()), key)


def make_intermediate(root: SigningCa, datacenter: str, *, now: datetime, ttl: timedelta) -> SigningCa:
    """Make the intermediate of a datacenter: pathLen 0, never longer valid than the root.

    Raises:
        LocalProtocolError: the root is not in force.
    """
    require_in_force(root, now)
    key, trust_domain = new_key(), root.trust_domain
    subject = _name(trust_domain, f"intermediate {datacenter}", key)
    builder = _ca_builder(trust_domain, key, subject, issuer=root.certificate.subject, path_length=0)
    builder = builder.not_valid_before(max(now - BACKDATE, root.not_before))
    builder = builder.not_valid_after(min(now + ttl, root.not_after))
    builder = builder.add_extension(_authority_key_id(root.private_key.public_key()), critical=False)
    return SigningCa(builder.sign(root.private_key, SHA256()), key)


def require_in_force(ca: SigningCa, now: datetime) -> None:
    """Check that an authority may sign now.

    Raises:
        LocalProtocolError: it is expired or not valid yet; nobody would believe what it signs.
    """
    if not ca.not_before <= now < ca.not_after:
        raise LocalProtocolError(f"signing: the authority {ca.name!r} is valid {ca.not_before} to {ca.not_after}")


def _name(trust_domain: str, role: str, key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """Name an authority for people, with a serial number of its key, so that two generations never share a name."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, role[:64]),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, digest[:16]),
        ]
    )


def _ca_builder(
    trust_domain: str, key: ec.EllipticCurvePrivateKey, subject: x509.Name, *, issuer: x509.Name, path_length: int
) -> x509.CertificateBuilder:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(SpiffeId(trust_domain)))])
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(is_ca=True), critical=True)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority_key_id(issuer_key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)


def key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """Return what a key may do: an authority signs certificates and CRLs, a leaf signs handshakes, and neither more."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
