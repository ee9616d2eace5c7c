"""Two sidecars on loopback with real sockets and real mutual TLS; tables and certificates made by hand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from mesh.proxy.tables.model import BreakerLimits, FilterChain, Listener, ProxyTables, TcpChain
from tests.fakes.sidecars import VIP, FakeMesh, FakeSidecar, allow, cluster_to, inbound, outbound

pytestmark = pytest.mark.slow

GET = b"GET /x HTTP/1.1\r\nhost: payment-service\r\n\r\n"
LAST = b"GET /x HTTP/1.1\r\nhost: payment-service\r\nconnection: close\r\n\r\n"
DEADLINE_S = 60.0
OPENED: list[asyncio.Server | asyncio.StreamWriter] = []  # of the running test; closed at its end, come what may


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run on the loop of the sidecar, with a deadline."""

    async def bounded() -> None:
        try:
            await asyncio.wait_for(test(), DEADLINE_S)
        finally:
            for opened in OPENED:
                opened.close()
            OPENED.clear()
            await asyncio.sleep(0.05)  # closing takes turns of the loop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


async def listen(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> int:
    """Serve connections on a free port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    OPENED.append(server)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def open_to(port: int, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    OPENED.append(writer)
    return reader, writer


class Application:
    """A small HTTP/1.1 server; `behave` answers one request or breaks something."""

    def __init__(self, behave: Callable[[asyncio.StreamWriter, bytes], None]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._behave = behave

    async def start(self) -> int:
        """Listen on a free port."""
        return await listen(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        OPENED.append(writer)
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                self._behave(writer, head)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def answer(writer: asyncio.StreamWriter, head: bytes) -> None:
    """Say ok."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


async def ask(port: int, request: bytes) -> bytes:
    """Send bytes, return all that comes until the end."""
    reader, writer = await open_to(port)
    writer.write(request)
    return await reader.read()


def test_thousands_of_requests_pass_by_mutual_tls() -> None:
    async def scenario() -> None:
        mesh, app = FakeMesh(), Application(answer)
        port = await app.start()
        async with mesh.sidecar("payment-service", inbound(port, allow("order-service"))) as payment:
            tables = outbound(cluster_to("payment-service", payment.port("inbound")))
            async with mesh.sidecar("order-service", tables) as order:
                answers = await asyncio.gather(*(ask(order.port("outbound"), GET * 199 + LAST) for _ in range(10)))
                assert [one.count(b"HTTP/1.1 200 OK") for one in answers] == [200] * 10
                assert len(app.requests) == 2000
                assert {line["response_code"] for line in order.log + payment.log} == {200}
                assert order.state.pool.opened <= 10

    run(scenario)


def test_a_stranger_is_denied_and_the_application_hears_nothing() -> None:
    async def scenario() -> None:
        mesh, app = FakeMesh(), Application(answer)
        port = await app.start()
        async with mesh.sidecar("payment-service", inbound(port, allow("order-service"))) as payment:
            tables = outbound(cluster_to("payment-service", payment.port("inbound")))
            async with mesh.sidecar("pulse-service", tables) as pulse:
                answered = await ask(pulse.port("outbound"), LAST)
                assert answered.startswith(b"HTTP/1.1 403 ")
                assert b"x-mesh-decision: default deny" in answered
                assert app.connections == 0

    run(scenario)


def test_an_application_that_resets_is_answered_by_the_other() -> None:
    def reset(writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.transport.abort()

    async def scenario() -> None:
        mesh, bad, good = FakeMesh(), Application(reset), Application(answer)
        bad_port, good_port = await bad.start(), await good.start()
        async with (
            mesh.sidecar("payment-service", inbound(bad_port, allow("order-service"))) as one,
            mesh.sidecar("payment-service", inbound(good_port, allow("order-service"))) as two,
        ):
            cluster = cluster_to("payment-service", one.port("inbound"), two.port("inbound"))
            async with mesh.sidecar("order-service", outbound(cluster)) as order:
                answered = await ask(order.port("outbound"), GET * 19 + LAST)
                assert answered.count(b"HTTP/1.1 200 OK") == 20
                tries = [[attempt["outcome"] for attempt in line["attempts"]] for line in order.log]
                assert ["503", "200"] in tries

    run(scenario)


def test_the_wrong_service_at_the_other_end_is_not_spoken_to() -> None:
    async def scenario() -> None:
        mesh, app = FakeMesh(), Application(answer)
        port = await app.start()
        async with mesh.sidecar("ledger-service", inbound(port, allow("order-service"))) as ledger:
            tables = outbound(cluster_to("payment-service", ledger.port("inbound")), retry=None)
            async with mesh.sidecar("order-service", tables) as order:
                answered = await ask(order.port("outbound"), LAST)
                assert answered.startswith(b"HTTP/1.1 503 ")
                assert b"expected spiffe://dominos.internal/ns/production/sa/payment-service" in answered
                assert order.log[0]["response_flags"] == "UF"
                assert app.connections == 0

    run(scenario)


def test_nobody_without_a_certificate_gets_in_and_nothing_is_resumed() -> None:
    async def scenario() -> None:
        mesh, app = FakeMesh(), Application(answer)
        port = await app.start()
        async with mesh.sidecar("payment-service", inbound(port, allow("order-service"))) as payment:
            where = payment.port("inbound")
            bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
            reader, writer = await open_to(where, ssl=bare)
            writer.write(LAST)
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                await reader.read()
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(ssl.SSLError):
                await open_to(where, ssl=old)
            reader, writer = await open_to(where, ssl=mesh.identity("order-service").client_context(()))
            writer.write(LAST)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            assert not writer.get_extra_info("ssl_object").session.has_ticket
            assert app.connections == 1

    run(scenario)


def test_no_request_fails_while_certificates_rotate() -> None:
    async def scenario() -> None:
        mesh, app = FakeMesh(), Application(answer)
        port = await app.start()
        async with mesh.sidecar("payment-service", inbound(port, allow("order-service"))) as payment:
            tables = outbound(cluster_to("payment-service", payment.port("inbound")), retry=None)
            async with mesh.sidecar("order-service", tables) as order:
                codes: list[bytes] = []

                async def load() -> None:
                    for _ in range(60):
                        codes.append((await ask(order.port("outbound"), GET * 4 + LAST))[9:12])
                        await asyncio.sleep(0.01)

                async def rotate() -> None:
                    for generation in range(2, 8):
                        so_far = len(codes)
                        while len(codes) < min(so_far + 8, 120):  # between requests, however fast these are
                            await asyncio.sleep(0.01)
                        order.state.apply_identity(mesh.identity("order-service", generation=generation))
                        payment.state.apply_identity(mesh.identity("payment-service", generation=generation))

                await asyncio.gather(load(), load(), rotate())
                assert set(codes) == {b"200"}
                assert order.state.pool.opened >= 6

    run(scenario)


def test_a_big_answer_streams_and_a_slow_caller_bounds_what_is_held() -> None:
    size = 32 * 1024 * 1024

    def flood(writer: asyncio.StreamWriter, head: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        writer.write(b"x" * size)

    async def scenario() -> None:
        mesh, app = FakeMesh(), Application(flood)
        port = await app.start()
        async with mesh.sidecar("payment-service", inbound(port, allow("order-service"))) as payment:
            tables = outbound(cluster_to("payment-service", payment.port("inbound")))
            async with mesh.sidecar("order-service", tables) as order:
                reader, writer = await open_to(order.port("outbound"), limit=1024)
                writer.write(LAST)
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.3)
                held = sum(_buffered(sidecar) for sidecar in (order, payment))
                assert held < 4 * 1024 * 1024
                total = 0
                while chunk := await reader.read(1 << 20):
                    total += len(chunk)
                assert total == size

    run(scenario)


def _buffered(sidecar: FakeSidecar) -> int:
    """Return the bytes that wait in the write buffers of a sidecar's downstream connections."""
    sizes = []
    for connection in sidecar.state.connections:
        wire: Any = getattr(connection, "_wire")  # noqa: B009  # a look inside, for the test only
        transport = getattr(wire, "_transport", wire)
        sizes.append(transport.get_write_buffer_size())
    return sum(sizes)


def tcp_outbound(port: int) -> ProxyTables:
    """Return tables with an outbound TCP listener to ledger-service."""
    cluster = cluster_to("ledger-service", port, alpn=(), limits=BreakerLimits())
    chain = FilterChain("outbound", TcpChain("out", "ledger-service"))
    listener = Listener("outbound", "127.0.0.1", 0, False, by_address={VIP[0]: chain})
    return ProxyTables(1, {"outbound": listener}, {"ledger-service": cluster})


async def count_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A TCP application that answers only when the caller has said all."""
    OPENED.append(writer)
    total = 0
    try:
        while chunk := await reader.read(65536):
            total += len(chunk)
        writer.write(b"%d bytes" % total)
    except ConnectionError:
        pass
    writer.close()


def test_half_close_goes_through_both_sidecars_and_tls() -> None:
    async def scenario() -> None:
        mesh = FakeMesh()
        port = await listen(count_bytes)
        async with (
            mesh.sidecar("ledger-service", inbound(port, allow("payment-service"), is_tcp=True)) as ledger,
            mesh.sidecar("payment-service", tcp_outbound(ledger.port("inbound"))) as payment,
        ):
            reader, writer = await open_to(payment.port("outbound"))
            writer.write(b"x" * 3_000_000)
            writer.write_eof()
            assert await reader.read() == b"3000000 bytes"

    run(scenario)


def test_a_long_lived_stream_is_cut_when_its_permission_goes() -> None:
    async def scenario() -> None:
        mesh = FakeMesh()
        port = await listen(count_bytes)
        async with (
            mesh.sidecar("ledger-service", inbound(port, allow("payment-service"), is_tcp=True)) as ledger,
            mesh.sidecar("payment-service", tcp_outbound(ledger.port("inbound"))) as payment,
        ):
            reader, writer = await open_to(payment.port("outbound"))
            writer.write(b"x")
            while not ledger.state.connections:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            await ledger.apply(inbound(port, allow("order-service"), is_tcp=True, index=2))
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)

    run(scenario)
