"""What a cluster remembers, and that it outlives a table swap."""

from __future__ import annotations

from random import Random

from mesh.proxy.policy.flags import Failure
from mesh.proxy.policy.request_plan import Plan
from mesh.proxy.policy.retry import Responded
from mesh.proxy.policy.runtime import ClusterRuntime, EndpointStats, Runtimes
from mesh.proxy.tables.model import BreakerLimits, Cluster, Endpoint, OutlierConfig, ProxyTables, RetryPolicy

ONE, TWO, THREE = (Endpoint(f"10.77.1.{n}", 8080) for n in (13, 14, 15))
OUTLIER = OutlierConfig(consecutive_5xx=1, max_ejection_percent=50, interval_s=1.0, base_ejection_time_s=1.0)


def tables(*clusters: Cluster) -> ProxyTables:
    return ProxyTables(1, {}, {cluster.name: cluster for cluster in clusters})


def cluster(*endpoints: Endpoint, outlier: OutlierConfig | None = OUTLIER, **more: object) -> Cluster:
    return Cluster("payment", endpoints, outlier=outlier, **more)


def runtime_of(*endpoints: Endpoint) -> ClusterRuntime:
    return ClusterRuntime(cluster(*endpoints), now=0.0, rng=Random(1))


def test_an_ejected_endpoint_is_picked_no_more_until_it_returns() -> None:
    runtime = runtime_of(ONE, TWO)
    runtime.started(ONE.key)
    verdict = runtime.ended(ONE.key, Failure.CONNECT_FAILURE, now=0.1)
    assert verdict is not None
    assert verdict.is_ejected
    assert {runtime.pick() for _ in range(4)} == {TWO}
    assert runtime.tick(now=0.5) == ()
    assert runtime.tick(now=1.2) == (ONE.key,)
    assert {runtime.pick() for _ in range(4)} == {ONE, TWO}


def test_two_failing_hosts_lose_one_only() -> None:
    runtime = runtime_of(ONE, TWO)
    runtime.ended(ONE.key, Responded(500, {}), now=0.1)
    verdict = runtime.ended(TWO.key, Responded(500, {}), now=0.1)
    assert verdict is not None
    assert verdict.reason == "not ejected: 2 of 2 hosts would be 100 %, max_ejection_percent is 50"
    monitor = runtime.monitor(TWO.key)
    assert monitor is not None
    assert monitor.last_note == verdict.reason


def test_a_retry_goes_to_the_other_host() -> None:
    runtime = ClusterRuntime(cluster(ONE, TWO, outlier=None), now=0.0, rng=Random(1))
    policy = RetryPolicy(frozenset({"reset"}), is_avoiding_previous_hosts=True, host_selection_attempts=5)
    state = runtime.begin(Plan(policy, 15.0, None), now=0.0)
    first = runtime.pick_for(state)
    assert first is not None
    state.begin_try(first.key, now=0.0)
    runtime.pick()  # somebody else's request moves the round robin on
    second = runtime.pick_for(state)
    assert second is not None
    assert second != first
    state.close()


def test_counters_of_an_endpoint_stay_while_it_stays() -> None:
    runtimes = Runtimes(Random(1))
    runtimes.apply(tables(cluster(ONE, TWO)), now=0.0)
    runtime = runtimes.get("payment")
    assert runtime is not None
    runtime.started(ONE.key)
    runtime.ended(ONE.key, Responded(200, {}), now=0.1)
    runtime.ended(TWO.key, Responded(500, {}), now=0.1)
    gone = runtimes.apply(tables(cluster(ONE, THREE, limits=BreakerLimits(max_requests=7))), now=0.2)
    assert gone == {TWO.key}
    assert runtimes.get("payment") is runtime
    assert runtime.stats == {ONE.key: EndpointStats(0, 1, 1, 0), THREE.key: EndpointStats()}
    assert runtime.breaker.requests.limit == 7
    assert runtime.detector is not None
    assert runtime.detector.stats.ejections_active == 0


def test_a_cluster_that_goes_is_forgotten_and_one_that_is_the_same_is_left_alone() -> None:
    runtimes = Runtimes(Random(1))
    same = cluster(ONE)
    runtimes.apply(tables(same, Cluster("other", (TWO,))), now=0.0)
    before = runtimes.get("payment")
    assert runtimes.apply(tables(same), now=1.0) == {TWO.key}
    assert runtimes.get("payment") is before
    assert runtimes.get("other") is None
    assert runtimes.tick(now=2.0) == ()


def test_outcomes_that_say_nothing_about_an_endpoint() -> None:
    runtime = runtime_of(ONE, TWO)
    runtime.started(ONE.key)
    assert runtime.ended(ONE.key, None, now=0.1) is None
    assert runtime.ended(ONE.key, Failure.OVERFLOW, now=0.1) is None
    assert runtime.ended(("9.9.9.9", 1), Failure.UPSTREAM_RESET, now=0.1) is None
    assert runtime.stats[ONE.key] == EndpointStats(requests=1)


def test_outlier_detection_may_be_switched_off_while_running() -> None:
    runtime = runtime_of(ONE, TWO)
    runtime.ended(ONE.key, Responded(500, {}), now=0.1)
    runtime.set_cluster(cluster(ONE, TWO, outlier=None), now=0.2)
    assert runtime.monitor(ONE.key) is None
    assert {runtime.pick() for _ in range(4)} == {ONE, TWO}
    assert runtime.ended(ONE.key, Responded(500, {}), now=0.1) is None
    assert runtime.tick(now=9.0) == ()


def test_an_endpoint_of_two_clusters_is_gone_when_the_second_lets_go_of_it() -> None:
    runtimes = Runtimes(Random(1))
    both = tables(Cluster("a", (ONE, TWO)), Cluster("b", (ONE,)))
    assert runtimes.apply(both, now=0.0) == frozenset()
    assert runtimes.apply(tables(Cluster("a", (TWO,)), both.clusters["b"]), now=0.1) == frozenset()
    assert runtimes.apply(tables(Cluster("a", (TWO,)), Cluster("b", (THREE,))), now=0.2) == {ONE.key}
    assert runtimes.apply(tables(Cluster("b", (TWO,))), now=0.3) == {THREE.key}, "what moves between clusters stays"


def told(index: int, touched: set[str], *clusters: Cluster) -> ProxyTables:
    return ProxyTables(index, {}, {one.name: one for one in clusters}, frozenset(touched))


def test_only_what_is_touched_is_looked_at_when_the_tables_are_the_next_ones() -> None:
    runtimes = Runtimes(Random(1))
    first, second, other = Cluster("a", (ONE,)), Cluster("a", (TWO,)), Cluster("b", (THREE,))
    runtimes.apply(told(1, {"a", "b"}, first, other), now=0.0)
    assert runtimes.apply(told(2, {"a"}, second), now=0.1) == {ONE.key}, "nobody said that b is gone"
    assert set(runtimes.by_name) == {"a", "b"}
    assert runtimes.apply(told(4, {"a"}, second), now=0.2) == {THREE.key}, "one was left out: everything is looked at"
    assert set(runtimes.by_name) == {"a"}
