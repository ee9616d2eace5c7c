"""The host's name server on loopback, UDP and TCP: a packet in, `mesh.agent.names` asked, a packet out.

Names of the mesh are answered at once from memory, so no such question can wait for anybody. Names of others are
refused or, where agent.json names resolvers, handed to a fixed number of tasks that ask those. The table is kept on
disk, so that names outlive a restart of the agent while the control plane is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord
from grpc import aio

from mesh.agent.files import write_atomically
from mesh.agent.foreign import Foreign
from mesh.agent.forward import Forwarder
from mesh.agent.latest import Latest
from mesh.agent.names import Answer, NameTable, Outcome, Zone, answer, from_text, to_text
from mesh.api import rpc
from mesh.base.errors import RemoteProtocolError
from mesh.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

TTL_S = 5  # an address is stable; what the short life bounds is a cached name of a service that went
IDLE_S = 10.0
MAX_QUERY_BYTES = 1024
NAMES_FILE = "names.json"

_CODES = {
    Outcome.ADDRESS: RCODE.NOERROR,
    Outcome.EMPTY: RCODE.NOERROR,
    Outcome.UNKNOWN: RCODE.NXDOMAIN,
    Outcome.REFUSED: RCODE.REFUSED,
    Outcome.NOT_YET: RCODE.SERVFAIL,
}


class NameServer:
    """Answers packets from the latest table."""

    def __init__(self, zone: Zone, names: Latest[NameTable], metrics: Metrics, *, forwards: bool = False) -> None:
        self._zone = zone
        self._names = names
        self._metrics = metrics
        self._forwards = forwards

    def respond(self, packet: bytes) -> bytes | Foreign | None:
        """Return the answer to a packet, or that others must be asked; None when it deserves no answer."""
        try:
            query = DNSRecord.parse(packet[:MAX_QUERY_BYTES])
        except (DNSError, ValueError, IndexError, UnicodeError):
            return None
        if query.header.qr:
            return None
        reply = query.reply(ra=0, aa=1)
        if query.header.opcode != 0 or len(query.questions) != 1:
            reply.header.rcode = RCODE.NOTIMP
            return bytes(reply.pack())
        question = query.questions[0]
        is_a = question.qtype == QTYPE.A
        found = answer(self._names.peek(), self._zone, str(question.qname), is_a=is_a, forwards=self._forwards)
        if found.outcome is Outcome.FOREIGN:
            if (foreign := Foreign(query)).is_forwarded:
                self._metrics.counter("mesh_dns_queries_total", found.outcome.value).value += 1
                return foreign
            found = Answer(Outcome.REFUSED)
        reply.header.rcode = _CODES[found.outcome]
        if found.outcome is Outcome.ADDRESS:
            reply.add_answer(RR(question.qname, QTYPE.A, ttl=TTL_S, rdata=A(found.address)))
        self._metrics.counter("mesh_dns_queries_total", found.outcome.value).value += 1
        return bytes(reply.pack())


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer, forwarder: Forwarder) -> None:
        self._server = server
        self._forwarder = forwarder
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is one without saying so

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._server.respond(data)
        if isinstance(reply, Foreign):
            self._forwarder.submit(reply, lambda answer: self._send(answer, addr))
        elif reply is not None:
            self._send(reply, addr)

    def _send(self, reply: bytes, address: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, address)


@asynccontextmanager
async def serve_dns(server: NameServer, address: str, port: int, forwarder: Forwarder) -> AsyncIterator[None]:
    """Answer on UDP and TCP of one address until the block ends.

    Raises:
        OSError: the port is taken.
    """

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _talk(server, forwarder, reader, writer)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(server, forwarder), local_addr=(address, port))
    try:
        async with await asyncio.start_server(talk, address, port, limit=4 * MAX_QUERY_BYTES):
            yield
    finally:
        transport.close()


async def _talk(
    server: NameServer, forwarder: Forwarder, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the questions of one TCP connection; each has its length in two bytes before it."""
    try:
        async with asyncio.timeout(IDLE_S):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                if length > MAX_QUERY_BYTES:
                    return
                reply = server.respond(await reader.readexactly(length))
                if isinstance(reply, Foreign):
                    reply = await forwarder.ask(reply, over_tcp=True)
                if reply is None:
                    return
                writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
    except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
        return
    finally:
        writer.close()


def load_names(state_dir: Path, names: Latest[NameTable]) -> None:
    """Take the table of an earlier life, if there is one that can be read."""
    try:
        names.set(from_text((state_dir / NAMES_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return
    except (OSError, RemoteProtocolError) as error:
        log.warning("names kept on disk are not used", extra={"reason": str(error)})


async def follow_names(
    channel: aio.Channel, established: asyncio.Event, names: Latest[NameTable], state_dir: Path
) -> None:
    """Take each table the control plane sends, and keep it on disk."""
    async for message in rpc.WATCH_NAMES.on(channel)(rpc.Empty()):
        established.set()
        table = NameTable(message.index, {name.service: name.virtual_ip for name in message.names})
        names.set(table)
        try:
            await asyncio.to_thread(write_atomically, state_dir / NAMES_FILE, to_text(table))
        except OSError as error:
            log.warning("names could not be kept on disk", extra={"reason": str(error)})
