"""Ask the host's own resolvers what is not of the mesh: bounded in time, in number and in what is believed.

Each question has a socket of its own, on a port drawn by chance from those that the kernel gives to nobody. That makes
a forged answer hard to place, and it keeps our flows apart from those of the host's other programs: where the resolver
is the very address that table nat turns to us, two flows with one port would be one to the connection tracker, and
either would be answered in the other's place.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

from dnslib import RCODE

from mesh.agent.foreign import Foreign
from mesh.base.errors import RemoteProtocolError
from mesh.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

ATTEMPT_S = 1.5  # three of them end before a client's own five seconds (resolv.conf(5), timeout)
MIN_ATTEMPTS = 2  # a datagram may be lost
MAX_UNDER_WAY = 32
MAX_WAITING = 128  # over UDP, for one of the tasks; whoever comes then is told to try again
MAX_ANSWER_BYTES = 65535
BIND_TRIES = 16
LOWEST_PORT = 20000  # below it live services that this host may start at any time
ENOUGH_PORTS = 1024
PORT_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Forwarder:
    """Asks one resolver after the other.

    Args:
        resolvers: their addresses, in the order in which they are asked; empty means that nothing is forwarded.
        rng: where ports and numbers come from; a guessable one makes answers forgeable.
        spare_ports: ports that the kernel gives to nobody; empty leaves the choice to the kernel.
        port: where resolvers listen.
    """

    def __init__(
        self, resolvers: Sequence[str], rng: Random, metrics: Metrics, spare_ports: Sequence[int] = (), port: int = 53
    ) -> None:
        once = tuple(resolvers)
        self._attempts = once * MIN_ATTEMPTS if len(once) == 1 else once
        self._rng = rng
        self._metrics = metrics
        self._spare_ports = spare_ports
        self._port = port
        self._under_way = 0
        self._waiting: asyncio.Queue[tuple[Foreign, Callable[[bytes], None]]] = asyncio.Queue(MAX_WAITING)

    @property
    def is_used(self) -> bool:
        """Say whether anything is forwarded at all."""
        return bool(self._attempts)

    async def run(self) -> None:
        """Answer what is submitted, a fixed number at a time, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(MAX_UNDER_WAY if self.is_used else 0):
                group.create_task(self._work())

    def submit(self, foreign: Foreign, reply: Callable[[bytes], None]) -> None:
        """Have a question over UDP answered; `reply` is called once, at once when too many wait."""
        try:
            self._waiting.put_nowait((foreign, reply))
        except asyncio.QueueFull:
            self._count("overload")
            reply(foreign.failure())

    async def _work(self) -> None:
        while True:
            foreign, reply = await self._waiting.get()
            reply(await self.ask(foreign, over_tcp=False))

    async def ask(self, foreign: Foreign, *, over_tcp: bool) -> bytes:
        """Return the reply for a client; within seconds, and a failure when nobody gave an answer to believe."""
        if self._under_way >= MAX_UNDER_WAY:
            self._count("overload")
            return foreign.failure()
        self._under_way += 1
        try:
            answer = await self._first_answer(foreign, over_tcp=over_tcp)
        finally:
            self._under_way -= 1
        self._count("answered" if answer else "failed")
        return foreign.reply(answer, over_tcp=over_tcp) if answer else foreign.failure()

    async def _first_answer(self, foreign: Foreign, *, over_tcp: bool) -> bytes:
        """Ask until a resolver knows something; one that only says that it failed is kept for want of a better."""
        kept = b""
        for address in self._attempts:
            number = self._rng.getrandbits(16)
            try:
                async with asyncio.timeout(ATTEMPT_S):
                    ask = self._over_tcp if over_tcp else self._over_udp
                    answer, code = await ask(address, foreign, number)
            except (TimeoutError, OSError, EOFError, RemoteProtocolError) as error:
                log.debug("a resolver gave no answer", extra={"resolver": address, "reason": str(error)})
                continue
            if code not in (RCODE.SERVFAIL, RCODE.REFUSED):
                return answer
            kept = answer
        return kept

    async def _over_udp(self, address: str, foreign: Foreign, number: int) -> tuple[bytes, int]:
        loop = asyncio.get_running_loop()
        with self._bound(socket.SOCK_DGRAM) as link:
            link.connect((address, self._port))  # from then on the kernel drops what others send
            await loop.sock_sendall(link, foreign.query(number))
            while True:
                answer = await loop.sock_recv(link, MAX_ANSWER_BYTES)
                try:
                    return answer, foreign.check(answer, number)
                except RemoteProtocolError:
                    self._count("mismatch")  # perhaps forged: the true answer may still come

    async def _over_tcp(self, address: str, foreign: Foreign, number: int) -> tuple[bytes, int]:
        link = self._bound(socket.SOCK_STREAM)
        try:
            await asyncio.get_running_loop().sock_connect(link, (address, self._port))
            reader, writer = await asyncio.open_connection(sock=link)
        except BaseException:
            link.close()
            raise
        try:
            query = foreign.query(number)
            writer.write(len(query).to_bytes(2, "big") + query)
            await writer.drain()
            length = int.from_bytes(await reader.readexactly(2), "big")
            answer = await reader.readexactly(length)
        finally:
            writer.transport.abort()
        return answer, foreign.check(answer, number)

    def _bound(self, kind: socket.SocketKind) -> socket.socket:
        link = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        for _ in range(BIND_TRIES if self._spare_ports else 0):
            with suppress(OSError):
                link.bind(("", self._rng.choice(self._spare_ports)))
                break
        return link  # unbound after all, the kernel gives it a port when it connects

    def _count(self, result: str) -> None:
        self._metrics.counter("mesh_dns_forwarded_total", result).value += 1


def spare_ports(text: str) -> tuple[int, ...]:
    """Return ports that the kernel gives to nobody by itself; empty when there are too few to draw from.

    Args:
        text: what net.ipv4.ip_local_port_range holds: the first and the last port that it does give.
    """
    try:
        first, last = (int(word) for word in text.split())
    except ValueError:
        return ()
    ports = (*range(LOWEST_PORT, first), *range(max(last + 1, LOWEST_PORT), 65536))
    return ports if len(ports) >= ENOUGH_PORTS else ()


def read_spare_ports() -> tuple[int, ...]:
    """Return this host's spare ports."""
    try:
        return spare_ports(PORT_RANGE_FILE.read_text(encoding="ascii"))
    except OSError as error:
        log.warning("the range of local ports cannot be read", extra={"reason": str(error)})
        return ()
