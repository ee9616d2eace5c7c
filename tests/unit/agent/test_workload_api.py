"""The messages of the Workload API are complete, and a standard client's rules hold for them."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from cryptography.x509 import load_der_x509_certificate

from mesh.agent.workload_api import bundles_response, svid_response
from tests.fakes.identities import Issuer


def test_an_svid_message_is_the_complete_state() -> None:
    identity = Issuer.fresh().identity()
    [svid] = svid_response(identity).svids
    assert svid.spiffe_id == "spiffe://dominos.internal/ns/production/sa/payment-service"
    assert svid.x509_svid.startswith(identity.svid.chain[0].public_bytes(Encoding.DER))
    key = load_der_private_key(svid.x509_svid_key, password=None)
    assert key.public_key() == identity.svid.chain[0].public_key()
    assert load_der_x509_certificate(svid.bundle) == identity.bundle.roots[0]


def test_bundles_stand_under_the_id_of_their_trust_domain() -> None:
    identity = Issuer.fresh().identity()
    assert dict(bundles_response(identity).bundles) == {"spiffe://dominos.internal": identity.bundle.to_der()}
