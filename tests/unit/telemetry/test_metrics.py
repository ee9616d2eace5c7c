"""Counters are ints, the text is Prometheus', and no peer can make series without end."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mesh.base.errors import LocalProtocolError
from mesh.telemetry.metrics import METRICS, OVERFLOW, Histogram, Kind, Metric, Metrics

HOP = ("source", "order-service", "payment-service")


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_a_series_is_looked_up_once_and_counted_by_hand() -> None:
    metrics = Metrics()
    requests = metrics.counter("mesh_requests_total", *HOP, "200", "-")
    requests.value += 1
    metrics.counter("mesh_requests_total", *HOP, "200", "-").value += 2
    found = samples(metrics)
    assert list(found.values()) == [3]
    assert dict(next(iter(found))[1])["destination_service"] == "payment-service"


def test_nothing_counted_is_nothing_written() -> None:
    assert Metrics().render() == ""


def test_a_foreign_parser_reads_labels_with_every_mark() -> None:
    metrics = Metrics()
    hostile = 'a"b\\c\nd{}=,é'
    metrics.gauge("mesh_downstream_connections_active", hostile).value = 2
    assert samples(metrics) == {("mesh_downstream_connections_active", (("listener", hostile),)): 2}


def test_histogram() -> None:
    metrics = Metrics()
    duration = metrics.histogram("mesh_request_duration_seconds", *HOP)
    for value in (0.0001, 0.001, 0.0011, 99.0):
        duration.observe(value)
    found = {(name, dict(labels).get("le")): value for (name, labels), value in samples(metrics).items()}
    assert found["mesh_request_duration_seconds_bucket", "0.0005"] == 1
    assert found["mesh_request_duration_seconds_bucket", "0.001"] == 2  # a bound belongs to its bucket
    assert found["mesh_request_duration_seconds_bucket", "10"] == 3
    assert found["mesh_request_duration_seconds_bucket", "+Inf"] == 4
    assert found["mesh_request_duration_seconds_count", None] == 4
    assert found["mesh_request_duration_seconds_sum", None] == pytest.approx(99.0022)


def test_two_histograms_share_nothing() -> None:
    first, second = Histogram(), Histogram()
    first.observe(1)
    assert sum(second.counts) == 0


def test_the_cap_holds() -> None:
    metrics = Metrics(
        {**METRICS, "mesh_few_total": Metric("mesh_few_total", Kind.COUNTER, "Few.", ("who",), max_series=50)}
    )
    for n in range(100_000 // 100):
        metrics.counter("mesh_few_total", str(n)).value += 1
    found = samples(metrics)
    few = {labels[0][1]: value for (name, labels), value in found.items() if name == "mesh_few_total"}
    assert len(few) == 51
    assert few[OVERFLOW] == 950
    assert found["mesh_metrics_overflow_total", (("metric", "mesh_few_total"),)] == 950


def test_a_forgotten_series_is_gone() -> None:
    metrics = Metrics()
    metrics.gauge("mesh_xds_connected").value = 1
    metrics.forget("mesh_xds_connected")
    assert metrics.render() == ""


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        pytest.param("mesh_nothing", (), id="an unknown name"),
        pytest.param("mesh_requests_total", ("source",), id="too few labels"),
        pytest.param("mesh_xds_connected", (), id="a gauge is no counter"),
    ],
)
def test_what_is_not_in_the_table_is_our_mistake(name: str, labels: tuple[str, ...]) -> None:
    with pytest.raises(LocalProtocolError, match="is not a counter of the table"):
        Metrics().counter(name, *labels)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_names_follow_the_habit(metric: Metric) -> None:
    assert metric.name.startswith("mesh_")
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.help.endswith(".")
