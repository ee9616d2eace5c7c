"""What a connection rests on: the certificates of its ends, and the roots that proved them.

A connection outlives its handshake by hours, a certificate may not. So what was proven once is asked for again: with
each request, or about twice a second for an opaque stream.
"""

from __future__ import annotations

from datetime import UTC, datetime

from mesh.base.errors import IdentityError
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.secrets import Identity


class Proof:
    """The proven ends of one connection.

    Args:
        proven_by: whose roots proved them.
    """

    __slots__ = ("_peers", "_proven_by")

    def __init__(self, proven_by: Identity | None, *peers: Peer | None) -> None:
        self._proven_by = proven_by
        self._peers = [peer for peer in peers if peer is not None]

    def add(self, peer: Peer, proven_by: Identity | None) -> None:
        """Note another end. If other roots proved it, `require_present` will ask the present ones about all ends."""
        self._peers.append(peer)
        if proven_by is not self._proven_by:
            self._proven_by = None

    def expired(self, now_epoch_s: float) -> Peer | None:
        """Return an end whose certificate is over."""
        for peer in self._peers:
            if now_epoch_s >= peer.not_after_epoch_s:
                return peer
        return None

    def require_present(self, identity: Identity | None, now_epoch_s: float) -> None:
        """Prove all ends again when the secrets are no longer those that proved them.

        Raises:
            IdentityError: an end is not proven by the present roots; the message names the fault.
        """
        if identity is self._proven_by or identity is None:
            return
        for peer in self._peers:
            identity.verify(peer.chain, now=datetime.fromtimestamp(now_epoch_s, UTC))
        self._proven_by = identity

    def doubt(self, identity: Identity | None, now_epoch_s: float) -> str:
        """Say why an end is no longer believed; empty when all are."""
        peer = self.expired(now_epoch_s)
        if peer is not None:
            return f"the certificate of {peer.spiffe_id} has expired"
        try:
            self.require_present(identity, now_epoch_s)
        except IdentityError as error:
            return str(error)
        return ""
