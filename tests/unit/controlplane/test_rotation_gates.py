"""Who would be left behind by the next step of a rotation, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mesh.controlplane.acknowledgements import Acknowledgements
from mesh.controlplane.records import IssuedCertificate
from mesh.controlplane.rotation_gates import behind_bundle, below_old_root, count_members, spread_s

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEW, OLD = "new", "old"


def certificate(
    serial: int, *, generation: int = 1, host: str = "order-1", left: timedelta = HOUR
) -> IssuedCertificate:
    return IssuedCertificate(serial, "order-service", host, "east", NOW + left, generation)


def word(digest: str = NEW, serial: int = 1, holders: int = 1, behind: int = 0) -> Acknowledgements:
    said = Acknowledgements()
    said.note("order-1", digest=digest, serial=serial, holders=holders, behind=behind)
    return said


@pytest.mark.parametrize(
    ("said", "proxies", "left", "reason"),
    [
        pytest.param(word(), {"order-1"}, HOUR, "", id="agent and sidecar hold the roots"),
        pytest.param(word(holders=0), set(), HOUR, "", id="no sidecar runs: the agent's word is enough"),
        pytest.param(Acknowledgements(), set(), HOUR, "is not connected", id="nobody has heard of the host"),
        pytest.param(Acknowledgements(), set(), -HOUR, "", id="its certificate has expired: it is no member"),
        pytest.param(Acknowledgements(), set(), 0 * HOUR, "is not connected", id="in its last second it still is one"),
        pytest.param(word(digest=OLD), {"order-1"}, HOUR, "is not connected and has not", id="it spoke of other roots"),
        pytest.param(word(digest=""), set(), HOUR, "has not acknowledged", id="an agent that knows no acks"),
        pytest.param(word(behind=1), {"order-1"}, HOUR, "1 of its sidecars not yet", id="a sidecar is behind"),
        pytest.param(word(holders=0), {"order-1"}, HOUR, "its sidecar is connected and has not",
                     id="a sidecar that has lost its agent keeps the old roots"),
    ],
)  # fmt: skip
def test_behind_bundle(said: Acknowledgements, proxies: set[str], left: timedelta, reason: str) -> None:
    found = behind_bundle([certificate(1, left=left)], said, proxies, NEW, now=NOW)
    assert [one.host for one in found] == (["order-1"] if reason else [])
    assert reason in "".join(str(one) for one in found)


@pytest.mark.parametrize(
    ("issued", "said", "reason"),
    [
        pytest.param([certificate(1)], word(), "certificate 1 below the old root is valid until", id="not replaced"),
        pytest.param([certificate(1, left=-HOUR)], word(), "", id="expired"),
        pytest.param([certificate(1), certificate(2, generation=2)], word(serial=2), "", id="replaced and in use"),
        pytest.param([certificate(1), certificate(2, generation=2)], word(serial=1), "is not connected",
                     id="replaced, but nobody said that the new one arrived"),
        pytest.param([certificate(1), certificate(2, generation=2)], word(serial=2, behind=1), "1 of its sidecars",
                     id="the agent has the new one, a sidecar not yet"),
        pytest.param([certificate(1), certificate(2, generation=2)], word(serial=99), "is not connected",
                     id="it speaks of a certificate that was never given out"),
        pytest.param([certificate(2, generation=2)], Acknowledgements(), "", id="it joined below the new root"),
        pytest.param([certificate(1, left=HOUR), certificate(3, left=2 * HOUR)], Acknowledgements(),
                     "certificate 3", id="of several, the one that lasts longest is named"),
    ],
)  # fmt: skip
def test_below_old_root(issued: list[IssuedCertificate], said: Acknowledgements, reason: str) -> None:
    found = below_old_root(issued, said, {"order-1"}, 1, now=NOW)
    assert [one.host for one in found] == (["order-1"] if reason else [])
    assert reason in "".join(str(one) for one in found)


def test_a_host_that_is_connected_is_told_apart_from_one_that_is_not() -> None:
    said = Acknowledgements()
    with said.connected("order-1"), said.connected("order-1"):
        [found] = behind_bundle([certificate(1)], said, (), NEW, now=NOW)
        assert "is connected and has not acknowledged" in str(found)
    [found] = behind_bundle([certificate(1)], said, (), NEW, now=NOW)
    assert "is not connected" in str(found)


@pytest.mark.parametrize(
    ("members", "leaf_ttl_s", "expected_s"),
    [
        pytest.param(3, 86400, 5, id="a few hosts within five seconds"),
        pytest.param(6000, 86400, 300, id="thousands at twenty a second"),
        pytest.param(3, 8, 2, id="never later than a quarter of a leaf's life"),
    ],
)
def test_spread(members: int, leaf_ttl_s: float, expected_s: float) -> None:
    assert spread_s(members, leaf_ttl_s) == expected_s


def test_members_are_hosts_and_not_certificates() -> None:
    issued = [certificate(1), certificate(2), certificate(3, host="b-1"), certificate(4, host="c-1", left=-HOUR)]
    assert count_members(issued, now=NOW) == 2
