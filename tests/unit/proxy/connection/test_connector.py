"""Opening a connection, over a loop whose sockets are lists of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mesh.base.clock import SystemClock
from mesh.base.errors import UpstreamError
from mesh.proxy.connection.connector import TIMED_OUT, connect
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.tls_layer import TlsLayer
from mesh.proxy.tables.model import Cluster
from tests.fakes.sidecars import FakeMesh, cluster_to, local_app

TLS = cluster_to("payment-service", 8080)
PLAIN = replace(local_app(8080), source_address="127.0.0.6")


class Pipe:
    """A socket's transport; what is written waits until it is pumped."""

    def __init__(self) -> None:
        self.sent = b""
        self.is_open = True

    def write(self, data: bytes) -> None:
        """Take bytes."""
        self.sent += data

    def close(self) -> None:
        """End."""
        self.is_open = False

    abort = close

    def is_closing(self) -> bool:
        """Say whether it ended."""
        return not self.is_open

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Know nothing."""
        return default


class App(asyncio.Protocol):
    """What the connection is for."""

    wire: Any = None

    def connection_made(self, transport: Any) -> None:
        """Note that the peer is proven."""
        self.wire = transport


class Loop(asyncio.SelectorEventLoop):
    """An event loop that connects to what the test says.

    Args:
        answer: takes the protocol and its pipe, in place of a network; may raise what a network raises.
    """

    def __init__(self, answer: Callable[[Any, Pipe], None]) -> None:
        super().__init__()
        self._answer = answer
        self.pipe = Pipe()
        self.local_addr: Any = None

    async def create_connection(  # type: ignore[override]  # of its overloads, the one that is used
        self, factory: Any, *where: Any, local_addr: Any = None, **_: Any
    ) -> Any:
        """Connect."""
        self.local_addr = local_addr
        protocol = factory()
        protocol.connection_made(self.pipe)
        self._answer(protocol, self.pipe)
        return self.pipe, protocol


def opened(
    cluster: Cluster, answer: Callable[[Any, Pipe], None], identity: Identity | None = None
) -> tuple[str, App, Loop]:
    """Connect; return why not (or nothing), the application and the loop."""
    loop, app = Loop(answer), App()
    try:
        work = connect(cluster, cluster.endpoints[0], app, identity=identity, clock=SystemClock())
        loop.run_until_complete(work)
    except UpstreamError as error:
        return f"{error.flag}: {error}", app, loop
    finally:
        loop.close()
    return "", app, loop


def accepts(protocol: Any, pipe: Pipe) -> None:
    """Take the connection and say nothing."""


def fails(error: Exception) -> Callable[[Any, Pipe], None]:
    """Fail as a network does."""

    def answer(protocol: Any, pipe: Pipe) -> None:
        raise error

    return answer


def serves(identity: Identity) -> Callable[[Any, Pipe], None]:
    """Answer the handshake as this identity."""

    def answer(protocol: Any, pipe: Pipe) -> None:
        far = Pipe()
        server = TlsLayer(
            identity.server_context(),
            App(),
            verify=lambda chain: identity.verify(chain, now=SystemClock().utcnow()),
            on_settled=lambda _: None,
            server_side=True,
        )
        server.connection_made(far)  # type: ignore[arg-type]  # a pipe is all that is used
        while pipe.sent or far.sent:
            there, pipe.sent = pipe.sent, b""
            if there:
                server.data_received(there)
            back, far.sent = far.sent, b""
            if back:
                protocol.data_received(back)

    return answer


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(ConnectionRefusedError(111, "Connection refused"), "connection refused", id="nobody listens"),
        pytest.param(OSError("no route"), "no route", id="an error without a number"),
        pytest.param(
            RuntimeError("unable to perform operation"),
            "closed while connecting: unable to perform operation",
            id="uvloop's word for a handle that was closed meanwhile",
        ),
    ],
)
def test_what_the_network_says_is_the_reason(error: Exception, reason: str) -> None:
    assert opened(PLAIN, fails(error))[0] == f"UF: {reason}"


def test_the_application_is_dialled_in_plain_from_the_delivery_address() -> None:
    reason, app, loop = opened(PLAIN, accepts)
    assert (reason, loop.local_addr) == ("", ("127.0.0.6", 0))
    assert app.wire is loop.pipe


def test_the_timeout_covers_the_handshake_and_leaves_nothing_open() -> None:
    identity = FakeMesh().identity("order-service")
    reason, app, loop = opened(replace(TLS, connect_timeout_s=0.01), accepts, identity)
    assert reason == f"UF: {TIMED_OUT}"
    assert app.wire is None
    assert not loop.pipe.is_open


def test_without_a_certificate_of_our_own_nobody_is_dialled() -> None:
    reason, *_ = opened(TLS, fails(AssertionError("dialled")))
    assert reason.startswith("UF: no certificate of our own yet")


def test_a_peer_that_proves_to_be_the_service_is_connected() -> None:
    mesh = FakeMesh()
    reason, app, _ = opened(TLS, serves(mesh.identity("payment-service")), mesh.identity("order-service"))
    assert reason == ""
    assert app.wire.get_extra_info("peer").service == "payment-service"


@pytest.mark.parametrize(
    ("service", "is_of_the_mesh"),
    [
        pytest.param("ledger-service", True, id="another service of the mesh"),
        pytest.param("payment-service", False, id="the same name in another mesh"),
    ],
)
def test_any_other_peer_is_refused_before_a_byte_is_sent(service: str, is_of_the_mesh: bool) -> None:
    mesh, other = FakeMesh(), FakeMesh()
    server = (mesh if is_of_the_mesh else other).identity(service)
    reason, app, _ = opened(TLS, serves(server), mesh.identity("order-service"))
    assert reason.startswith("UF: verifying peer certificate: ")
    assert app.wire is None
