"""What an identity refuses to be made of, whom it believes, and what its TLS contexts demand."""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.base.errors import IdentityError
from mesh.ca.authority import new_key
from mesh.proxy.connection.secrets import Identity
from tests.fakes.sidecars import FakeMesh, spiffe_id

Pems = tuple[bytes, bytes, bytes]


def pems(mesh: FakeMesh) -> Pems:
    """Return chain, key and roots that fit together."""
    key = new_key()
    chain = mesh.chain("order-service", key)
    chain_pem = b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return chain_pem, key_pem, mesh.root.certificate_pem()


def other_key() -> bytes:
    """Return a key that fits nothing."""
    return new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_an_identity_knows_whose_it_is() -> None:
    identity = Identity(7, *pems(FakeMesh()))
    assert (identity.generation, identity.spiffe_id) == (7, spiffe_id("order-service"))


@pytest.mark.parametrize(
    ("part", "wrong", "fault"),
    [
        pytest.param(0, b"rubbish", "reading our own certificate", id="no certificate"),
        pytest.param(1, b"rubbish", "do not fit", id="no key"),
        pytest.param(1, other_key(), "do not fit", id="somebody else's key"),
        pytest.param(2, b"rubbish", "bundle", id="no roots"),
        pytest.param(0, FakeMesh().root.certificate_pem(), "reading|using", id="a certificate that names no service"),
    ],
)
def test_what_does_not_fit_together_is_refused(part: int, wrong: bytes, fault: str) -> None:
    parts = list(pems(FakeMesh()))
    parts[part] = wrong
    with pytest.raises(IdentityError, match=fault):
        Identity(1, *parts)


def test_only_what_its_own_roots_prove_is_believed() -> None:
    mesh, other = FakeMesh(), FakeMesh()
    identity = mesh.identity("order-service")
    peer = identity.verify(mesh.chain("payment-service"), now=mesh.now)
    assert (peer.spiffe_id, peer.service) == (spiffe_id("payment-service"), "payment-service")
    for chain, now, expected in (
        (other.chain("payment-service"), mesh.now, None),
        (mesh.chain("payment-service"), mesh.now + timedelta(days=2), None),
        (mesh.chain("payment-service"), mesh.now, frozenset({spiffe_id("ledger-service")})),
    ):
        with pytest.raises(IdentityError):
            identity.verify(chain, now=now, expected=expected)


@pytest.mark.parametrize("alpn", [None, (), ("http/1.1",)])
def test_each_context_is_tls_1_3_without_tickets_and_demands_a_certificate(alpn: tuple[str, ...] | None) -> None:
    identity = FakeMesh().identity("order-service")
    context = identity.server_context() if alpn is None else identity.client_context(alpn)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is context.maximum_version is ssl.TLSVersion.TLSv1_3
    assert context.options & ssl.OP_NO_TICKET
    assert alpn is not None or context.num_tickets == 0


def test_another_protocol_is_not_offered() -> None:
    with pytest.raises(IdentityError, match="ALPN"):
        FakeMesh().identity("order-service").client_context(("h2",))
