"""Promise 6, from the application's side: what may not happen twice is delivered once, and limits hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kit import Answer, Lab, eventually, intentions
from tests.e2e.pace import stretched

LAB_HOSTS = ("cp-1", "order-1")
REPLICAS = ("count-1", "count-2")
EVERYWHERE = ",".join(REPLICAS)

SERVICE = """
service {
  name = "count-service"
  port = 8080
  check { http = "http://127.0.0.1:8080/health" interval = "1s" }
  connect { sidecar_service {} }
}
"""
ROUTER = """
Kind = "service-router"
Name = "count-service"
Routes = [
  {
    Match { HTTP { PathPrefix = "/slow" } }
    Destination { RequestTimeout = "300ms" }
  },
]
"""
ONE_AT_A_TIME = """
Kind = "service-defaults"
Name = "order-service"
UpstreamConfig {
  Overrides = [
    { Name = "count-service", Limits { MaxConcurrentRequests = 1 } },
  ]
}
"""
# Makes several calls at the same moment; prints status and the overload header of each.
AT_ONCE = """
import concurrent.futures, http.client, json, sys
def call(_):
    connection = http.client.HTTPConnection("count-service", 8080, timeout=10)
    connection.request("GET", "/slow")
    answer = connection.getresponse()
    answer.read()
    return [answer.status, answer.getheader("x-envoy-overloaded")]
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(json.dumps(sorted(pool.map(call, range(4)))))
"""


@pytest.fixture(scope="module")
def counting(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The lab with two hosts that count what they are asked."""
    folder = tmp_path_factory.mktemp("count") / "count-service"
    folder.mkdir()
    (folder / "app.py").write_text((Path(__file__).parent / "counting_app.py").read_text())
    (folder / "service.hcl").write_text(SERVICE)
    (folder / "intentions.hcl").write_text(intentions("count-service", ("order-service", "allow"), ("*", "deny")))
    for host in REPLICAS:
        lab.add(host, folder)
    eventually(
        lambda: (
            {name for name, one in lab.sidecar("order-1").endpoints("count-service").items() if one.is_healthy}
            == set(REPLICAS)
        ),
        what="order-1 to know both",
    )
    return lab


@pytest.fixture
def writing(counting: Lab, tmp_path: Path) -> Iterator[Any]:
    """Write an entry for the time of one test, and wait until the sidecars have it."""
    kinds: list[tuple[str, str]] = []

    def write(text: str, kind: str, name: str) -> None:
        done = counting.write_config(text, tmp_path)
        assert done.exit_code == 0, done.stderr
        kinds.append((kind, name))

    yield write
    for kind, name in kinds:
        counting.mesh("config", "delete", kind, name)


def call(lab: Lab, method: str, path: str = "/", **headers: str) -> Answer:
    """Call count-service from order-1."""
    passed = {name.replace("_", "-"): value for name, value in headers.items()}
    body = "a body" if method == "POST" else None
    return lab.http("order-1", method, f"http://count-service:8080{path}", headers=passed, body=body)


def served(lab: Lab) -> dict[str, int]:
    """Return how many requests each application has read to the end."""
    return {host: len(lab.run(host, "cat", "/var/lib/app/served").stdout.splitlines()) for host in REPLICAS}


def newly(lab: Lab, before: dict[str, int]) -> dict[str, int]:
    """Return how many came since."""
    return {host: count - before[host] for host, count in served(lab).items()}


@pytest.mark.parametrize("where", ["count-1", "count-2"])
def test_01_a_post_without_a_key_that_reached_an_application_is_never_sent_again(counting: Lab, where: str) -> None:
    before = served(counting)
    statuses: list[int] = []
    while 503 not in statuses and len(statuses) < 4:  # round robin: soon it meets the one that resets
        statuses.append(call(counting, "POST", x_reset_on=where).status)
    assert statuses[-1] == 503, statuses
    came = newly(counting, before)
    assert came[where] == 1
    assert sum(came.values()) == len(statuses), "each request was counted exactly once"
    record = eventually(lambda: counting.access_log(where, method="POST", response_flags="UC"), what="the flag UC")[-1]
    assert record["attempt_count"] == 1
    there = f"{counting.driver.address_of(where)}:8080"
    tries = eventually(
        lambda: [
            one["attempt_count"]
            for one in counting.access_log("order-1", upstream_cluster="count-service", response_code=503)
            if one["upstream_host"] == there
        ],
        what="order-1 to log its one try",
    )
    assert tries == [1]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("POST", {"idempotency_key": "k-1"}, id="a POST with a key is retried on the other replica"),
        pytest.param("GET", {}, id="a GET is retried on the other replica"),
    ],
)
def test_02_what_may_be_repeated_is_retried(counting: Lab, method: str, headers: dict[str, str]) -> None:
    before = served(counting)
    answers = [call(counting, method, x_reset_on="count-1", **headers) for _ in range(3)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, "count-2")] * 3
    came = newly(counting, before)
    assert came["count-2"] == 3
    assert 1 <= came["count-1"] <= 3


def test_03_the_number_of_retries_has_an_end_and_the_log_says_so(counting: Lab) -> None:
    before = served(counting)
    assert call(counting, "GET", x_reset_on=EVERYWHERE).status == 503
    assert sum(newly(counting, before).values()) == 3, "one try and two retries"
    record = eventually(
        lambda: counting.access_log("order-1", upstream_cluster="count-service", response_flags="URX"),
        what="the flag URX",
    )[-1]
    assert record["attempt_count"] == 3


def test_04_a_refused_connection_is_retried_even_for_a_post_without_a_key(counting: Lab) -> None:
    before = served(counting)
    with counting.broken("refuse", "count-1"):
        answers = [call(counting, "POST") for _ in range(3)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, "count-2")] * 3
    assert newly(counting, before) == {"count-1": 0, "count-2": 3}


def test_05_half_an_answer_never_looks_whole_and_is_not_tried_again(counting: Lab) -> None:
    before = served(counting)
    answer = call(counting, "GET", "/half")
    assert answer.status == 0
    assert answer.error.startswith(("IncompleteRead", "ConnectionResetError")), answer.error
    assert sum(newly(counting, before).values()) == 1


def test_06_a_route_that_takes_too_long_ends_with_504(counting: Lab, writing: Any) -> None:
    writing(ROUTER, "service-router", "count-service")
    eventually(lambda: call(counting, "POST", "/slow").status == 504, what="the timeout to hold")
    before = served(counting)
    answer = call(counting, "POST", "/slow")
    assert (answer.status, answer.body) == (504, "upstream request timeout")
    assert sum(newly(counting, before).values()) == 1, "a timeout says nothing about delivery: no retry"
    record = eventually(lambda: counting.access_log("order-1", response_code=504, path="/slow"), what="the record")[-1]
    assert 300 <= record["duration_ms"] <= stretched(2500), "before the application would have answered"
    assert record["response_flags"] == "UT"
    assert record["route_name"] == "count-service/1/once"
    assert call(counting, "GET", "/").status == 200, "other routes have their own time"


def test_07_a_full_circuit_breaker_answers_at_once_and_nothing_is_delivered(counting: Lab, writing: Any) -> None:
    writing(ONE_AT_A_TIME, "service-defaults", "order-service")
    eventually(
        lambda: counting.sidecar("order-1").limits("count-service")["max_requests"] == 1,
        what="the limit to hold",
    )
    before = served(counting)
    done = counting.python("order-1", AT_ONCE)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == [[200, None], [503, "true"], [503, "true"], [503, "true"]]
    assert sum(newly(counting, before).values()) == 1
    records = eventually(
        lambda: len(found := counting.access_log("order-1", response_flags="UO")) == 3 and found,
        what="three records with the flag UO",
    )
    once = 1 if counting.has_envoy("order-1") else 0  # docs/reference/sidecar-parity.md: how a try is counted
    assert {record["attempt_count"] for record in records} == {once}, "an overflow is never retried"
