"""A connection is worth what its certificates are worth now."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from mesh.base.errors import IdentityError
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.proof import Proof
from tests.fakes.sidecars import FakeMesh, spiffe_id

TTL = timedelta(hours=1)


def peer_of(mesh: FakeMesh, service: str) -> Peer:
    """Return what a service of a mesh proves."""
    not_after: datetime = mesh.now + TTL
    return Peer(spiffe_id(service), service, not_after, not_after.timestamp(), mesh.chain(service, ttl=TTL))


def test_what_was_proven_by_the_present_roots_holds_until_a_certificate_ends() -> None:
    mesh = FakeMesh()
    identity = mesh.identity("payment-service")
    proof = Proof(identity, peer_of(mesh, "order-service"))
    assert proof.doubt(identity, mesh.now.timestamp()) == ""
    assert (
        proof.doubt(identity, (mesh.now + TTL).timestamp())
        == f"the certificate of {spiffe_id('order-service')} has expired"
    )


def test_an_end_that_other_roots_proved_is_asked_for_again() -> None:
    mesh, other = FakeMesh(), FakeMesh()
    proof = Proof(mesh.identity("payment-service"), peer_of(mesh, "order-service"))
    assert proof.doubt(mesh.identity("payment-service", generation=2), mesh.now.timestamp()) == ""
    assert "verifying" in proof.doubt(other.identity("payment-service", generation=3), mesh.now.timestamp())


def test_a_second_end_is_not_believed_because_the_first_one_is() -> None:
    mesh, other = FakeMesh(), FakeMesh()
    present = mesh.identity("payment-service", generation=2)
    proof = Proof(present, peer_of(mesh, "order-service"))
    proof.add(peer_of(other, "ledger-service"), other.identity("payment-service"))
    with pytest.raises(IdentityError):
        proof.require_present(present, mesh.now.timestamp())


def test_a_plaintext_connection_has_nothing_to_prove() -> None:
    mesh = FakeMesh()
    proof = Proof(None, None)
    assert proof.doubt(mesh.identity("payment-service"), (mesh.now + timedelta(days=999)).timestamp()) == ""
