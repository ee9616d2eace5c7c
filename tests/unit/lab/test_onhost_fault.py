"""The program on the host, without a kernel: its rules, its messages, the times of its packets."""

from __future__ import annotations

import ast
import random
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.faults import FAULTS
from lab.onhost import fault as program

QUEUED = "-j NFQUEUE --queue-num {} --queue-bypass"


@pytest.mark.parametrize(
    ("order", "rules"),
    [
        pytest.param(
            {"fault": "cut"},
            [
                ("raw", "PREROUTING", f"-i eth1 {QUEUED.format(7701)}"),
                ("mangle", "POSTROUTING", f"-o eth1 {QUEUED.format(7701)}"),
            ],
            id="a cut takes all in both directions",
        ),
        pytest.param(
            {"fault": "loss", "percent": 30.0},
            [
                (
                    "raw",
                    "PREROUTING",
                    f"-i eth1 -m statistic --mode random --probability 0.300000 {QUEUED.format(7702)}",
                ),
                (
                    "mangle",
                    "POSTROUTING",
                    f"-o eth1 -m statistic --mode random --probability 0.300000 {QUEUED.format(7702)}",
                ),
            ],
            id="loss takes its share in both directions",
        ),
        pytest.param(
            {"fault": "delay", "by_s": 0.1},
            [("raw", "PREROUTING", f"-i eth1 {QUEUED.format(7703)}")],
            id="a delay takes what is sent to the host",
        ),
        pytest.param(
            {"fault": "refuse"},
            [
                ("mangle", "OUTPUT", f"-o lo -s 127.0.0.6 -p tcp --dport 8080 --syn {QUEUED.format(7704)}"),
                ("filter", "OUTPUT", "-p tcp -m mark --mark 0x4d590001 -j REJECT --reject-with tcp-reset"),
            ],
            id="refuse marks connections, and filter refuses what is marked",
        ),
        pytest.param(
            {"fault": "reset"},
            [
                (
                    "mangle",
                    "OUTPUT",
                    f"-o lo -s 127.0.0.6 -p tcp --dport 8080 --tcp-flags PSH PSH {QUEUED.format(7705)}",
                ),
                ("filter", "OUTPUT", "-p tcp -m mark --mark 0x4d590002 -j REJECT --reject-with tcp-reset"),
            ],
            id="reset marks requests",
        ),
    ],
)
def test_rules(order: dict[str, Any], rules: list[tuple[str, str, str]]) -> None:
    assert [(hook.table, hook.parent, hook.rule) for hook in program.hooks_of(order, "eth1")] == rules


def test_every_fault_of_packets_has_a_queue_of_its_own() -> None:
    assert set(program.QUEUES) == {name for name, fault in FAULTS.items() if not fault.needs_unit}
    assert len(set(program.QUEUES.values())) == len(program.QUEUES)


def test_every_queued_packet_passes_when_nobody_answers() -> None:
    """This is what ends a fault whose program was killed."""
    for name in program.QUEUES:
        for hook in program.hooks_of({"fault": name, "percent": 1.0}, "eth1"):
            assert "NFQUEUE" not in hook.rule or hook.rule.endswith("--queue-bypass")


def test_what_loses_packets_comes_before_what_delays_them() -> None:
    """A delayed packet skips the rest of the chain."""
    first = {name: program.hooks_of({"fault": name, "percent": 1.0}, "eth1")[-1].is_first for name in ("cut", "loss")}
    assert first == {"cut": True, "loss": True}
    assert not program.hooks_of({"fault": "delay"}, "eth1")[0].is_first


def test_rules_come_in_force_at_once() -> None:
    text = program.restore_text("LAB_FAULT_CUT", program.hooks_of({"fault": "cut"}, "eth1"))
    assert text.splitlines()[:5] == [
        "*raw",
        ":LAB_FAULT_CUT - [0:0]",
        f"-A LAB_FAULT_CUT -i eth1 {QUEUED.format(7701)}",
        "-I PREROUTING 1 -j LAB_FAULT_CUT",
        "COMMIT",
    ]


def test_it_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(str(program.__file__)).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def packet(packet_id: int) -> bytes:
    """Return what the kernel says of a packet: a header of its family, its id, its interface."""
    header = program.attribute(program.PACKET_HEADER, struct.pack("!IHB", packet_id, 0x0800, 4))
    body = struct.pack("!BBH", 2, 0, 7701) + program.attribute(9, struct.pack("!I", 3)) + header
    return struct.pack("=IHHII", 16 + len(body), program.PACKET, 0, 0, 0) + body


@given(st.lists(st.integers(0, 2**32 - 1), max_size=5))
def test_ids_are_read_from_what_the_kernel_says(ids: list[int]) -> None:
    said = b"".join(packet(one) for one in ids)
    assert [program.packet_id_of(payload) for kind, payload in program.messages(said) if kind == program.PACKET] == ids


@given(st.binary(max_size=200))
def test_nonsense_has_an_end(data: bytes) -> None:
    for _, payload in program.messages(data):
        try:
            program.packet_id_of(payload)
        except struct.error:
            continue


def test_a_verdict_names_packet_and_mark() -> None:
    plain = program.verdict(7701, 5, program.DROP)
    assert struct.unpack_from("=IH", plain) == (len(plain), program.VERDICT)
    assert struct.unpack_from("!H", plain, 18)[0] == 7701
    assert struct.unpack_from("!II", plain, 24) == (program.DROP, 5)
    marked = program.verdict(7704, 5, program.ACCEPT, 0x4D590001)
    assert marked.endswith(struct.pack("!I", 0x4D590001))


@given(st.lists(st.integers(0, 10_000), max_size=50), st.floats(0.001, 1.0), st.floats(0.0, 1.0), st.randoms())
def test_a_packet_waits_as_long_as_was_said(ids: list[int], by_s: float, share: float, chance: random.Random) -> None:
    jitter_s = by_s * share
    waiting = program.Waiting(by_s, jitter_s, chance)
    waiting.add(ids, now=100.0)
    assert waiting.due(now=100.0 + by_s - jitter_s - 1e-6) == []
    left = waiting.next_s(now=100.0)
    assert left is None if not ids else left is not None and by_s - jitter_s - 1e-6 <= left <= by_s + jitter_s + 1e-6
    assert sorted(waiting.due(now=100.0 + by_s + jitter_s + 1e-6)) == sorted(ids)
    assert waiting.next_s(now=100.0) is None


def test_without_jitter_packets_keep_their_order() -> None:
    waiting = program.Waiting(0.1, 0.0, random.Random(1))
    waiting.add([3, 4], now=0.0)
    waiting.add([5], now=0.01)
    assert waiting.due(now=1.0) == [3, 4, 5]


def test_an_address_that_nobody_has_is_refused() -> None:
    with pytest.raises(program.Refused, match=r"no interface of this host has the lab address 192\.0\.2\.250"):
        program.interface_of("192.0.2.250")
    assert program.interface_of("127.0.0.1") == "lo"
