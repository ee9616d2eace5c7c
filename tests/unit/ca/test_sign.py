"""What the authority issues is right, and a CSR gets nobody more than he proved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.base.errors import IdentityError, LocalProtocolError
from mesh.ca.authority import Authority, SigningCa, key_usage, make_intermediate, make_root, new_key
from mesh.ca.csr import make_csr, require_modest, validate_csr
from mesh.ca.sign import sign_leaf
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.verify import verify_peer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORDER = SpiffeId.for_service("dominos.internal", "production", "order-service")
PAYMENT = SpiffeId.for_service("dominos.internal", "production", "payment-service")
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    root = make_root("dominos.internal", now=NOW, ttl=timedelta(days=3650))
    return Authority(
        "dominos.internal", root, {dc: make_intermediate(root, dc, now=NOW, ttl=24 * HOUR) for dc in ("east", "west")}
    )


@pytest.fixture(scope="module")
def east(authority: Authority) -> SigningCa:
    return authority.intermediate("east")


def csr_with(
    *extensions: x509.ExtensionType, key: ec.EllipticCurvePrivateKey | None = None, subject: str = ""
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    builder = x509.CertificateSigningRequestBuilder(name)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key or new_key(), SHA256()).public_bytes(Encoding.DER)


def san(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


def uri(identity: SpiffeId | str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(str(identity))


@pytest.mark.parametrize("identity", [None, ORDER], ids=["the CSR names nobody", "the CSR names the caller"])
@pytest.mark.parametrize("datacenter", ["east", "west"])
def test_what_is_issued_proves_the_caller(authority: Authority, datacenter: str, identity: SpiffeId | None) -> None:
    chain = sign_leaf(make_csr(new_key(), identity), ORDER, authority.intermediate(datacenter), now=NOW, ttl=HOUR)
    peer = verify_peer(chain, authority.bundle, now=NOW)
    assert peer.spiffe_id == ORDER
    assert peer.not_after == NOW + HOUR


def test_the_leaf_holds_what_the_standard_asks_of_issuers(east: SigningCa) -> None:
    key = new_key()
    leaf = x509.load_der_x509_certificate(sign_leaf(make_csr(key), ORDER, east, now=NOW, ttl=HOUR)[0])
    extensions = {extension.oid: extension for extension in leaf.extensions}
    assert leaf.public_key() == key.public_key()
    assert not leaf.subject.rdns
    assert extensions[ExtensionOID.SUBJECT_ALTERNATIVE_NAME].critical
    assert list(extensions[ExtensionOID.SUBJECT_ALTERNATIVE_NAME].value) == [uri(ORDER)]
    assert extensions[ExtensionOID.BASIC_CONSTRAINTS].value == x509.BasicConstraints(ca=False, path_length=None)
    assert extensions[ExtensionOID.KEY_USAGE].critical
    assert extensions[ExtensionOID.KEY_USAGE].value == key_usage(is_ca=False)
    both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert set(extensions[ExtensionOID.EXTENDED_KEY_USAGE].value) == both
    issuer_key = extensions[ExtensionOID.AUTHORITY_KEY_IDENTIFIER].value.key_identifier
    assert issuer_key == x509.SubjectKeyIdentifier.from_public_key(east.private_key.public_key()).digest
    assert leaf.not_valid_before_utc == NOW - timedelta(seconds=60)


def test_two_leaves_have_two_serial_numbers(east: SigningCa) -> None:
    csr = make_csr(new_key())
    assert sign_leaf(csr, ORDER, east, now=NOW, ttl=HOUR)[0] != sign_leaf(csr, ORDER, east, now=NOW, ttl=HOUR)[0]


def test_a_leaf_never_outlives_its_intermediate(authority: Authority, east: SigningCa) -> None:
    chain = sign_leaf(make_csr(new_key()), ORDER, east, now=NOW, ttl=timedelta(days=3650))
    assert verify_peer(chain, authority.bundle, now=NOW).not_after == east.not_after
    assert x509.load_der_x509_certificate(chain[0]).not_valid_after_utc == east.not_after


def test_other_names_are_the_authoritys_decision(authority: Authority, east: SigningCa) -> None:
    address = IPv4Address("10.77.1.2")
    more = {"dns_names": ["control-plane.mesh"], "addresses": [address]}
    chain = sign_leaf(make_csr(new_key()), ORDER, east, now=NOW, ttl=HOUR, **more)
    names = x509.load_der_x509_certificate(chain[0]).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["control-plane.mesh"]
    assert names.value.get_values_for_type(x509.IPAddress) == [address]
    assert verify_peer(chain, authority.bundle, now=NOW).spiffe_id == ORDER


CA_TRUE = x509.BasicConstraints(ca=True, path_length=None)


@pytest.mark.parametrize(
    ("csr", "fault"),
    [
        pytest.param(
            csr_with(san(uri(PAYMENT))), "asks for .*payment-service, the sender proved", id="another service"
        ),
        pytest.param(csr_with(san(uri(ORDER), uri(PAYMENT))), "asks for .*payment", id="his own and another"),
        pytest.param(csr_with(san(uri(ORDER), uri(ORDER))), "asks for", id="his own twice"),
        pytest.param(csr_with(san(uri(ORDER), x509.DNSName("payment-service"))), "DNSName payment", id="a DNS name"),
        pytest.param(csr_with(san(x509.DNSName("*"))), "DNSName", id="only a DNS name"),
        pytest.param(csr_with(san(uri(f"{ORDER}/"))), "asks for", id="his own with a slash"),
        pytest.param(csr_with(san(uri("SPIFFE" + str(ORDER)[6:]))), "asks for", id="another spelling"),
        pytest.param(csr_with(san()), "an empty name", id="an empty list of names"),
        pytest.param(csr_with(CA_TRUE), "asks for cA true", id="to be a CA"),
        pytest.param(csr_with(san(uri(ORDER)), CA_TRUE), "asks for cA true", id="his own name, and to be a CA"),
        pytest.param(csr_with(key_usage(is_ca=True)), "asks for keyCertSign", id="to sign"),
        pytest.param(csr_with(key=ec.generate_private_key(ec.SECP256K1())), "secp256k1", id="an unusual curve"),
        pytest.param(make_csr(new_key()) + b"\x00", "malformed", id="bytes after it"),
        pytest.param(make_csr(new_key())[:-9], "malformed", id="cut short"),
        pytest.param(b"", "malformed", id="nothing"),
        pytest.param(b"\x30\x80" * 100, "malformed", id="indefinite length"),
        pytest.param(b"\x30" * (16 * 1024 + 1), "at most 16384", id="too large"),
        pytest.param(bytes(2**20), "at most 16384", id="a megabyte"),
    ],
)
def test_csrs_that_are_refused(csr: bytes, fault: str, east: SigningCa) -> None:
    with pytest.raises(IdentityError, match=fault):
        sign_leaf(csr, ORDER, east, now=NOW, ttl=HOUR)


def test_a_csr_without_the_key_is_refused(east: SigningCa) -> None:
    csr = make_csr(new_key())
    with pytest.raises(IdentityError, match="signature does not hold"):
        sign_leaf(csr[:-1] + bytes([csr[-1] ^ 1]), ORDER, east, now=NOW, ttl=HOUR)


def test_a_weak_key_is_refused(east: SigningCa) -> None:
    weak = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(rsa.generate_private_key(65537, 1024), SHA256())
    with pytest.raises(IdentityError, match="RSA key of 1024 bits"):
        sign_leaf(weak.public_bytes(Encoding.DER), ORDER, east, now=NOW, ttl=HOUR)


def test_an_ed25519_key_is_taken(authority: Authority, east: SigningCa) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    csr = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, None).public_bytes(Encoding.DER)
    assert verify_peer(sign_leaf(csr, ORDER, east, now=NOW, ttl=HOUR), authority.bundle, now=NOW).spiffe_id == ORDER


def test_the_subject_of_a_csr_says_nothing(authority: Authority, east: SigningCa) -> None:
    chain = sign_leaf(csr_with(subject=str(PAYMENT)), ORDER, east, now=NOW, ttl=HOUR)
    assert verify_peer(chain, authority.bundle, now=NOW).spiffe_id == ORDER
    assert str(PAYMENT).encode() not in chain[0]


@pytest.mark.parametrize(
    ("identity", "fault"),
    [
        pytest.param(SpiffeId("dominos.internal"), "not a workload", id="the trust domain itself"),
        pytest.param(SpiffeId("other.example", "/x"), "not of the trust domain", id="another trust domain"),
    ],
)
def test_identities_that_are_never_signed(identity: SpiffeId, fault: str, east: SigningCa) -> None:
    with pytest.raises(IdentityError, match=fault):
        sign_leaf(make_csr(new_key()), identity, east, now=NOW, ttl=HOUR)


@pytest.mark.parametrize("ttl", [timedelta(0), -HOUR], ids=["none", "negative"])
def test_a_life_of_nothing_is_our_mistake(ttl: timedelta, east: SigningCa) -> None:
    with pytest.raises(LocalProtocolError, match="a life of"):
        sign_leaf(make_csr(new_key()), ORDER, east, now=NOW, ttl=ttl)


@pytest.mark.parametrize("now", [NOW + 24 * HOUR, NOW - HOUR], ids=["expired", "not valid yet"])
def test_an_authority_that_is_not_in_force_does_not_sign(now: datetime, east: SigningCa) -> None:
    with pytest.raises(LocalProtocolError, match="is valid"):
        sign_leaf(make_csr(new_key()), ORDER, east, now=now, ttl=HOUR)


def test_what_peers_would_refuse_does_not_leave(authority: Authority) -> None:
    """The authority's own certificate may not sign (no keyCertSign): the leaf is made, looked at, and kept back."""
    key = new_key()
    names = san(uri("spiffe://dominos.internal"))
    crippled = (
        x509.CertificateBuilder(authority.root.certificate.subject, x509.Name([]), key.public_key(), 7)
        .not_valid_before(NOW - HOUR)
        .not_valid_after(NOW + HOUR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(is_ca=False), critical=True)
        .add_extension(names, critical=True)
        .sign(authority.root.private_key, SHA256())
    )
    with pytest.raises(LocalProtocolError, match=r"peers would refuse it.*lacks keyCertSign"):
        sign_leaf(make_csr(new_key()), ORDER, SigningCa(crippled, key), now=NOW, ttl=HOUR)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 255))
def test_no_bytes_crash_the_reader_of_csrs(junk: bytes, at: int, octet: int) -> None:
    changed = bytearray(GOOD_CSR)
    changed[at % len(changed)] = octet
    for csr in (junk, bytes(changed)):
        try:
            require_modest(validate_csr(csr), ORDER)
        except IdentityError:
            continue
        assert csr == GOOD_CSR


GOOD_CSR = make_csr(new_key(), ORDER)


def test_the_bundle_of_one_datacenter_is_the_root_not_the_intermediate(authority: Authority, east: SigningCa) -> None:
    assert authority.bundle == TrustBundle("dominos.internal", (authority.root.certificate,))
    with pytest.raises(IdentityError, match="'north' has no intermediate"):
        authority.intermediate("north")
