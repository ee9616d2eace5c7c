"""Roots and intermediates are what the standard asks of signing certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.base.errors import LocalProtocolError
from mesh.ca.authority import SigningCa, key_usage, make_intermediate, make_root

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def root() -> SigningCa:
    return make_root("dominos.internal", now=NOW, ttl=10 * DAY)


@pytest.fixture(scope="module")
def east(root: SigningCa) -> SigningCa:
    return make_intermediate(root, "east", now=NOW, ttl=5 * DAY)


def extension(ca: SigningCa, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType]:
    return ca.certificate.extensions.get_extension_for_class(kind)


@pytest.mark.parametrize(("name", "path_length"), [("root", 1), ("east", 0)])
def test_extensions(name: str, path_length: int, root: SigningCa, east: SigningCa) -> None:
    ca = {"root": root, "east": east}[name]
    assert extension(ca, x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=path_length)
    assert extension(ca, x509.BasicConstraints).critical
    assert extension(ca, x509.KeyUsage).value == key_usage(is_ca=True)
    assert extension(ca, x509.KeyUsage).critical
    assert isinstance(ca.private_key.curve, ec.SECP256R1)
    assert ca.trust_domain == "dominos.internal"
    ca.certificate.verify_directly_issued_by(root.certificate)
    issuer_key = x509.SubjectKeyIdentifier.from_public_key(root.private_key.public_key()).digest
    assert extension(ca, x509.AuthorityKeyIdentifier).value.key_identifier == issuer_key


def test_dates(root: SigningCa, east: SigningCa) -> None:
    assert root.not_before == NOW - timedelta(seconds=60)
    assert (root.not_after, east.not_after) == (NOW + 10 * DAY, NOW + 5 * DAY)
    assert make_intermediate(root, "west", now=NOW + DAY, ttl=100 * DAY).not_after == root.not_after


def test_names_are_for_people_and_differ_between_generations(root: SigningCa, east: SigningCa) -> None:
    assert "CN=intermediate east" in east.name
    assert "O=dominos.internal" in east.name
    assert make_intermediate(root, "east", now=NOW, ttl=DAY).name != east.name


def test_an_expired_root_makes_no_intermediates(root: SigningCa) -> None:
    with pytest.raises(LocalProtocolError, match="is valid"):
        make_intermediate(root, "east", now=NOW + 10 * DAY, ttl=DAY)


def test_files_round_trip(east: SigningCa) -> None:
    again = SigningCa.from_pem(east.certificate_pem(), east.key_pem())
    assert again.certificate == east.certificate
    assert again.private_key.private_numbers() == east.private_key.private_numbers()


def test_a_key_never_shows_in_a_repr(east: SigningCa) -> None:
    assert "key" not in repr(east).lower()


def test_swapped_files_are_refused(root: SigningCa, east: SigningCa) -> None:
    with pytest.raises(LocalProtocolError, match="do not belong together"):
        SigningCa.from_pem(east.certificate_pem(), root.key_pem())
    with pytest.raises(LocalProtocolError, match="malformed"):
        SigningCa.from_pem(east.key_pem(), east.certificate_pem())


def test_an_rsa_key_file_is_refused(east: SigningCa) -> None:
    key = rsa.generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(LocalProtocolError, match="not an elliptic curve key"):
        SigningCa.from_pem(east.certificate_pem(), key)
