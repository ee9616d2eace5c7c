"""Gates: what a host lacks, in the order in which it is got."""

from __future__ import annotations

from typing import Any

import pytest

from lab.gates import GateBoard, HostGates, missing

PASSING = {"host": "a-1", "status": "passing"}
SYNCED = {"node": "a-1/a", "connected": True, "types": {"CDS": {"status": "SYNCED"}, "SDS": {"status": "NEVER"}}}


@pytest.mark.parametrize(
    ("instance", "proxy", "lacks"),
    [
        pytest.param(None, None, "its agent to register", id="nothing at all"),
        pytest.param(PASSING, None, "its sidecar to connect", id="no stream"),
        pytest.param(PASSING, {**SYNCED, "connected": False}, "its sidecar to connect", id="a stream that ended"),
        pytest.param(
            PASSING,
            {**SYNCED, "types": {"LDS": {"status": "NACK", "nack": "no such filter"}}},
            "its sidecar to take LDS: NACK no such filter",
            id="a NACK is said with its text",
        ),
        pytest.param(
            {**PASSING, "status": "critical", "checks": [{"status": "critical", "output": "503"}]},
            SYNCED,
            "its health check: critical 503",
            id="unhealthy",
        ),
        pytest.param(PASSING, SYNCED, "", id="green"),
    ],
)
def test_missing(instance: dict[str, Any] | None, proxy: dict[str, Any] | None, lacks: str) -> None:
    assert missing(instance, proxy) == lacks


def test_a_board_names_the_slowest_and_announces_each_host_once() -> None:
    board = GateBoard([HostGates("a-1", "a"), HostGates("b-1", "b")])
    assert len(board.update([PASSING], [SYNCED])) == 1
    assert board.update([PASSING], [SYNCED]) == []
    assert not board.is_green
    assert board.slowest() == "b-1: its agent to register"


def test_a_host_that_waits_again_is_waited_for_and_not_announced_again() -> None:
    board = GateBoard([HostGates("a-1", "a")])
    pending = {**SYNCED, "types": {"CDS": {"status": "PENDING"}}}
    assert len(board.update([PASSING], [SYNCED])) == 1
    assert board.update([PASSING], [pending]) == []
    assert not board.is_green
    assert board.update([PASSING], [SYNCED]) == []
    assert board.is_green
