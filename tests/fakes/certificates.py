"""Certificates that no authority of ours would make, each wrong in one named way, and a few odd ones that are right.

    forge = Forge.fresh(now)                         # unit tests: an authority of its own
    forge = Forge(trust_domain, root, intermediate, now)   # e2e tests: the lab's own keys
    shown = HOSTILE["two URI SANs"].make(forge)      # chain and key, to be presented in a handshake

`HOSTILE` is the table: name, what the refusal has to say, and how to make it. The bundle a shape is verified against is
`shown.bundle`, nearly always the forge's own.
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

_UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


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
            issuer = Signer(_Named(name), key)  # type: ignore[arg-type]  # only its subject and key are used
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
class _Named:
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


# --------------------------------------------------------------------------------------------------- the tables


@dataclass(frozen=True)
class Shape:
    """A named certificate shape. `fault` is a part of the refusal's text; empty when the shape is right."""

    name: str
    fault: str
    make: Callable[[Forge], Shown]


HOSTILE: dict[str, Shape] = {}
ACCEPTED: dict[str, Shape] = {}


def _hostile(name: str, fault: str, make: Callable[[Forge], Shown]) -> None:
    assert name not in HOSTILE
    HOSTILE[name] = Shape(name, fault, make)


def _accepted(name: str, make: Callable[[Forge], Shown]) -> None:
    assert name not in ACCEPTED
    ACCEPTED[name] = Shape(name, "", make)


def _seconds(number: int) -> timedelta:
    return timedelta(seconds=number)


# Dates.
_hostile("expired a second ago", "leaf: expired", lambda f: f.shown(f.leaf(ends=_seconds(-1))))
_hostile("not valid for another 60 s", "leaf: not valid before", lambda f: f.shown(f.leaf(begins=_seconds(60))))
_hostile("not valid for another second", "leaf: not valid before", lambda f: f.shown(f.leaf(begins=_seconds(1))))

# Who signed.


def _self_signed(forge: Forge) -> Shown:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    certificate, _ = forge.leaf(subject="me", key=key, by=Signer(_Named(name), key))  # type: ignore[arg-type]
    return Shown((der(certificate),), key, forge.bundle)


def _rogue_with_our_names(forge: Forge) -> Shown:
    root = forge.authority(subject=forge.root.certificate.subject, path_length=1, is_self_signed=True)
    middle = forge.authority(subject=forge.intermediate.certificate.subject, by=root)
    return forge.shown(forge.leaf(by=middle), middle)


def _root_of_the_peer(forge: Forge) -> Shown:
    root = forge.authority(path_length=1, is_self_signed=True)
    return forge.shown(forge.leaf(by=root), root)


def _unfederated(forge: Forge) -> Shown:
    other = make_root("other.example", now=forge.now, ttl=timedelta(days=1))
    middle = make_intermediate(other, "east", now=forge.now, ttl=timedelta(days=1))
    return forge.shown(forge.leaf(by=signer(middle)), signer(middle))


def _old_key_new_certificate(forge: Forge) -> Shown:
    successor = forge.authority(subject=forge.intermediate.certificate.subject)
    return forge.shown(forge.leaf(), successor)


def _broken(where: int) -> Callable[[Forge], Shown]:
    def make(forge: Forge) -> Shown:
        good = forge.shown(forge.leaf())
        chain = [flip_last_bit(each) if n == where else each for n, each in enumerate(good.chain_der)]
        return Shown(tuple(chain), good.private_key, good.bundle)

    return make


_hostile("self-signed", "self-signed, and not a root", _self_signed)
_hostile("rogue CA with equal names", "signed by another key than the root of that name", _rogue_with_our_names)
_hostile("root sent by the peer", "self-signed, and not a root", _root_of_the_peer)
_hostile("our trust domain signed by an unfederated CA", "names spiffe://other.example", _unfederated)
_hostile("signed by the key before last", "signature does not hold under the key", _old_key_new_certificate)
_hostile("signature of the leaf altered", "leaf: its signature does not hold", _broken(0))
_hostile("signature of the intermediate altered", "intermediate 1: issued by", _broken(1))
_hostile(
    "foreign trust domain signed by our CA", "is of another trust domain than dominos.internal",
    lambda f: f.shown(f.leaf(uris=["spiffe://other.example/ns/production/sa/order-service"])),
)  # fmt: skip

# Names.
_OTHER_NAME = x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.99999.2"), b"\x0c\x03abc")
_ONE_URI = "URI SANs, an X.509-SVID has exactly one"


def _uri(*uris: str) -> Callable[[Forge], Shown]:
    return lambda forge: forge.shown(forge.leaf(uris=uris))


_PAYMENT = ORDER.replace("order", "payment")
_hostile("two URI SANs", f"2 {_ONE_URI}", _uri(ORDER, _PAYMENT))
_hostile("two equal URI SANs", f"2 {_ONE_URI}", _uri(ORDER, ORDER))
_hostile("a second URI SAN of another scheme", f"2 {_ONE_URI}", _uri(ORDER, "https://example.com/"))
_hostile("no SAN at all", f"0 {_ONE_URI}", lambda f: f.shown(f.leaf(uris=[], subject="x")))
_hostile(
    "only a DNS SAN", f"0 {_ONE_URI}",
    lambda f: f.shown(f.leaf(uris=[], names=[x509.DNSName("order-service")])),
)  # fmt: skip
_hostile("ID in the common name", f"0 {_ONE_URI}", lambda f: f.shown(f.leaf(uris=[], subject=ORDER)))
_hostile(
    "ID in an rfc822Name", f"0 {_ONE_URI}",
    lambda f: f.shown(f.leaf(uris=[], names=[x509.RFC822Name("order-service@dominos.internal")])),
)  # fmt: skip
_hostile("ID in an otherName", f"0 {_ONE_URI}", lambda f: f.shown(f.leaf(uris=[], names=[_OTHER_NAME])))
_hostile("ID with NUL", "has more than a-z", _uri(ORDER + "\x00.example"))
_hostile("ID with a line feed at its end", "has more than a-z", _uri(ORDER + "\n"))
_hostile("scheme in capitals", "is not the canonical spelling", _uri(ORDER.replace("spiffe", "SPIFFE")))
_hostile("trust domain in capitals", "is not the canonical spelling", _uri(ORDER.replace("dominos", "Dominos")))
_hostile("dot segment", "dot segment", _uri(ORDER.replace("/sa/", "/sa/x/../")))
_hostile("single dot segment", "dot segment", _uri(ORDER.replace("/sa/", "/./sa/")))
_hostile("percent-encoding in the path", "percent-encoding", _uri(ORDER.replace("order", "%6frder")))
_hostile("percent-encoding in the trust domain", "percent-encoding", _uri(ORDER.replace("dominos", "%64ominos")))
_hostile("double slash", "empty segment", _uri(ORDER.replace("/sa/", "/sa//")))
_hostile("trailing slash", "ends with a slash", _uri(ORDER + "/"))
_hostile("query", "has a query", _uri(ORDER + "?x=1"))
_hostile("fragment", "has a fragment", _uri(ORDER + "#x"))
_hostile("port", "has a port", _uri(ORDER.replace("internal/", "internal:443/")))
_hostile("user info", "has user info", _uri(ORDER.replace("//", "//root@")))
_hostile("wildcard", "has more than a-z", _uri(ORDER.replace("order-service", "*")))
_hostile("backslash", "has more than a-z", _uri(ORDER.replace("/order", "\\order")))
_hostile("only the trust domain", "is a trust domain", _uri(f"spiffe://{TRUST_DOMAIN}"))
_hostile("root path", "ends with a slash", _uri(f"spiffe://{TRUST_DOMAIN}/"))
_hostile("empty trust domain", "trust domain is empty", _uri("spiffe:///ns/production/sa/order-service"))
_hostile("https for spiffe", "does not begin with spiffe://", _uri(ORDER.replace("spiffe", "https")))
_hostile("ID over 2048 bytes", "at most 2048", _uri(ORDER + "/" + "a" * 2048))
_hostile("trust domain over 255 bytes", "at most 255", _uri(f"spiffe://{'a' * 256}/x"))
_hostile(
    "empty subject and a SAN that is not critical", "subject alternative name is not critical",
    lambda f: f.shown(f.leaf(is_san_critical=False)),
)  # fmt: skip

# What the leaf says it may do.
_SIGNER = x509.BasicConstraints(ca=True, path_length=None)
_hostile("leaf is a CA", "leaf: cA is true", lambda f: f.shown(f.leaf(basic=_SIGNER)))
_hostile("no basic constraints", "no basic constraints", lambda f: f.shown(f.leaf(basic=None)))
_hostile(
    "leaf with keyCertSign", "has keyCertSign or cRLSign",
    lambda f: f.shown(f.leaf(usage=key_usage(digital_signature=True, key_cert_sign=True))),
)  # fmt: skip
_hostile(
    "leaf with cRLSign", "has keyCertSign or cRLSign",
    lambda f: f.shown(f.leaf(usage=key_usage(digital_signature=True, crl_sign=True))),
)  # fmt: skip
_hostile("no key usage", "no key usage", lambda f: f.shown(f.leaf(has_usage=False)))
_hostile("key usage not critical", "key usage is not critical", lambda f: f.shown(f.leaf(is_usage_critical=False)))
_hostile(
    "no digitalSignature", "lacks digitalSignature",
    lambda f: f.shown(f.leaf(usage=key_usage(key_agreement=True))),
)  # fmt: skip
_EKU = "leaf: extended key usage lacks serverAuth or clientAuth"
_hostile("only serverAuth", _EKU, lambda f: f.shown(f.leaf(purposes=BOTH[:1])))
_hostile("only clientAuth", _EKU, lambda f: f.shown(f.leaf(purposes=BOTH[1:])))
_hostile(
    "only anyExtendedKeyUsage", _EKU,
    lambda f: f.shown(f.leaf(purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
)  # fmt: skip
_NAME_CONSTRAINTS = x509.NameConstraints([x509.UniformResourceIdentifier(TRUST_DOMAIN)], None)
_hostile(
    "name constraints in the leaf", "name constraints in a certificate that is not a CA",
    lambda f: f.shown(f.leaf(extra=[(_NAME_CONSTRAINTS, True)])),
)  # fmt: skip
_hostile(
    "unknown critical extension in the leaf", "leaf: critical extension 1.3.6.1.4.1.99999.1 is not understood",
    lambda f: f.shown(f.leaf(extra=[(_UNKNOWN, True)])),
)  # fmt: skip
_hostile("RSA key of 1024 bits", "leaf: RSA key of 1024 bits", lambda f: f.shown(f.leaf(key=f.rsa_key(1024))))
_hostile(
    "key on an unusual curve", "leaf: elliptic curve secp256k1",
    lambda f: f.shown(f.leaf(key=ec.generate_private_key(ec.SECP256K1()))),
)  # fmt: skip


def _sha1(forge: Forge) -> Shown:
    key = forge.rsa_key(2048)
    middle = forge.authority(key=key)
    leaf, leaf_key = forge.leaf(by=middle)
    return Shown((with_sha1(leaf, key), der(middle.certificate)), leaf_key, forge.bundle)


_hostile("signed with SHA-1", "leaf: signed with sha1WithRSAEncryption", _sha1)

# Issuers.


def _by(**wrong: object) -> Callable[[Forge], Shown]:
    def make(forge: Forge) -> Shown:
        middle = forge.authority(**wrong)  # type: ignore[arg-type]  # one keyword of `authority` per shape
        return forge.shown(forge.leaf(by=middle), middle)

    return make


def _leaf_as_issuer(forge: Forge) -> Shown:
    certificate, key = forge.leaf(subject="a leaf")
    middle = Signer(certificate, key)
    return forge.shown(forge.leaf(by=middle), middle, forge.intermediate)


def _below_path_length_0(forge: Forge) -> Shown:
    second = forge.authority(by=forge.intermediate)
    return forge.shown(forge.leaf(by=second), second, forge.intermediate)


def _below_root_path_length(forge: Forge) -> Shown:
    upper = forge.authority(path_length=5)
    lower = forge.authority(path_length=0, by=upper)
    return forge.shown(forge.leaf(by=lower), lower, upper)


def _weak_issuer(forge: Forge) -> Shown:
    return _by(key=forge.rsa_key(1024))(forge)


def _expired_root(forge: Forge) -> Shown:
    root = forge.authority(path_length=1, is_self_signed=True, ends=_seconds(-1))
    middle = forge.authority(by=root)
    bundle = TrustBundle(forge.trust_domain, (root.certificate,))
    return forge.shown(forge.leaf(by=middle), middle, bundle=bundle)


def _revoked_intermediate(forge: Forge) -> Shown:
    revoked = frozenset({forge.intermediate.certificate.fingerprint(SHA256())})
    return forge.shown(forge.leaf(), bundle=TrustBundle(forge.trust_domain, forge.bundle.roots, revoked))


def _revoked_leaf(forge: Forge) -> Shown:
    made = forge.leaf()
    revoked = frozenset({made[0].fingerprint(SHA256())})
    return forge.shown(made, bundle=TrustBundle(forge.trust_domain, forge.bundle.roots, revoked))


_hostile("issuer without keyCertSign", "lacks keyCertSign, it cannot issue", _by(usage=key_usage(crl_sign=True)))
_hostile("issuer without key usage", "lacks keyCertSign, it cannot issue", _by(has_usage=False))
_hostile("issuer that is not a CA", "intermediate 1: is not a CA", _by(is_ca=False))
_hostile("leaf as issuer", "intermediate 1: is not a CA", _leaf_as_issuer)
_hostile("intermediate below pathLen 0", "intermediate 2: pathLen 0 allows 0", _below_path_length_0)
_hostile("intermediates beyond the root's pathLen", "root: pathLen 1 allows 1", _below_root_path_length)
_hostile("expired intermediate", "intermediate 1: expired", _by(ends=_seconds(-1)))
_hostile("intermediate not valid yet", "intermediate 1: not valid before", _by(begins=_seconds(1)))
_hostile("expired root", "root: expired", _expired_root)
_hostile("revoked intermediate", "intermediate 1: revoked", _revoked_intermediate)
_hostile("revoked leaf", "leaf: revoked", _revoked_leaf)
_hostile(
    "intermediate with name constraints", "intermediate 1: name constraints are not evaluated",
    _by(extra=[(_NAME_CONSTRAINTS, True)]),
)  # fmt: skip
_hostile(
    "intermediate with name constraints that are not critical", "intermediate 1: name constraints are not evaluated",
    _by(extra=[(_NAME_CONSTRAINTS, False)]),
)  # fmt: skip
_hostile(
    "unknown critical extension in the intermediate", "intermediate 1: critical extension",
    _by(extra=[(_UNKNOWN, True)]),
)  # fmt: skip
_hostile(
    "intermediate for servers only", "intermediate 1: extended key usage lacks",
    _by(extra=[(x509.ExtendedKeyUsage(BOTH[:1]), False)]),
)  # fmt: skip
_hostile("intermediate with an RSA key of 1024 bits", "intermediate 1: RSA key of 1024 bits", _weak_issuer)
_hostile("intermediate that names a workload", "names only its trust domain", _by(uris=[_PAYMENT]))
_hostile("intermediate of another trust domain", "names only its trust domain", _by(uris=["spiffe://other.example"]))

# The chain as such.


def _chain(change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> Callable[[Forge], Shown]:
    def make(forge: Forge) -> Shown:
        good = forge.shown(forge.leaf())
        return Shown(change(good.chain_der), good.private_key, good.bundle)

    return make


_hostile("empty chain", "chain: 0 certificates", _chain(lambda chain: ()))
_hostile("chain of six", "chain: 6 certificates", _chain(lambda chain: chain * 3))
_hostile("intermediate missing", "by nobody the bundle knows", _chain(lambda chain: chain[:1]))
_hostile("chain upside down", "leaf: spiffe://dominos.internal is a trust domain", _chain(lambda chain: chain[::-1]))
_hostile("leaf twice", "intermediate 1: is not a CA", _chain(lambda chain: (chain[0], *chain)))
_hostile("intermediate twice", "pathLen 0 allows 0", _chain(lambda chain: (*chain, chain[1])))
_hostile("bytes after the leaf", "leaf: malformed DER", _chain(lambda chain: (chain[0] + b"\x00", chain[1])))
_hostile("leaf cut short", "leaf: malformed DER", _chain(lambda chain: (chain[0][:-5], chain[1])))
_hostile("no DER at all", "leaf: malformed DER", _chain(lambda chain: (b"-----BEGIN", chain[1])))
_hostile("intermediate cut short", "intermediate 1: malformed DER", _chain(lambda chain: (chain[0], chain[1][:99])))
_hostile("leaf of a megabyte", "leaf: 1048576 bytes, at most 16384", _chain(lambda chain: (b"\x30" * 2**20, chain[1])))

# Right, although odd.


def _with_root(forge: Forge) -> Shown:
    return forge.shown(forge.leaf(), forge.intermediate, forge.root)


def _second_root(forge: Forge) -> Shown:
    newer = make_root(forge.trust_domain, now=forge.now, ttl=timedelta(days=1))
    bundle = TrustBundle(forge.trust_domain, (newer.certificate, forge.root.certificate))
    return forge.shown(forge.leaf(), bundle=bundle)


def _directly_by_root(forge: Forge) -> Shown:
    certificate, key = forge.leaf(by=forge.root)
    return Shown((der(certificate),), key, forge.bundle)


def _equal_names_two_keys(forge: Forge) -> Shown:
    twin = forge.authority(subject=forge.root.certificate.subject, path_length=1, is_self_signed=True)
    bundle = TrustBundle(forge.trust_domain, (twin.certificate, forge.root.certificate))
    return forge.shown(forge.leaf(), bundle=bundle)


_accepted("a plain SVID", lambda f: f.shown(f.leaf()))
_accepted("no extended key usage", lambda f: f.shown(f.leaf(purposes=None)))
_accepted("extra DNS SANs", lambda f: f.shown(f.leaf(names=[x509.DNSName("order-service"), x509.DNSName("*.x.y")])))
_accepted("a subject, and a SAN not critical", lambda f: f.shown(f.leaf(subject="order", is_san_critical=False)))
_accepted("an unknown extension, not critical", lambda f: f.shown(f.leaf(extra=[(_UNKNOWN, False)])))
_accepted("the last second", lambda f: f.shown(f.leaf(ends=_seconds(0))))
_accepted("the first second", lambda f: f.shown(f.leaf(begins=_seconds(0))))
_accepted("an RSA key of 2048 bits", lambda f: f.shown(f.leaf(key=f.rsa_key(2048))))
_accepted("an Ed25519 key", lambda f: f.shown(f.leaf(key=ed25519.Ed25519PrivateKey.generate())))
_accepted("a P-384 key", lambda f: f.shown(f.leaf(key=ec.generate_private_key(ec.SECP384R1()))))
_accepted("an RSA intermediate", lambda f: _by(key=f.rsa_key(2048))(f))
_accepted("the root of the bundle at the end of the chain", _with_root)
_accepted("a second root in the bundle", _second_root)
_accepted("two roots of one name", _equal_names_two_keys)
_accepted("signed by the root itself", _directly_by_root)
_accepted("an intermediate without a SPIFFE ID", _by(uris=[]))
