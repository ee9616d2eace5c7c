"""Packets in, packets out; whatever comes, no exception and nothing that was not asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from dnslib import OPCODE, QTYPE, RCODE, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent.dns import NAMES_FILE, NameServer, load_names
from mesh.agent.files import write_atomically
from mesh.agent.foreign import Foreign
from mesh.agent.latest import Latest
from mesh.agent.names import NameTable, Zone, to_text
from mesh.telemetry.metrics import Metrics

TABLE = NameTable(7, {"payment-service": "240.0.0.3"})


def server(table: NameTable | None = TABLE, *, forwards: bool = False) -> NameServer:
    names: Latest[NameTable] = Latest()
    if table is not None:
        names.set(table)
    return NameServer(Zone("production", "dominos.internal", "east"), names, Metrics(), forwards=forwards)


def ask(name: str, kind: str = "A", table: NameTable | None = TABLE) -> DNSRecord:
    reply = server(table).respond(DNSRecord.question(name, kind).pack())
    assert reply is not None
    return DNSRecord.parse(reply)


@pytest.mark.parametrize(
    ("name", "kind", "code", "addresses"),
    [
        pytest.param("payment-service", "A", RCODE.NOERROR, ["240.0.0.3"], id="a service"),
        pytest.param("payment-service", "AAAA", RCODE.NOERROR, [], id="IPv6 exists nowhere, and that is no error"),
        pytest.param("payment-service", "TXT", RCODE.NOERROR, [], id="another type"),
        pytest.param("refund-service", "A", RCODE.NXDOMAIN, [], id="no such service"),
        pytest.param("example.com", "A", RCODE.REFUSED, [], id="the world"),
    ],
)
def test_answers(name: str, kind: str, code: int, addresses: list[str]) -> None:
    reply = ask(name, kind)
    assert (reply.header.rcode, [str(rr.rdata) for rr in reply.rr]) == (code, addresses)
    assert (reply.header.qr, reply.header.ra, reply.header.aa) == (1, 0, 1)
    assert all(0 < rr.ttl <= 5 for rr in reply.rr)


def test_before_the_first_table_the_answer_is_a_failure_that_nobody_caches() -> None:
    assert ask("payment-service", table=None).header.rcode == RCODE.SERVFAIL


def test_an_answer_is_not_answered_so_that_two_servers_never_talk_for_ever() -> None:
    assert server().respond(DNSRecord.question("payment-service").reply().pack()) is None


def test_other_operations_and_several_questions_are_not_implemented() -> None:
    update = DNSRecord.question("payment-service")
    update.header.opcode = OPCODE.UPDATE
    double = DNSRecord.question("payment-service")
    double.add_question(DNSQuestion("ledger-service", QTYPE.A))
    for query in (update, double):
        reply = server().respond(query.pack())
        assert reply is not None
        assert DNSRecord.parse(reply).header.rcode == RCODE.NOTIMP


@pytest.mark.parametrize(
    ("name", "kind", "is_forwarded"),
    [
        pytest.param("ledger-1", "A", True, id="a neighbour"),
        pytest.param("ledger-1", "AAAA", True, id="its IPv6 address"),
        pytest.param("ledger-1", "ANY", False, id="everything of it"),
        pytest.param("payment-service", "A", False, id="a service"),
        pytest.param("payment-service", "AAAA", False, id="a service's IPv6 address"),
    ],
)
def test_what_is_for_others_to_answer(name: str, kind: str, is_forwarded: bool) -> None:
    asked = DNSRecord.question(name, kind).pack()
    assert isinstance(server(forwards=True).respond(asked), Foreign) is is_forwarded
    assert not isinstance(server().respond(asked), Foreign)


@given(st.binary(max_size=20), st.integers(0, 30))
def test_every_question_for_others_can_be_asked(noise: bytes, at: int) -> None:
    packet = DNSRecord.question("ledger-1.example").pack()
    found = server(forwards=True).respond(packet[:at] + noise + packet[at + len(noise) :])
    if isinstance(found, Foreign):
        assert DNSRecord.parse(found.query(1)).questions[0].qname == found.asked.questions[0].qname
        assert found.failure()


@given(st.binary(max_size=200))
def test_no_packet_is_too_strange(packet: bytes) -> None:
    server().respond(packet)


@given(st.binary(max_size=20), st.integers(0, 30))
def test_no_damaged_question_is_too_strange(noise: bytes, at: int) -> None:
    packet = DNSRecord.question("payment-service").pack()
    server().respond(packet[:at] + noise + packet[at + len(noise) :])


def test_names_outlive_a_restart(tmp_path: Path) -> None:
    names: Latest[NameTable] = Latest()
    load_names(tmp_path, names)
    assert names.peek() is None
    write_atomically(tmp_path / NAMES_FILE, to_text(TABLE))
    load_names(tmp_path, names)
    assert names.get() == TABLE


def test_a_broken_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / NAMES_FILE).write_text('{"index"')
    names: Latest[NameTable] = Latest()
    load_names(tmp_path, names)
    assert names.peek() is None
