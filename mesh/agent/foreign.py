"""A question for somebody else: what is asked of a resolver, what of its answer is believed, what goes back. Pure.

The question is written anew: of what a client sent only the name, the type and three wishes pass. An answer is believed
when it repeats number, name, type and class of the question, and leads nobody to a virtual address: those are ours to
give.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from dnslib import CLASS, EDNS0, QTYPE, RCODE, DNSHeader, DNSRecord

from mesh.base import ports
from mesh.base.errors import RemoteProtocolError

PLAIN_BYTES = 512  # RFC 1035, 4.2.1: what a client takes over UDP that says nothing else
MAX_UDP_BYTES = 1232  # DNS flag day 2020: what passes everywhere in one piece
NOT_FORWARDED = frozenset({251, 252, 253, 254, 255})  # transfers, and "any", which only amplifies (RFC 8482)
_VIRTUAL = IPv4Network(ports.VIRTUAL_RANGE)


@dataclass(frozen=True, slots=True)
class Foreign:
    """One question of a client that is to be forwarded."""

    asked: DNSRecord

    @property
    def is_forwarded(self) -> bool:
        """Say whether questions of this kind are forwarded at all."""
        question = self.asked.questions[0]
        return question.qclass == CLASS.IN and question.qtype not in NOT_FORWARDED

    @property
    def max_udp_bytes(self) -> int:
        """Return how long an answer over UDP the client takes."""
        option = self._option()
        return PLAIN_BYTES if option is None else max(PLAIN_BYTES, min(option.edns_len, MAX_UDP_BYTES))

    def query(self, number: int) -> bytes:
        """Return the question for a resolver, under a number of our own choice."""
        header = DNSHeader(id=number, rd=self.asked.header.rd, cd=self.asked.header.cd)
        query = DNSRecord(header, questions=[self.asked.questions[0]])
        if (option := self._option()) is not None:
            query.add_ar(EDNS0(udp_len=MAX_UDP_BYTES, flags="do" if option.edns_do else ""))
        return bytes(query.pack())

    def check(self, answer: bytes, number: int) -> int:
        """Check that `answer` answers `query(number)`; return its response code.

        Raises:
            RemoteProtocolError: it is no answer, one to another question, or leads into the mesh.
        """
        try:
            record = DNSRecord.parse(answer)
            addresses = [IPv4Address(bytes(each.rdata.data)) for each in record.rr if each.rtype == QTYPE.A]
        except Exception as error:  # whatever the parser makes of a stranger's bytes, the agent lives
            raise RemoteProtocolError(f"reading a resolver's answer: {error}") from error
        question = self.asked.questions[0]
        if not record.header.qr or record.header.id != number or len(record.questions) != 1:
            raise RemoteProtocolError("reading a resolver's answer: it is no answer to our question")
        told = record.questions[0]
        if told.qname != question.qname or (told.qtype, told.qclass) != (question.qtype, question.qclass):
            raise RemoteProtocolError("reading a resolver's answer: it answers another question")
        if any(address in _VIRTUAL for address in addresses):
            raise RemoteProtocolError("reading a resolver's answer: it leads to a virtual address of the mesh")
        return int(record.header.rcode)

    def reply(self, answer: bytes, *, over_tcp: bool) -> bytes:
        """Return what the client gets of a checked answer: all of it, or "ask over TCP" where it takes no more."""
        if over_tcp or len(answer) <= self.max_udp_bytes:
            number: int = self.asked.header.id
            return number.to_bytes(2, "big") + answer[2:]
        cut = self.asked.reply(ra=1, aa=0)
        cut.header.tc = 1
        return bytes(cut.pack())

    def failure(self) -> bytes:
        """Return what the client gets when nobody answered: try again later."""
        reply = self.asked.reply(ra=1, aa=0)
        reply.header.rcode = RCODE.SERVFAIL
        return bytes(reply.pack())

    def _option(self) -> Any:
        return next((each for each in self.asked.ar if each.rtype == QTYPE.OPT), None)
