"""What is known of a caller's connection from its beginning, and stays true to its end."""

from __future__ import annotations

from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.filters.exchange import ConnectionFacts
from mesh.proxy.filters.trusted_headers import identity_suffix


def facts_of(identity: Identity | None, peer: Peer | None, remote: str, dialled: str) -> ConnectionFacts:
    """Return the facts of a connection.

    Args:
        identity: ours.
        peer: the proven caller; None on a plaintext connection.
        remote: `address:port` of the caller.
        dialled: `address:port` that it dialled.
    """
    local = None if identity is None else identity.spiffe_id
    if peer is None:
        return ConnectionFacts(None, "", b"", local, remote, dialled)
    suffix = identity_suffix(peer.spiffe_id, peer.chain[0], local or "")
    return ConnectionFacts(peer.spiffe_id, peer.service, suffix, local, remote, dialled)
