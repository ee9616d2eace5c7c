"""Fields with a meaning inside the mesh: written by the mesh, or not there.

From a peer nothing of the kind is believed: `x-envoy-*`, `x-mesh-*` and `x-forwarded-client-cert` are taken out before
any rule looks, and the last is written anew from the certificate. The retry headers of the application on this host
are honoured by the router. Whoever wrote them, `emit_request` lets none of these names through.

`x-forwarded-for` is not the mesh's: it passes as it came and nothing is added. An address proves nothing here; who
calls is in `x-forwarded-client-cert`. `x-forwarded-proto` says, as with Envoy, what the application spoke: plain HTTP.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from mesh.proxy.filters.exchange import Handler, Request, Response
from mesh.proxy.http.emit import encode_fields
from mesh.proxy.http.trusted import trusted_names_in

CLIENT_CERT = "x-forwarded-client-cert"
PROTO = "x-forwarded-proto"
_FROM_HERE, _FROM_A_PEER = f"{PROTO}: http\r\n".encode(), f"{PROTO}: https\r\n".encode()
_PROTO = frozenset({PROTO})


async def trusted_headers(request: Request, call_next: Handler) -> Response:
    """Take out what only the mesh may say; say who the caller is."""
    if request.chain.is_inbound:
        claimed = trusted_names_in(request.view.headers)
        if claimed:
            rest = {name: values for name, values in request.view.headers.items() if name not in claimed}
            request.view = replace(request.view, headers=rest)
        if request.chain.is_forwarding_client_identity:
            request.suffix += request.facts.identity_suffix
        if PROTO not in request.view.headers:
            request.suffix += _FROM_A_PEER  # one that is no sidecar: it would have said
    else:
        if PROTO in request.view.headers:
            request.remove |= _PROTO
        request.suffix += _FROM_HERE
    return await call_next(request)


def identity_suffix(peer: str, certificate_der: bytes, local_id: str) -> bytes:
    """Return the field line that tells the application who calls; once per connection.

    Source: Envoy, x-forwarded-client-cert with By, Hash and URI (SANITIZE_SET).
    """
    digest = hashlib.sha256(certificate_der).hexdigest()
    return encode_fields([(CLIENT_CERT, f"By={local_id};Hash={digest};URI={peer}")])
