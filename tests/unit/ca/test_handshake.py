"""Python's `ssl` shakes hands with what the authority issues, both sides proving themselves, without a socket."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import load_der_x509_certificate

from mesh.ca.authority import make_intermediate, make_root, new_key
from mesh.ca.csr import make_csr
from mesh.ca.sign import sign_leaf
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.verify import verify_peer

# ssl reads the machine's clock itself, so this one test has to as well.
NOW = datetime.now(UTC)
ORDER = SpiffeId.for_service("dominos.internal", "production", "order-service")
PAYMENT = SpiffeId.for_service("dominos.internal", "production", "payment-service")


def context(purpose: int, chain: tuple[bytes, ...], key: bytes, roots: bytes, folder: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(purpose)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=roots.decode())
    pem = b"".join(load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)
    file = folder / f"{purpose}.pem"
    file.write_bytes(pem + key)
    made.load_cert_chain(file)
    return made


def test_both_sides_prove_themselves(tmp_path: Path) -> None:
    root = make_root("dominos.internal", now=NOW, ttl=timedelta(days=1))
    bundle = TrustBundle("dominos.internal", (root.certificate,))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = []
    for identity, datacenter, purpose, incoming, outgoing in (
        (ORDER, "east", ssl.PROTOCOL_TLS_CLIENT, to_client, to_server),
        (PAYMENT, "west", ssl.PROTOCOL_TLS_SERVER, to_server, to_client),
    ):
        key = new_key()
        issuer = make_intermediate(root, datacenter, now=NOW, ttl=timedelta(hours=2))
        chain = sign_leaf(make_csr(key), identity, issuer, now=NOW, ttl=timedelta(hours=1))
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        made = context(purpose, chain, key_pem, bundle.to_pem(), tmp_path)
        is_server = purpose == ssl.PROTOCOL_TLS_SERVER
        sides.append((made.wrap_bio(incoming, outgoing, server_side=is_server), chain))
    (client, client_chain), (server, server_chain) = sides
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    for side, shown, identity in ((client, server_chain, PAYMENT), (server, client_chain, ORDER)):
        leaf = side.getpeercert(binary_form=True)
        assert leaf == shown[0]
        assert verify_peer((leaf, *shown[1:]), bundle, now=NOW).spiffe_id == identity
