"""The control plane's own certificate: a key that lives in this process only, signed by its own datacenter's authority.

gRPC asks for the certificate at each handshake (dynamic credentials), so a renewal touches no open connection. Our own
agents and proxies look at the SPIFFE ID in it; the name and the address are there for clients that look at those, as
gRPC's own xDS client does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

import grpc
from cryptography.hazmat.primitives.serialization import Encoding

from mesh.ca.authority import Authority, new_key
from mesh.ca.csr import make_csr
from mesh.ca.sign import sign_leaf
from mesh.controlplane.settings import ControlPlaneSettings
from mesh.spiffe.renewal import renew_at
from mesh.spiffe.svid import X509Svid

DNS_NAME = "control-plane.mesh"  # what agents and proxies call it; who it is says the SPIFFE ID


class _Fresh:
    """What gRPC calls at each handshake: the configuration when it is another than the last, else None."""

    def __init__(self, current: Callable[[], object]) -> None:
        self._current = current
        self._served = current()

    def __call__(self) -> object | None:
        fresh = self._current()
        if fresh is self._served:
            return None
        self._served = fresh
        return fresh


class OwnCertificate:
    """The certificate of both gRPC ports, and when to renew it."""

    def __init__(self, settings: ControlPlaneSettings, authority: Authority, *, now: datetime, rng: Random) -> None:
        self._settings = settings
        self._rng = rng
        self.renew(authority, now=now)

    def renew(self, authority: Authority, *, now: datetime) -> None:
        """Make a new key and certificate; the next handshake uses them."""
        key = new_key()
        chain = sign_leaf(
            make_csr(key),
            self._settings.identity,
            authority.intermediate(self._settings.datacenter),
            now=now,
            ttl=timedelta(seconds=self._settings.leaf_ttl_s),
            dns_names=(DNS_NAME,),
            addresses=(self._settings.address,),
        )
        svid = X509Svid.from_der(chain, key)
        self.due_at = renew_at(now, svid.not_after, self._rng)
        pair = [(svid.key_pem(), svid.chain_pem())]
        roots = b"".join(root.public_bytes(Encoding.PEM) for root in authority.bundle.roots)
        self._mutual = grpc.ssl_server_certificate_configuration(pair, root_certificates=roots)
        self._one_sided = grpc.ssl_server_certificate_configuration(pair)

    def mutual_tls(self) -> grpc.ServerCredentials:
        """Return the credentials of the port that asks for a client certificate."""
        return grpc.dynamic_ssl_server_credentials(
            self._mutual, _Fresh(lambda: self._mutual), require_client_authentication=True
        )

    def one_sided_tls(self) -> grpc.ServerCredentials:
        """Return the credentials of the join port, whose callers have no certificate yet."""
        return grpc.dynamic_ssl_server_credentials(self._one_sided, _Fresh(lambda: self._one_sided))
