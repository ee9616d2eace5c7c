"""TLS in memory: two layers back to back, no socket; what was decided before the handshake's end is looked at again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.tls_layer import TlsLayer
from mesh.proxy.shell.listeners import Listeners
from mesh.proxy.tables.model import ProxyTables
from tests.fakes.script import Script
from tests.fakes.sidecars import VIP, FakeMesh, allow, inbound

GET = b"GET / HTTP/1.1\r\nhost: payment-service\r\n\r\n"


class Pipe:
    """A socket's transport whose other end is a list of bytes."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_open = True

    def write(self, data: bytes) -> None:
        """Take bytes."""
        if data:
            self.sent.append(data)

    def close(self) -> None:
        """End."""
        self.is_open = False

    abort = close

    def is_closing(self) -> bool:
        """Say whether it ended."""
        return not self.is_open

    def pause_reading(self) -> None:
        """Do nothing: the test pumps."""

    resume_reading = pause_reading

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return an address, and for the socket something that takes options."""
        return {"socket": self, "peername": ("10.0.0.1", 5)}.get(name, default)

    def getsockname(self) -> tuple[str, int]:
        """Return where the listener is."""
        return ("10.0.0.2", 15006)

    def setsockopt(self, *_: object) -> None:
        """Take an option."""


class Talker(asyncio.Protocol):
    """A client that speaks at once."""

    def connection_made(self, transport: Any) -> None:
        """Send the request together with the end of the handshake."""
        transport.write(GET)


def handshake(client: TlsLayer, server: asyncio.Protocol, before_the_end: Any) -> Pipe:
    """Run a handshake; call `before_the_end` when only the last flight is missing. Return the server's pipe."""
    near, far = Pipe(), Pipe()
    server.connection_made(far)  # type: ignore[arg-type]  # a pipe is all that is used
    client.connection_made(near)  # type: ignore[arg-type]  # likewise
    server.data_received(b"".join(near.sent))
    near.sent.clear()
    client.data_received(b"".join(far.sent))
    far.sent.clear()
    before_the_end()
    server.data_received(b"".join(near.sent))
    return far


def client_of(identity: Identity) -> TlsLayer:
    """Return the client's side."""

    def verify(chain: Sequence[bytes]) -> Peer:
        return identity.verify(chain, now=FakeMesh().now)

    return TlsLayer(
        identity.client_context(("http/1.1",)),
        Talker(),
        verify=verify,
        on_settled=lambda _: None,
        server_side=False,
        server_hostname="payment-service",
    )


@pytest.mark.parametrize(
    ("what", "is_served"),
    [
        pytest.param("nothing", True, id="when nothing changes the request is served"),
        pytest.param("roots", False, id="roots that were withdrawn meanwhile prove nobody"),
        pytest.param("chain", False, id="a chain that is gone meanwhile serves nobody"),
    ],
)
def test_what_changes_during_the_handshake_counts(what: str, is_served: bool) -> None:
    async def run() -> None:
        mesh, other = FakeMesh(), FakeMesh()
        script = Script(inbound(8080, allow("order-service")), service="payment-service")
        script.clock.epoch = mesh.now
        script.state.apply_identity(mesh.identity("payment-service"))
        listeners = Listeners(script.state, lambda _: VIP)
        chosen = listeners.choose("inbound", Pipe())
        assert chosen is not None

        def change() -> None:
            if what == "roots":
                script.state.apply_identity(other.identity("payment-service", generation=2))
            elif what == "chain":
                script.state.apply_tables(ProxyTables(2, {}, {}))

        far = handshake(client_of(mesh.identity("order-service")), chosen[1], change)
        assert far.is_open is is_served
        assert len(script.dials) == is_served

    asyncio.run(run())
