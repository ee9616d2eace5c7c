"""A bundle says the same thing in PEM, DER and JWKS."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from mesh.base.errors import IdentityError
from mesh.ca.authority import make_root
from mesh.spiffe.bundle import TrustBundle
from tests.fakes.forge import Forge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOMAIN = "dominos.internal"


@pytest.fixture(scope="module")
def forge() -> Forge:
    return Forge.fresh(NOW)


@pytest.fixture(scope="module")
def bundle(forge: Forge) -> TrustBundle:
    newer = make_root(DOMAIN, now=NOW, ttl=timedelta(days=1)).certificate
    by_rsa = forge.authority(key=forge.rsa_key(2048), path_length=1, is_self_signed=True).certificate
    return TrustBundle(DOMAIN, (forge.root.certificate, newer, by_rsa))


def test_round_trips(bundle: TrustBundle) -> None:
    assert TrustBundle.from_pem(DOMAIN, bundle.to_pem()) == bundle
    assert TrustBundle.from_der(DOMAIN, bundle.to_ders()) == bundle
    assert TrustBundle.from_jwks(DOMAIN, bundle.to_jwks()) == bundle
    assert bundle.to_der() == b"".join(bundle.to_ders())


def test_the_document_has_what_the_standard_asks_for(bundle: TrustBundle) -> None:
    document = json.loads(bundle.to_jwks(sequence=7, refresh_hint_s=60))
    assert (document["spiffe_sequence"], document["spiffe_refresh_hint"]) == (7, 60)
    assert [key["kty"] for key in document["keys"]] == ["EC", "EC", "RSA"]
    for key in document["keys"]:
        assert key["use"] == "x509-svid"
        assert "kid" not in key
        assert len(key["x5c"]) == 1
    assert len(document["keys"][0]["x"]) == 43  # 32 octets, no padding


def test_foreign_entries_are_ignored_and_only_the_first_certificate_counts(bundle: TrustBundle) -> None:
    document = json.loads(bundle.to_jwks())
    first, second, third = document["keys"]
    first["x5c"] += second["x5c"]
    keys = [first, {"use": "jwt-svid", "kid": "x"}, {"use": "x509-svid"}, {**third, "use": "sig"}, {"kty": "EC"}]
    assert TrustBundle.from_jwks(DOMAIN, json.dumps({"keys": keys})).roots == bundle.roots[:1]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("", id="nothing"),
        pytest.param("[]", id="a list"),
        pytest.param("{}", id="no keys"),
        pytest.param('{"keys": 1}', id="keys is a number"),
        pytest.param('{"keys": ["x"]}', id="a key is a text"),
        pytest.param('{"keys": [{"use": "x509-svid", "x5c": "MIIB"}]}', id="x5c is a text"),
        pytest.param('{"keys": [{"use": "x509-svid", "x5c": ["%%"]}]}', id="x5c is not base64"),
        pytest.param('{"keys": [{"use": "x509-svid", "x5c": ["AAAA"]}]}', id="x5c is not DER"),
    ],
)
def test_documents_that_are_refused(document: str) -> None:
    with pytest.raises(IdentityError, match=f"reading the bundle of {DOMAIN}"):
        TrustBundle.from_jwks(DOMAIN, document)


def test_pem_without_a_certificate_is_refused() -> None:
    with pytest.raises(IdentityError, match="no PEM certificates"):
        TrustBundle.from_pem(DOMAIN, b"nothing here")


def test_malformed_der_is_refused() -> None:
    with pytest.raises(IdentityError, match="malformed DER"):
        TrustBundle.from_der(DOMAIN, [b"\x30\x00"])


def test_a_leaf_is_no_root(forge: Forge) -> None:
    with pytest.raises(IdentityError, match="is not a CA certificate"):
        TrustBundle(DOMAIN, (forge.leaf()[0],))


def test_the_same_root_twice_is_one(forge: Forge) -> None:
    assert len(TrustBundle(DOMAIN, (forge.root.certificate,) * 2).roots) == 1


def test_a_malformed_trust_domain_is_refused(forge: Forge) -> None:
    with pytest.raises(IdentityError, match="more than a-z"):
        TrustBundle("Dominos", (forge.root.certificate,))
