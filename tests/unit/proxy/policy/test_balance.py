"""Round robin, weights, avoiding previous hosts, panic."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.proxy.policy.balance import Rotation, candidates, pick
from mesh.proxy.tables.model import Endpoint


def endpoints(*weights: int, unhealthy: frozenset[int] = frozenset()) -> list[Endpoint]:
    return [
        Endpoint(f"10.0.0.{n}", 80, weight=weight, is_healthy=n not in unhealthy) for n, weight in enumerate(weights)
    ]


@given(st.integers(1, 8), st.integers(1, 5), st.integers())
def test_equal_weights_take_turns(count: int, rounds: int, seed: int) -> None:
    rotation = Rotation(endpoints(*[1] * count), Random(seed))
    picked = Counter(pick(rotation) for _ in range(count * rounds))
    assert set(picked.values()) == {rounds}


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.integers())
def test_weights_are_kept_to_within_one_turn(weights: list[int], seed: int) -> None:
    hosts = endpoints(*weights)
    rotation = Rotation(hosts, Random(seed))
    rounds = 20
    picked = Counter(pick(rotation) for _ in range(sum(weights) * rounds))
    for host in hosts:
        assert abs(picked[host] - host.weight * rounds) <= host.weight + len(hosts)


@given(st.integers(2, 6), st.integers(), st.data())
def test_with_enough_draws_a_retry_goes_to_a_host_not_tried(count: int, seed: int, data: st.DataObject) -> None:
    hosts = endpoints(*[1] * count)
    rotation = Rotation(hosts, Random(seed))
    tried = data.draw(st.sets(st.sampled_from([host.key for host in hosts]), max_size=count - 1))
    chosen = pick(rotation, avoid=tried, attempts=count)
    assert chosen is not None
    assert chosen.key not in tried


@pytest.mark.parametrize("attempts", [1, 5])
def test_when_the_draws_are_used_up_the_last_one_is_taken_even_so(attempts: int) -> None:
    (only,) = endpoints(1)
    assert pick(Rotation([only], Random(1)), avoid=[only.key], attempts=attempts) == only


def test_nobody_to_pick() -> None:
    assert pick(Rotation([], Random(1)), avoid=[("10.0.0.1", 80)], attempts=3) is None


@pytest.mark.parametrize(
    ("unhealthy", "ejected", "threshold", "expected", "is_panic"),
    [
        pytest.param({0}, set(), 50.0, {1, 2, 3}, False, id="an unhealthy endpoint takes no traffic"),
        pytest.param(set(), {0}, 50.0, {1, 2, 3}, False, id="neither does an ejected one"),
        pytest.param({0}, {1}, 50.0, {2, 3}, False, id="half of them is not below half"),
        pytest.param({0, 1}, {2}, 50.0, {0, 1, 2, 3}, True, id="below half: panic, all take traffic"),
        pytest.param({0, 1, 2, 3}, set(), 50.0, {0, 1, 2, 3}, True, id="nobody healthy is a panic too"),
        pytest.param({0, 1, 2, 3}, set(), 0.0, set(), False, id="a threshold of 0 never panics: no healthy upstream"),
    ],
)
def test_candidates(
    unhealthy: set[int], ejected: set[int], threshold: float, expected: set[int], is_panic: bool
) -> None:
    hosts = endpoints(1, 1, 1, 1, unhealthy=frozenset(unhealthy))
    out = {hosts[n].key for n in ejected}
    chosen = candidates(hosts, lambda key: key in out, threshold)
    assert {host.key for host in chosen.endpoints} == {hosts[n].key for n in expected}
    assert chosen.is_panic is is_panic


def test_a_panic_says_so() -> None:
    chosen = candidates(endpoints(1, 1, unhealthy=frozenset({0, 1})), lambda _: False, 50.0)
    assert chosen.explanation == (
        "panic: 0 of 2 endpoints are healthy and not ejected, below the threshold of 50 %: all take traffic"
    )
    assert candidates([], lambda _: False, 50.0).explanation == "the cluster has no endpoint"
