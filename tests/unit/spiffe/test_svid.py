"""An SVID belongs to its key, and never shows it by accident."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import spiffe
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from mesh.base.errors import IdentityError
from mesh.spiffe.svid import X509Svid
from tests.fakes.certificates import HOSTILE
from tests.fakes.forge import ORDER, Forge

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def forge() -> Forge:
    return Forge.fresh(NOW)


def test_written_forms(forge: Forge) -> None:
    shown = forge.shown(forge.leaf(ends=timedelta(hours=2)))
    svid = X509Svid.from_der(shown.chain_der, shown.private_key)
    assert str(svid.spiffe_id) == ORDER
    assert svid.chain_der() == b"".join(shown.chain_der)
    assert tuple(load_pem_x509_certificates(svid.chain_pem())) == svid.chain
    for key in (load_pem_private_key(svid.key_pem(), None), load_der_private_key(svid.key_der(), None)):
        assert key.public_key() == svid.chain[0].public_key()
    assert svid.not_after == NOW + timedelta(hours=2)
    assert svid.not_before == NOW - timedelta(seconds=60)
    assert svid.serial == svid.chain[0].serial_number


def test_the_key_is_not_in_its_repr(forge: Forge) -> None:
    shown = forge.shown(forge.leaf())
    assert "key" not in repr(X509Svid.from_der(shown.chain_der, shown.private_key)).lower()


def test_a_leaf_for_another_key_is_refused(forge: Forge) -> None:
    first, second = forge.shown(forge.leaf()), forge.shown(forge.leaf())
    with pytest.raises(IdentityError, match="another key than ours"):
        X509Svid.from_der(first.chain_der, second.private_key)


def test_what_is_no_svid_is_refused(forge: Forge) -> None:
    shown = HOSTILE["two URI SANs"].make(forge)
    with pytest.raises(IdentityError, match="2 URI SANs"):
        X509Svid.from_der(shown.chain_der, shown.private_key)
    with pytest.raises(IdentityError, match="no certificate"):
        X509Svid.from_der((), shown.private_key)


def test_a_foreign_spiffe_client_reads_it(forge: Forge) -> None:
    shown = forge.shown(forge.leaf())
    svid = X509Svid.from_der(shown.chain_der, shown.private_key)
    theirs = spiffe.X509Svid.parse_raw(svid.chain_der(), svid.key_der())
    assert str(theirs.spiffe_id) == ORDER
    bundle = spiffe.X509Bundle.parse_raw(spiffe.TrustDomain(forge.trust_domain), forge.bundle.to_der())
    assert bundle.x509_authorities == set(forge.bundle.roots)
