"""What passes to a resolver, and what of its answer is believed."""

from __future__ import annotations

import pytest
from dnslib import CLASS, EDNS0, OPCODE, QTYPE, RCODE, RR, TXT, A, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent.foreign import MAX_UDP_BYTES, Foreign
from mesh.agent.forward import LOWEST_PORT, spare_ports
from mesh.base.errors import RemoteProtocolError

NAME, NUMBER = "ledger-1", 4711


def ask(kind: str = "A", edns: EDNS0 | None = None, cls: str = "IN") -> Foreign:
    question = DNSRecord(q=DNSQuestion(NAME, getattr(QTYPE, kind), getattr(CLASS, cls)))
    if edns is not None:
        question.add_ar(edns)
    return Foreign(question)


def answer(foreign: Foreign, address: str = "10.77.1.15", **header: int) -> bytes:
    reply = DNSRecord.parse(foreign.query(NUMBER)).reply()
    reply.add_answer(RR(NAME, QTYPE.A, rdata=A(address), ttl=60))
    for field, value in header.items():
        setattr(reply.header, field, value)
    return bytes(reply.pack())


def test_of_what_a_client_sent_only_name_type_and_wishes_pass() -> None:
    mine = EDNS0(udp_len=4096, flags="do")
    foreign = ask(edns=mine)
    foreign.asked.add_answer(RR(NAME, QTYPE.TXT, rdata=TXT("hidden"), ttl=1))
    sent = DNSRecord.parse(foreign.query(NUMBER))
    assert (sent.header.id, sent.header.rd, sent.header.opcode) == (NUMBER, 1, OPCODE.QUERY)
    assert (len(sent.questions), len(sent.rr), len(sent.auth), len(sent.ar)) == (1, 0, 0, 1)
    assert (sent.ar[0].edns_len, bool(sent.ar[0].edns_do)) == (MAX_UDP_BYTES, True)
    assert DNSRecord.parse(ask().query(NUMBER)).ar == []


@pytest.mark.parametrize(
    ("kind", "cls", "is_forwarded"),
    [
        pytest.param("A", "IN", True, id="an address"),
        pytest.param("AAAA", "IN", True, id="an IPv6 address"),
        pytest.param("SRV", "IN", True, id="a service"),
        pytest.param("ANY", "IN", False, id="everything: it only amplifies"),
        pytest.param("AXFR", "IN", False, id="a whole zone"),
        pytest.param("TXT", "CH", False, id="another class"),
    ],
)
def test_which_kinds_are_forwarded(kind: str, cls: str, is_forwarded: bool) -> None:
    assert ask(kind, cls=cls).is_forwarded is is_forwarded


def test_a_true_answer_goes_back_under_the_clients_own_number() -> None:
    foreign = ask()
    raw = answer(foreign)
    assert foreign.check(raw, NUMBER) == RCODE.NOERROR
    got = DNSRecord.parse(foreign.reply(raw, over_tcp=False))
    assert (got.header.id, str(got.rr[0].rdata)) == (foreign.asked.header.id, "10.77.1.15")


@pytest.mark.parametrize(
    ("forged", "says"),
    [
        pytest.param(lambda f: answer(f, id=NUMBER + 1), "no answer to our question", id="another number"),
        pytest.param(lambda f: answer(f, qr=0), "no answer to our question", id="a question"),
        pytest.param(lambda f: answer(ask("AAAA")), "another question", id="another type"),
        pytest.param(lambda f: answer(f).replace(b"ledger-1", b"ledger-2"), "another question", id="another name"),
        pytest.param(lambda f: DNSRecord.parse(answer(f)).pack()[:12], "reading a resolver's answer", id="cut short"),
        pytest.param(lambda f: b"", "reading a resolver's answer", id="nothing"),
        pytest.param(lambda f: answer(f, "240.0.0.3"), "virtual address", id="an address of the mesh"),
        pytest.param(lambda f: answer(f, "255.255.255.255"), "virtual address", id="the last of them"),
    ],
)
def test_a_forged_answer_is_not_believed(forged: object, says: str) -> None:
    foreign = ask()
    with pytest.raises(RemoteProtocolError, match=says):
        foreign.check(forged(foreign), NUMBER)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("edns", "limit"),
    [
        pytest.param(None, 512, id="a client that says nothing"),
        pytest.param(EDNS0(udp_len=900), 900, id="a client that takes 900"),
        pytest.param(EDNS0(udp_len=65535), MAX_UDP_BYTES, id="one that claims to take anything"),
        pytest.param(EDNS0(udp_len=1), 512, id="one that claims to take nothing"),
    ],
)
def test_an_answer_too_long_says_ask_over_tcp(edns: EDNS0 | None, limit: int) -> None:
    foreign = ask(edns=edns)
    assert foreign.max_udp_bytes == limit
    reply = DNSRecord.parse(foreign.query(NUMBER)).reply()
    while len(reply.pack()) <= limit:
        reply.add_answer(RR(NAME, QTYPE.TXT, rdata=TXT("x" * 50), ttl=1))
    raw = bytes(reply.pack())
    cut = DNSRecord.parse(foreign.reply(raw, over_tcp=False))
    assert (cut.header.tc, cut.rr) == (1, [])
    assert foreign.reply(raw, over_tcp=True)[2:] == raw[2:]


def test_nobody_answered_is_a_failure_that_nobody_caches() -> None:
    got = DNSRecord.parse(ask().failure())
    assert (got.header.rcode, got.header.qr, got.header.aa) == (RCODE.SERVFAIL, 1, 0)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_no_answer_is_too_strange(noise: bytes, at: int) -> None:
    foreign = ask()
    raw = answer(foreign)
    try:
        foreign.check(raw[:at] + noise + raw[at + len(noise) :], NUMBER)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        pytest.param("32768\t60999\n", LOWEST_PORT, 65535, id="the kernel's default"),
        pytest.param("15000\t60000\n", 60001, 65535, id="a range that begins low"),
    ],
)
def test_ports_that_the_kernel_gives_to_nobody(text: str, first: int, last: int) -> None:
    low, high = map(int, text.split())
    ports = spare_ports(text)
    assert (ports[0], ports[-1]) == (first, last)
    assert not [port for port in ports if low <= port <= high]


@pytest.mark.parametrize("text", ["1024\t65535\n", "1024\t65000\n", "", "x y"])
def test_too_few_are_none(text: str) -> None:
    assert spare_ports(text) == ()
