"""Names of others over real sockets: the agent's name server in front, resolvers on loopback behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import SystemRandom

import pytest
import uvloop
from dnslib import QTYPE, RCODE, RR, TXT, A, DNSRecord

from mesh.agent import forward
from mesh.agent.dns import NameServer, serve_dns
from mesh.agent.forward import MAX_UNDER_WAY, MAX_WAITING, Forwarder, read_spare_ports
from mesh.agent.latest import Latest
from mesh.agent.names import NameTable, Zone
from mesh.telemetry.metrics import Metrics

FIRST, SECOND = "127.0.0.2", "127.0.0.3"
DEADLINE_S = 30.0
Answers = Callable[[DNSRecord], list[bytes]]


def true_answer(query: DNSRecord) -> list[bytes]:
    reply = query.reply()
    reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A("10.77.1.15"), ttl=60))
    return [reply.pack()]


def forged_then_true(query: DNSRecord) -> list[bytes]:
    forged = query.reply()
    forged.header.id = query.header.id ^ 1
    forged.add_answer(RR(query.q.qname, QTYPE.A, rdata=A("192.0.2.66"), ttl=60))
    return [forged.pack(), b"garbage", query.pack(), *true_answer(query)]


def says(code: int) -> Answers:
    def answers(query: DNSRecord) -> list[bytes]:
        reply = query.reply()
        reply.header.rcode = code
        return [reply.pack()]

    return answers


def truncated(query: DNSRecord) -> list[bytes]:
    reply = query.reply()
    reply.header.tc = 1
    return [reply.pack()]


def long_answer(query: DNSRecord) -> list[bytes]:
    reply = query.reply()
    for _ in range(30):
        reply.add_answer(RR(query.q.qname, QTYPE.TXT, rdata=TXT("x" * 60), ttl=1))
    return [reply.pack()]


def silence(query: DNSRecord) -> list[bytes]:
    return []


class Resolver(asyncio.DatagramProtocol):
    """One resolver: what it was asked, from which ports, and what it says to that."""

    def __init__(self, over_udp: Answers, over_tcp: Answers) -> None:
        self.over_udp, self.over_tcp = over_udp, over_tcp
        self.asked: list[str] = []
        self.ports: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = DNSRecord.parse(data)
        self.asked.append(str(query.q.qname))
        self.ports.append(addr[1])
        for answer in self.over_udp(query):
            self.transport.sendto(answer, addr)  # type: ignore[attr-defined]

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = DNSRecord.parse(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        self.asked.append(str(query.q.qname))
        for answer in self.over_tcp(query):
            writer.write(len(answer).to_bytes(2, "big") + answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def resolver(address: str, port: int, over_udp: Answers, over_tcp: Answers) -> AsyncIterator[Resolver]:
    """Open one; port 0 takes any, which `transport` then knows."""
    made = Resolver(over_udp, over_tcp)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: made, local_addr=(address, port))
    port = transport.get_extra_info("sockname")[1]
    async with await asyncio.start_server(made.talk, address, port):
        yield made
    transport.close()


class Scene:
    """A name server with one or two resolvers behind it, and a client in front."""

    def __init__(self, port: int, metrics: Metrics, resolvers: list[Resolver], forwarder: Forwarder) -> None:
        self.port, self.metrics, self.resolvers, self.forwarder = port, metrics, resolvers, forwarder

    async def ask(self, name: str, kind: str = "A", *, over_tcp: bool = False) -> DNSRecord:
        query = DNSRecord.question(name, kind)
        async with asyncio.timeout(DEADLINE_S):
            raw = await (self._over_tcp if over_tcp else self._over_udp)(query.pack())
        answer = DNSRecord.parse(raw)
        assert answer.header.id == query.header.id
        return answer

    async def _over_udp(self, packet: bytes) -> bytes:
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        class Client(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                arrived.set_result(data)

        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=("127.0.0.1", self.port))
        try:
            transport.sendto(packet)
            return await arrived
        finally:
            transport.close()

    async def _over_tcp(self, packet: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(len(packet).to_bytes(2, "big") + packet)
        answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        writer.close()
        return answer

    def counted(self, result: str) -> int:
        return int(self.metrics.counter("mesh_dns_forwarded_total", result).value)


def play(
    act: Callable[[Scene], Awaitable[None]],
    *answers: Answers,
    over_tcp: Answers = true_answer,
    loops: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> None:
    """Run an act before one resolver per entry of `answers`."""

    async def scene() -> None:
        metrics, names = Metrics(), Latest[NameTable]()
        names.set(NameTable(1, {"payment-service": "240.0.0.3"}))
        async with resolver(FIRST, 0, answers[0], over_tcp) as first:
            port = first.transport.get_extra_info("sockname")[1]
            async with resolver(SECOND, port, answers[-1], over_tcp) as second:
                asked = (FIRST, SECOND)[: len(answers)]
                forwarder = Forwarder(asked, SystemRandom(), metrics, read_spare_ports(), port)
                server = NameServer(Zone("production", "dominos.internal", "east"), names, metrics, forwards=True)
                task = asyncio.create_task(forwarder.run())
                front = await _free_port()
                async with serve_dns(server, "127.0.0.1", front, forwarder):
                    await act(Scene(front, metrics, [first, second], forwarder))
                task.cancel()

    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(scene())


async def _free_port() -> int:
    """A port that is free for UDP and TCP just now."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    port = int(transport.get_extra_info("sockname")[1])
    transport.close()
    await asyncio.sleep(0)
    return port


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "ATTEMPT_S", 1.0)


@pytest.mark.parametrize("loops", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("over_tcp", [False, True], ids=["udp", "tcp"])
def test_a_neighbours_name_is_answered(over_tcp: bool, loops: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def act(scene: Scene) -> None:
        answer = await scene.ask("ledger-1", over_tcp=over_tcp)
        assert (answer.header.rcode, str(answer.rr[0].rdata)) == (RCODE.NOERROR, "10.77.1.15")
        assert scene.counted("answered") == 1

    play(act, true_answer, loops=loops)


def test_no_name_of_the_mesh_reaches_a_resolver() -> None:
    async def act(scene: Scene) -> None:
        for name in (
            "payment-service",
            "payment-service.lan",
            "x.production",
            "y.virtual.consul",
            "control-plane.mesh",
        ):
            for kind in ("A", "AAAA"):
                await scene.ask(name, kind)
        assert str((await scene.ask("payment-service")).rr[0].rdata) == "240.0.0.3"
        assert scene.resolvers[0].asked == []
        await scene.ask("ledger-1", "AAAA")
        assert scene.resolvers[0].asked == ["ledger-1."]

    play(act, true_answer)


def test_a_forged_answer_before_the_true_one_is_not_believed() -> None:
    async def act(scene: Scene) -> None:
        assert str((await scene.ask("ledger-1")).rr[0].rdata) == "10.77.1.15"
        assert scene.counted("mismatch") == 3

    play(act, forged_then_true)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(silence, id="one that is silent"),
        pytest.param(says(RCODE.SERVFAIL), id="one that failed"),
        pytest.param(says(RCODE.REFUSED), id="one that refuses"),
    ],
)
def test_the_next_resolver_is_asked_after(first: Answers) -> None:
    async def act(scene: Scene) -> None:
        assert str((await scene.ask("ledger-1")).rr[0].rdata) == "10.77.1.15"

    play(act, first, true_answer)


def test_a_name_that_does_not_exist_is_an_answer() -> None:
    async def act(scene: Scene) -> None:
        assert (await scene.ask("no-such-container")).header.rcode == RCODE.NXDOMAIN
        assert scene.resolvers[1].asked == []

    play(act, says(RCODE.NXDOMAIN), true_answer)


def test_a_lost_datagram_is_asked_again_and_nobody_waits_for_ever() -> None:
    async def act(scene: Scene) -> None:
        assert (await scene.ask("ledger-1")).header.rcode == RCODE.SERVFAIL
        assert len(scene.resolvers[0].asked) == forward.MIN_ATTEMPTS
        assert scene.counted("failed") == 1

    play(act, silence)


def test_a_truncated_answer_says_so_and_tcp_brings_the_rest() -> None:
    async def act(scene: Scene) -> None:
        assert (await scene.ask("ledger-1", "TXT")).header.tc == 1
        assert len((await scene.ask("ledger-1", "TXT", over_tcp=True)).rr) == 30

    play(act, truncated, over_tcp=long_answer)
    play(act, long_answer, over_tcp=long_answer)  # a resolver that sends more than the client takes


def test_too_many_questions_are_told_to_come_again_and_names_of_the_mesh_never_wait() -> None:
    async def act(scene: Scene) -> None:
        flood = [asyncio.create_task(scene.ask(f"x{each}.example")) for each in range(MAX_WAITING + 3 * MAX_UNDER_WAY)]
        while not scene.counted("overload"):
            await asyncio.sleep(0.01)
        assert scene.counted("failed") == 0  # nobody's time was over yet: these were told at once
        assert str((await scene.ask("payment-service")).rr[0].rdata) == "240.0.0.3"
        assert scene.forwarder._under_way <= MAX_UNDER_WAY
        assert len(set(scene.resolvers[0].ports)) <= MAX_UNDER_WAY
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)

    play(act, silence)


def test_questions_leave_from_ports_that_the_kernel_gives_to_nobody() -> None:
    async def act(scene: Scene) -> None:
        for each in range(40):
            await scene.ask(f"x{each}.example")
        ports = scene.resolvers[0].ports
        assert set(ports) <= set(read_spare_ports())
        assert len(set(ports)) > 35  # by chance two may be the same

    play(act, true_answer)
