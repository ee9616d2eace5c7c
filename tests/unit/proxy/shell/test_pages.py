"""What the page about clusters says of outlier detection."""

from __future__ import annotations

from random import Random

from mesh.proxy.policy.retry import Responded
from mesh.proxy.policy.runtime import ClusterRuntime
from mesh.proxy.shell.pages import cluster
from mesh.proxy.tables.model import Cluster, Endpoint, OutlierConfig

ONE, TWO = (Endpoint(f"10.77.1.{n}", 8080, host=f"payment-{n}") for n in (12, 13))


def runtime(outlier: OutlierConfig | None) -> ClusterRuntime:
    return ClusterRuntime(Cluster("payment", (ONE, TWO), outlier=outlier), now=0.0, rng=Random(1))


def test_an_endpoint_that_was_not_ejected_says_why_and_is_counted() -> None:
    failing = runtime(OutlierConfig(consecutive_5xx=1))
    failing.ended(ONE.key, Responded(503, {}), now=0.1)
    page = cluster(failing)
    assert page["outlier"]["ejections_overflow"] == 1
    assert page["outlier"]["ejections_enforced_total"] == 0
    notes = {shown["host"]: shown["note"] for shown in page["endpoints"]}
    assert notes == {"payment-12": "not ejected: 1 of 2 hosts would be 50 %, max_ejection_percent is 10",
                     "payment-13": ""}  # fmt: skip


def test_without_outlier_detection_nothing_is_said_of_it() -> None:
    page = cluster(runtime(None))
    assert page["outlier"] is None
    assert not any("note" in shown for shown in page["endpoints"])
