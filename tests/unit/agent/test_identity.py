"""What was issued is checked before it is used, and leaves no key in a text."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.agent.identity import describe, read_issued
from mesh.api import rpc
from mesh.base.errors import IdentityError
from mesh.spiffe.id import SpiffeId
from tests.fakes.identities import NOW, PAYMENT, TRUST_DOMAIN, Issuer

LEDGER = SpiffeId.for_service(TRUST_DOMAIN, "production", "ledger-service")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer.fresh()


def test_what_is_right_is_taken(issuer: Issuer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = rpc.Issued(chain_der=issuer.chain(key), roots_der=issuer.bundle.to_ders())
    identity = read_issued(issued, key, TRUST_DOMAIN, PAYMENT, now=NOW)
    assert identity.svid.spiffe_id == PAYMENT
    assert "PRIVATE" not in repr(identity)
    assert set(describe(identity)) == {"spiffe_id", "serial", "not_after"}


def test_what_is_wrong_is_refused(issuer: Issuer) -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    good, roots = issuer.chain(key), issuer.bundle.to_ders()
    stranger = Issuer.fresh().bundle.to_ders()
    rows = [
        (rpc.Issued(chain_der=good, roots_der=roots), other, NOW, "another key"),
        (rpc.Issued(chain_der=issuer.chain(key, LEDGER), roots_der=roots), key, NOW, "expected"),
        (rpc.Issued(chain_der=good, roots_der=stranger), key, NOW, "issued by"),
        (rpc.Issued(chain_der=(), roots_der=roots), key, NOW, "no certificate"),
        (rpc.Issued(chain_der=good, roots_der=roots), key, NOW + timedelta(days=2), "expired"),
    ]
    for issued, held_key, now, says in rows:
        with pytest.raises(IdentityError, match=says):
            read_issued(issued, held_key, TRUST_DOMAIN, PAYMENT, now=now)
