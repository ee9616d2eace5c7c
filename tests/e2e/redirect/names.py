"""Two small programs for a bare host: the mesh's own name server with its forwarder, and a resolver behind it.

python names.py agent RESOLVER       answers on 127.0.0.1:15053, as the agent does; asks RESOLVER
python names.py resolver ADDRESS PORT   knows ledger-1; prints each name that it is asked
python names.py ask SERVER COUNT     asks COUNT times for a service and for a neighbour; prints what came, once each
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from random import SystemRandom

sys.path.insert(0, str(Path(__file__).parents[3]))

from dnslib import QTYPE, RR, A, DNSRecord

from mesh.agent.dns import NameServer, serve_dns
from mesh.agent.forward import Forwarder, read_spare_ports
from mesh.agent.latest import Latest
from mesh.agent.names import NameTable, Zone
from mesh.telemetry.metrics import Metrics

SERVICE, VIRTUAL_IP = "payment-service", "240.0.0.3"
NEIGHBOUR, ADDRESS = "ledger-1", "10.91.0.15"


async def agent(resolver: str) -> None:
    """Answer names as the agent of a host does."""
    names, metrics = Latest[NameTable](), Metrics()
    names.set(NameTable(1, {SERVICE: VIRTUAL_IP}))
    forwarder = Forwarder((resolver,), SystemRandom(), metrics, read_spare_ports())
    server = NameServer(Zone("production", "dominos.internal", "east"), names, metrics, forwards=True)
    async with serve_dns(server, "127.0.0.1", 15053, forwarder):
        print("ready", flush=True)
        await forwarder.run()


def resolve(address: str, port: int) -> None:
    """Answer one name over UDP; say nothing that is not true of Docker's resolver."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind((address, port))
        print("ready", flush=True)
        while True:
            data, peer = door.recvfrom(2000)
            query = DNSRecord.parse(data)
            print(str(query.q.qname), flush=True)
            reply = query.reply()
            if str(query.q.qname) == f"{NEIGHBOUR}.":
                reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(ADDRESS), ttl=1))
            else:
                reply.header.rcode = 3
            door.sendto(reply.pack(), peer)


def ask(server: str, count: int) -> None:
    """Ask as any program does: each time from a port that the kernel gives."""
    came = set()
    for each in range(count):
        name = (SERVICE, NEIGHBOUR)[each % 2]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.settimeout(5)
            link.connect((server, 53))
            link.send(DNSRecord.question(name).pack())
            answer = DNSRecord.parse(link.recv(2000))
        came.add(f"{name} {answer.rr[0].rdata if answer.rr else answer.header.rcode}")
    print("\n".join(sorted(came)))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["agent", resolver]:
            asyncio.run(agent(resolver))
        case ["resolver", address, port]:
            resolve(address, int(port))
        case ["ask", server, count]:
            ask(server, int(count))
