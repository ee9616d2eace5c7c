"""A forge of certificates: an authority that signs whatever it is told to, so that each rule can be broken alone.

    forge = Forge.fresh(now)                               # unit tests: an authority of its own
    forge = Forge(trust_domain, root, intermediate, now)   # e2e tests: the lab's own keys, see `signer`
    shown = forge.shown(forge.leaf(ends=timedelta(seconds=-1)))

`tests/fakes/certificates.py` has the table of shapes made with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from mesh.ca.authority import SigningCa, make_intermediate, make_root
from mesh.spiffe.bundle import TrustBundle

TRUST_DOMAIN = "dominos.internal"
ORDER = f"spiffe://{TRUST_DOMAIN}/ns/production/sa/order-service"
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Extra = tuple[x509.ExtensionType, bool]


@dataclass(frozen=True)
class Signer:
    """Whoever signs: a certificate and a key, of any kind."""

    certificate: x509.Certificate
    private_key: PrivateKey


@dataclass(frozen=True)
class Shown:
    """What a peer presents, and the bundle it is held against."""

    chain_der: tuple[bytes, ...]
    private_key: PrivateKey
    bundle: TrustBundle

    def chain_pem(self) -> bytes:
        """Write the chain as PEM, for `ssl`."""
        certificates = [x509.load_der_x509_certificate(der) for der in self.chain_der]
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)

    def key_pem(self) -> bytes:
        """Write the key as PEM, for `ssl`."""
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass
class Forge:
    """A root and an intermediate that sign whatever they are told to."""

    trust_domain: str
    root: Signer
    intermediate: Signer
    now: datetime
    identity: str = ORDER
    _rsa_keys: dict[int, rsa.RSAPrivateKey] = field(default_factory=dict)

    @classmethod
    def fresh(cls, now: datetime) -> Forge:
        """Make a forge with an authority of its own."""
        root = make_root(TRUST_DOMAIN, now=now - timedelta(days=1), ttl=timedelta(days=30))
        east = make_intermediate(root, "east", now=now - timedelta(days=1), ttl=timedelta(days=10))
        return cls(TRUST_DOMAIN, signer(root), signer(east), now)

    @property
    def bundle(self) -> TrustBundle:
        """Return the bundle with the forge's root."""
        return TrustBundle(self.trust_domain, (self.root.certificate,))

    def rsa_key(self, bits: int) -> rsa.RSAPrivateKey:
        """Return an RSA key of a size; made once, they are slow to make."""
        if bits not in self._rsa_keys:
            self._rsa_keys[bits] = rsa.generate_private_key(65537, bits)
        return self._rsa_keys[bits]

    def leaf(
        self,
        *,
        uris: Sequence[str] | None = None,
        names: Sequence[x509.GeneralName] = (),
        subject: str = "",
        is_san_critical: bool = True,
        basic: x509.BasicConstraints | None = x509.BasicConstraints(ca=False, path_length=None),  # noqa: B008 - frozen
        usage: x509.KeyUsage | None = None,
        has_usage: bool = True,
        is_usage_critical: bool = True,
        purposes: Sequence[ObjectIdentifier] | None = BOTH,
        begins: timedelta = timedelta(seconds=-60),
        ends: timedelta = timedelta(hours=1),
        key: PrivateKey | None = None,
        by: Signer | None = None,
        extra: Sequence[Extra] = (),
    ) -> tuple[x509.Certificate, PrivateKey]:
        """Sign a leaf; every argument is one thing to get wrong. Times are from the forge's now."""
        key, by = key or ec.generate_private_key(ec.SECP256R1()), by or self.intermediate
        san = [x509.UniformResourceIdentifier(uri) for uri in ([self.identity] if uris is None else uris)]
        san_names: list[x509.GeneralName] = [*san, *names]
        extensions: list[Extra] = [(x509.SubjectAlternativeName(san_names), is_san_critical)] if san_names else []
        if basic is not None:
            extensions.append((basic, True))
        if has_usage:
            extensions.append((usage or key_usage(digital_signature=True), is_usage_critical))
        if purposes is not None:
            extensions.append((x509.ExtendedKeyUsage(purposes), False))
        common_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
        return self._sign(common_name, key, by, begins, ends, [*extensions, *extra]), key

    def authority(
        self,
        *,
        uris: Sequence[str] = (f"spiffe://{TRUST_DOMAIN}",),
        subject: x509.Name | None = None,
        is_ca: bool = True,
        path_length: int | None = 0,
        usage: x509.KeyUsage | None = None,
        has_usage: bool = True,
        begins: timedelta = timedelta(hours=-1),
        ends: timedelta = timedelta(days=1),
        key: PrivateKey | None = None,
        by: Signer | None = None,
        is_self_signed: bool = False,
        extra: Sequence[Extra] = (),
    ) -> Signer:
        """Sign an authority, by the root unless said otherwise."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=is_ca, path_length=path_length if is_ca else None)
        extensions: list[Extra] = [(basic, True)]
        if has_usage:
            extensions.append((usage or key_usage(key_cert_sign=True, crl_sign=True), True))
        if uris:
            extensions.append((x509.SubjectAlternativeName([x509.UniformResourceIdentifier(u) for u in uris]), False))
        name = subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an intermediate")])
        issuer = by or self.root
        if is_self_signed:
            issuer = Signer(Named(name), key)  # type: ignore[arg-type]  # only its subject and key are used
        return Signer(self._sign(name, key, issuer, begins, ends, [*extensions, *extra]), key)

    def shown(
        self,
        made: tuple[x509.Certificate, PrivateKey],
        *issuers: Signer,
        bundle: TrustBundle | None = None,
    ) -> Shown:
        """Put a leaf and its issuers together (the forge's intermediate when none is given)."""
        leaf, key = made
        above = [each.certificate for each in issuers] or [self.intermediate.certificate]
        return Shown(tuple(der(each) for each in (leaf, *above)), key, bundle or self.bundle)

    def _sign(
        self,
        subject: x509.Name,
        key: PrivateKey,
        by: Signer,
        begins: timedelta,
        ends: timedelta,
        extensions: Sequence[Extra],
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            by.certificate.subject, subject, key.public_key(), x509.random_serial_number()
        )
        builder = builder.not_valid_before(self.now + begins).not_valid_after(self.now + ends)
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.private_key.public_key())
        own_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        for value, is_critical in [(own_key, False), (authority_key, False), *extensions]:
            builder = builder.add_extension(value, is_critical)
        is_ed25519 = isinstance(by.private_key, ed25519.Ed25519PrivateKey)
        return builder.sign(by.private_key, None if is_ed25519 else SHA256())


@dataclass(frozen=True)
class Named:
    """Stands for the certificate that a self-signed one does not have yet."""

    subject: x509.Name


def signer(ca: SigningCa) -> Signer:
    """Turn an authority of the mesh into a signer of the forge."""
    return Signer(ca.certificate, ca.private_key)


def der(certificate: x509.Certificate) -> bytes:
    """Write DER."""
    return certificate.public_bytes(Encoding.DER)


def key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False, key_agreement: bool = False
) -> x509.KeyUsage:
    """Return a key usage with these bits."""
    return x509.KeyUsage(digital_signature, False, False, False, key_agreement, key_cert_sign, crl_sign, False, False)


def flip_last_bit(encoded: bytes) -> bytes:
    """Break a signature: it is at the end of a certificate."""
    return encoded[:-1] + bytes([encoded[-1] ^ 1])


def with_sha1(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> bytes:
    """Sign an RSA-signed certificate again with SHA-1, which the library itself will not do.

    The two algorithm identifiers differ in their last octet only (1.2.840.113549.1.1.11 and .5), so lengths stay.
    """
    sha256, sha1 = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")
    body = certificate.tbs_certificate_bytes.replace(sha256, sha1)
    signature = key.sign(body, padding.PKCS1v15(), SHA1())
    encoded = der(certificate).replace(certificate.tbs_certificate_bytes, body).replace(sha256, sha1)
    return encoded.replace(certificate.signature, signature)


def rewritten(
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    change: Callable[[list[bytes]], list[bytes]],
) -> bytes:
    """Change the top-level DER elements of what is signed, and sign again; for what the library will not write.

    They are: version, serial, algorithm, issuer, validity, subject, key, extensions.
    """
    body = tlv(0x30, b"".join(change(elements(certificate.tbs_certificate_bytes))))
    algorithm = elements(der(certificate))[1]
    signature = key.sign(body, ec.ECDSA(SHA256()))
    return tlv(0x30, body + algorithm + tlv(0x03, b"\x00" + signature))


def tlv(tag: int, content: bytes) -> bytes:
    """Write one DER element."""
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def elements(sequence: bytes) -> list[bytes]:
    """Split the content of a DER sequence into its elements."""
    found, at = [], _header(sequence, 0)[0]
    while at < len(sequence):
        begin, length = _header(sequence, at)
        found.append(sequence[at : begin + length])
        at = begin + length
    return found


def _header(encoded: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at `at` begins, and its length."""
    first = encoded[at + 1]
    if first < 128:
        return at + 2, first
    count = first & 0x7F
    return at + 2 + count, int.from_bytes(encoded[at + 2 : at + 2 + count], "big")
