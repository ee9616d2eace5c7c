"""Listeners: sockets that follow the tables, and each new connection's way to its filter chain.

iptables sends connections here; the kernel remembers where they were going (SO_ORIGINAL_DST). That destination, not
anything a peer says, chooses the filter chain. No chain, or a destination that is the listener itself (someone dialled
the port directly: passed on it would come back for ever), and the connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from mesh.base.errors import IdentityError
from mesh.proxy.connection.downstream import DownstreamHttp
from mesh.proxy.connection.facts import facts_of
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.state import ProxyState
from mesh.proxy.connection.tcp import TcpProxy
from mesh.proxy.connection.tls_layer import TlsLayer
from mesh.proxy.filters.exchange import ConnectionFacts
from mesh.proxy.tables.model import DownstreamTls, FilterChain, HttpChain, Listener, ProxyTables, TcpChain

log = logging.getLogger("mesh.sidecar")

BACKLOG = 4096
SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h
Address = tuple[str, int]


def original_destination(sock: Any) -> Address | None:
    """Return where a redirected connection was going; None when nothing redirected it.

    Source: netfilter, getsockopt(SOL_IP, SO_ORIGINAL_DST), a struct sockaddr_in.
    """
    try:
        raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    except OSError:
        return None
    port, address = struct.unpack_from("!2xH4s", raw)
    return socket.inet_ntoa(address), port


class Doorman(asyncio.Protocol):
    """The first protocol of an accepted socket: finds its chain, then hands the socket to that chain's protocol."""

    def __init__(self, listeners: Listeners, name: str) -> None:
        self._listeners = listeners
        self._name = name
        self._chain = ""
        self._next: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Choose, at once: no byte has been read yet."""
        chosen = self._listeners.choose(self._name, transport)
        if chosen is None:
            transport.abort()  # type: ignore[attr-defined]  # uvloop's transports are not asyncio.Transport
            return
        self._chain, self._next = chosen
        self._listeners.count(self._name, self._chain, +1)
        self._next.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._next is not None:
            self._next.data_received(data)

    def eof_received(self) -> bool | None:
        return self._next.eof_received() if self._next is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next is not None:
            self._listeners.count(self._name, self._chain, -1)
            self._next.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._next is not None:
            self._next.pause_writing()

    def resume_writing(self) -> None:
        if self._next is not None:
            self._next.resume_writing()


class Listeners:
    """The open listeners; `follow` makes them those of the tables.

    Args:
        state: of the proxy.
        destination_of: where a socket was going; a seam, because tests have no iptables.
    """

    def __init__(
        self, state: ProxyState, destination_of: Callable[[Any], Address | None] = original_destination
    ) -> None:
        self._state = state
        self._destination_of = destination_of
        self._servers: dict[str, tuple[Address, asyncio.Server]] = {}
        self.open: dict[str, int] = {}
        self._open_by_chain: dict[str, int] = {}
        self.max_connections = _descriptor_share()

    async def follow(self, tables: ProxyTables) -> None:
        """Open what is new, close what is gone. One whose address stays is left alone, whatever its chains."""
        for name, (address, server) in list(self._servers.items()):
            wanted = tables.listeners.get(name)
            if wanted is None or (wanted.address, wanted.port) != address:
                server.close()
                del self._servers[name]
        for name, listener in tables.listeners.items():
            if name not in self._servers:
                await self._open(name, listener)

    def not_open(self, tables: ProxyTables) -> list[str]:
        """Return the names of the tables' listeners that nobody can reach yet."""
        return sorted(tables.listeners.keys() - self._servers.keys())

    async def _open(self, name: str, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Doorman(self, name), listener.address, listener.port, backlog=BACKLOG, reuse_address=True
        )
        self._servers[name] = ((listener.address, listener.port), server)
        log.info("listening", extra={"listener": name, "address": f"{listener.address}:{self.port(name)}"})

    def port(self, name: str) -> int:
        """Return the port of an open listener."""
        port: int = self._servers[name][1].sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Accept nothing more; what is open stays."""
        for _, server in self._servers.values():
            server.close()
        self._servers.clear()

    def count(self, name: str, chain: str, step: int) -> None:
        """Note that a connection began or ended."""
        self.open[name] = self.open.get(name, 0) + step
        self._open_by_chain[chain] = self._open_by_chain.get(chain, 0) + step

    def choose(self, name: str, transport: Any) -> tuple[str, asyncio.Protocol] | None:
        """Return the chain and the protocol of a new connection; None: close it."""
        listener = self._state.tables.listeners.get(name)
        if listener is None:
            return None
        if self.open.get(name, 0) >= self.max_connections:
            return self._refuse(name, "max_connections", f"{self.max_connections} connections are open")
        sock = transport.get_extra_info("socket")
        destination = self._destination_of(sock)
        if destination is None or destination == sock.getsockname()[:2]:
            return self._refuse(name, "not_redirected", "the listener's own port was dialled")
        chain = listener.find(*destination)
        if chain is None:
            return self._refuse(name, "no_filter_chain_match", f"no chain for {destination[0]}:{destination[1]}")
        if chain.max_connections is not None and self._open_by_chain.get(chain.name, 0) >= chain.max_connections:
            return self._refuse(
                name, "max_connections", f"{chain.max_connections} connections of {chain.name} are open"
            )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peername = transport.get_extra_info("peername")
        remote = f"{peername[0]}:{peername[1]}" if peername else ""
        app = self._app_of(name, chain, destination, remote)
        if chain.tls is None:
            return chain.name, app
        identity = self._state.identity
        if identity is None:
            return self._refuse(name, "no_identity", "no certificate of our own yet")
        return chain.name, self._with_tls(name, identity, chain.tls, app, remote)

    def _with_tls(
        self, name: str, identity: Identity, tls: DownstreamTls, app: asyncio.Protocol, remote: str
    ) -> TlsLayer:
        state = self._state

        def verify(certificates: Sequence[bytes]) -> Peer:
            # By the roots of this moment: those of the handshake's beginning may have been withdrawn since.
            present = state.identity or identity
            peer = present.verify(certificates, now=state.clock.utcnow())
            if not peer.spiffe_id.startswith(tls.expected_prefix):
                raise IdentityError(f"verifying peer certificate: {peer.spiffe_id} is not under {tls.expected_prefix}")
            return peer

        def on_settled(reason: str) -> None:
            if reason:
                self._refuse(name, "tls", f"{remote}: {reason}")

        return TlsLayer(identity.server_context(), app, verify=verify, on_settled=on_settled, server_side=True)

    def _app_of(self, name: str, chain: FilterChain, destination: Address, remote: str) -> asyncio.Protocol:
        state, dialled = self._state, f"{destination[0]}:{destination[1]}"
        has_tls = chain.tls is not None

        def find(kind: type) -> Any:
            listener = state.tables.listeners.get(name)
            found = None if listener is None else listener.find(*destination)
            # A chain that went from plaintext to TLS, or to another protocol, is not this connection's any more.
            if found is None or not isinstance(found.app, kind) or (found.tls is not None) != has_tls:
                return None
            return found.app

        def facts(peer: Peer | None) -> ConnectionFacts:
            return facts_of(state.identity, peer, remote, dialled)

        if isinstance(chain.app, HttpChain):
            return DownstreamHttp(state, lambda: find(HttpChain), facts)
        return TcpProxy(state, lambda: find(TcpChain), facts)

    def _refuse(self, name: str, reason: str, said: str) -> tuple[str, asyncio.Protocol] | None:
        self._state.recorder.refused(name, reason, said)
        return None


def _descriptor_share() -> int:
    """Half of the file descriptors this process may have: each connection in may need one out."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, (soft - 64) // 2)
