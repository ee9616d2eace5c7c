"""The gates say what is waited for, and blame the right one."""

from __future__ import annotations

from mesh.agent.gates import Gate, Gates


def test_the_first_shut_gate_is_waited_for() -> None:
    gates = Gates(began=100.0)
    assert gates.waiting_for is Gate.IDENTITY
    gates.open(Gate.IDENTITY, now=101.0)
    gates.open(Gate.NAMES, now=101.0)
    gates.shut(Gate.BOOTSTRAP, "disk full")
    told = gates.explain(now=103.0)
    assert (told["ready"], told["waiting_for"]) == (False, Gate.BOOTSTRAP)
    assert told["reason"] == "waiting for the sidecar's bootstrap to be written, for 3s so far: disk full"


def test_when_all_are_open_the_slowest_is_named() -> None:
    gates = Gates(began=100.0)
    for number, gate in enumerate((Gate.NAMES, Gate.BOOTSTRAP, Gate.SIDECAR, Gate.REGISTERED, Gate.IDENTITY)):
        assert gates.open(gate, now=101.0 + number)
    told = gates.explain(now=110.0)
    assert (told["ready"], told["waiting_for"], told["slowest"]) == (True, None, Gate.IDENTITY)
    assert told["reason"] == ""


def test_a_gate_that_shuts_again_is_news_once() -> None:
    gates = Gates(began=0.0)
    assert gates.open(Gate.SIDECAR, now=1.0)
    assert not gates.open(Gate.SIDECAR, now=2.0)
    assert gates.shut(Gate.SIDECAR, "gone")
    assert not gates.shut(Gate.SIDECAR, "still gone")
    assert gates.open(Gate.SIDECAR, now=3.0)
    assert gates.reasons == {}
