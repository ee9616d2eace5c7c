"""Key, certificate and roots of this proxy, and the TLS contexts made of them.

SDS gives two secrets, the certificate with its key and the roots. They are applied as a pair, and each pair is one
`Identity` with a generation number: new contexts, never a changed one (`load_verify_locations` only ever adds, so a
context kept over the removal of a root would still believe in it). Connections remember the generation they were
made with; the pool never hands out one of an older generation.

TLS is 1.3 only and without session tickets: a resumed session skips the check of the certificate and so outlives it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from mesh.base.errors import IdentityError
from mesh.proxy.connection.peer import Peer
from mesh.spiffe.bundle import TrustBundle
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.verify import PeerVerifier


class Identity:
    """One generation of key, certificate and roots. Immutable once made.

    Args:
        generation: grows by one with each pair that was applied.
        chain_pem: leaf, then intermediates.
        key_pem: the private key; it is kept by OpenSSL only, not by this object.
        roots_pem: all roots of the trust domain.

    Raises:
        IdentityError: certificate, key and roots do not fit together or do not parse.
    """

    __slots__ = ("_client", "_server", "_verifier", "bundle", "generation", "leaf", "not_after", "spiffe_id")

    def __init__(self, generation: int, chain_pem: bytes, key_pem: bytes, roots_pem: bytes) -> None:
        try:
            self.leaf = x509.load_pem_x509_certificate(chain_pem)
        except ValueError as error:
            raise IdentityError(f"reading our own certificate: {error}") from error
        self.generation = generation
        self.spiffe_id = _own_id(self.leaf)
        self.not_after: datetime = self.leaf.not_valid_after_utc
        self.bundle = TrustBundle.from_pem(SpiffeId.parse(self.spiffe_id).trust_domain, roots_pem)
        self._verifier = PeerVerifier(self.bundle)  # what it remembers holds for these roots only
        try:
            self._server = _context(ssl.PROTOCOL_TLS_SERVER, chain_pem, key_pem, roots_pem)
            self._client: dict[tuple[str, ...], ssl.SSLContext] = {
                (): _context(ssl.PROTOCOL_TLS_CLIENT, chain_pem, key_pem, roots_pem)
            }
            http = _context(ssl.PROTOCOL_TLS_CLIENT, chain_pem, key_pem, roots_pem)
            http.set_alpn_protocols(["http/1.1"])
            self._client[("http/1.1",)] = http
        except (ssl.SSLError, OSError) as error:
            raise IdentityError(f"using our own certificate: key, certificate and roots do not fit: {error}") from error

    def server_context(self) -> ssl.SSLContext:
        """Return the context of inbound connections: a client certificate is demanded."""
        return self._server

    def client_context(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        """Return the context of upstream connections.

        Raises:
            IdentityError: a protocol other than HTTP/1.1 was asked for.
        """
        context = self._client.get(alpn)
        if context is None:
            raise IdentityError(f"connecting: ALPN {alpn} is not offered, http/1.1 or none would be right")
        return context

    def verify(self, chain: Sequence[bytes], *, now: datetime, expected: frozenset[str] | None = None) -> Peer:
        """Prove who sent a chain, against the roots of this generation.

        Raises:
            IdentityError: nobody, somebody unknown, or not one of `expected`; the message names the fault.
        """
        proven = self._verifier.verify(chain, now=now, expected=expected)
        try:
            service = proven.spiffe_id.service
        except IdentityError:
            service = ""
        not_after = proven.not_after
        return Peer(str(proven.spiffe_id), service, not_after, not_after.timestamp(), tuple(chain))


def _own_id(leaf: x509.Certificate) -> str:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise IdentityError("reading our own certificate: it has no subject alternative name") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise IdentityError(f"reading our own certificate: {len(uris)} URI SANs, an X.509-SVID has exactly one")
    return str(SpiffeId.parse(uris[0]))


def _context(protocol: int, chain_pem: bytes, key_pem: bytes, roots_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False  # a mesh proves SPIFFE IDs, not DNS names: see Identity.verify
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    context.load_verify_locations(cadata=roots_pem.decode("ascii"))
    _load_key(context, chain_pem, key_pem)
    return context


def _load_key(context: ssl.SSLContext, chain_pem: bytes, key_pem: bytes) -> None:
    """Give OpenSSL the key. Python's ssl takes a file name only, so the file is one that exists in memory alone."""
    fd = os.memfd_create("svid", os.MFD_CLOEXEC)
    try:
        os.write(fd, chain_pem.rstrip() + b"\n" + key_pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
