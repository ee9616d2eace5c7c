"""Certificates that no authority of ours would make, each wrong in one named way, and a few odd ones that are right.

    shown = HOSTILE["two URI SANs"].make(forge)      # chain and key, to be presented in a handshake

`HOSTILE` is the table: name, what the refusal has to say, and how to make it. The bundle a shape is verified against is
`shown.bundle`, nearly always the forge's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from mesh.ca.authority import make_intermediate, make_root
from mesh.spiffe.bundle import TrustBundle
from tests.fakes.forge import (
    BOTH,
    ORDER,
    TRUST_DOMAIN,
    Forge,
    Named,
    Shown,
    Signer,
    der,
    elements,
    flip_last_bit,
    key_usage,
    rewritten,
    signer,
    tlv,
    with_sha1,
)

_UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


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
    certificate, _ = forge.leaf(subject="me", key=key, by=Signer(Named(name), key))  # type: ignore[arg-type]
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


def _two_intermediates(is_rogue: bool) -> Callable[[Forge], Shown]:
    """A chain of four. The rogue's lower intermediate only claims to be issued by the upper one."""

    def make(forge: Forge) -> Shown:
        root = forge.authority(path_length=2, is_self_signed=True)
        upper = forge.authority(path_length=1, by=root, subject=_common_name("upper"))
        own_key = ec.generate_private_key(ec.SECP256R1())
        lower = forge.authority(by=Signer(upper.certificate, own_key) if is_rogue else upper)
        bundle = TrustBundle(forge.trust_domain, (root.certificate,))
        return forge.shown(forge.leaf(by=lower), lower, upper, bundle=bundle)

    return make


def _other_issuer_name(forge: Forge) -> Shown:
    renamed = Named(_common_name("somebody else"))
    by = Signer(renamed, forge.intermediate.private_key)  # type: ignore[arg-type]  # only its subject is used
    return forge.shown(forge.leaf(by=by))


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _rewritten_leaf(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Forge], Shown]:
    def make(forge: Forge) -> Shown:
        leaf, key = forge.leaf()
        assert isinstance(forge.intermediate.private_key, ec.EllipticCurvePrivateKey)
        changed = rewritten(leaf, forge.intermediate.private_key, change)
        return Shown((changed, der(forge.intermediate.certificate)), key, forge.bundle)

    return make


def _with_extensions_twice(parts: list[bytes]) -> list[bytes]:
    extensions = b"".join(elements(elements(parts[-1])[0]))
    return [*parts[:-1], tlv(0xA3, tlv(0x30, extensions * 2))]


_hostile(
    "lower intermediate not signed by the upper", "intermediate 1: its signature does not hold",
    _two_intermediates(True),
)  # fmt: skip
_hostile("the right key under another name", "which is not the name of the intermediate 1", _other_issuer_name)
_hostile("X.509 version 1", "leaf: X.509 version 1", _rewritten_leaf(lambda parts: parts[1:-1]))
_hostile(
    "serial number 0", "leaf: its serial number is not positive",
    _rewritten_leaf(lambda parts: [parts[0], b"\x02\x01\x00", *parts[2:]]),
)  # fmt: skip
_hostile(
    "negative serial number", "leaf: its serial number is not positive",
    _rewritten_leaf(lambda parts: [parts[0], b"\x02\x01\xff", *parts[2:]]),
)  # fmt: skip
_hostile("an extension twice", "malformed name, date or extension", _rewritten_leaf(_with_extensions_twice))

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
_accepted("two intermediates", _two_intermediates(False))
_accepted("an intermediate without a SPIFFE ID", _by(uris=[]))
