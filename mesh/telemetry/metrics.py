"""Metrics: one table of names, counters that are plain ints, and Prometheus text at the end.

The hot path looks a series up once, when a route is chosen, and then only adds:

    requests = metrics.counter("mesh_requests_total", "source", "order-service", "payment-service", "200", "-")
    requests.value += 1

Everything that counts is in `METRICS`; a name or a label that is not there is our own mistake and raises. Label values
come from certificates and configuration, never straight from a request; should some change that, the cap holds: beyond
`max_series` a metric counts into one series whose labels all say "overflow".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from mesh.base.errors import LocalProtocolError

OVERFLOW = "overflow"
DEFAULT_MAX_SERIES = 1000
SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Kind(StrEnum):
    """What a metric does over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table: name, kind, what it tells, its labels in order."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    max_series: int = DEFAULT_MAX_SERIES


_HOP = ("reporter", "source_service", "destination_service")

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        # The sidecar. `reporter` is "source" (outbound) or "destination" (inbound), as in Istio's standard metrics.
        Metric("mesh_requests_total", Kind.COUNTER, "HTTP requests answered.",
               (*_HOP, "response_code", "response_flags")),
        Metric("mesh_request_duration_seconds", Kind.HISTOGRAM, "Time from request head to the end of the response.",
               _HOP),
        Metric("mesh_request_bytes_total", Kind.COUNTER, "Request body bytes.", _HOP),
        Metric("mesh_response_bytes_total", Kind.COUNTER, "Response body bytes.", _HOP),
        Metric("mesh_tcp_connections_opened_total", Kind.COUNTER, "TCP connections accepted by policy.", _HOP),
        Metric("mesh_tcp_connections_closed_total", Kind.COUNTER, "TCP connections ended.", (*_HOP, "response_flags")),
        Metric("mesh_tcp_sent_bytes_total", Kind.COUNTER, "Bytes sent to the downstream.", _HOP),
        Metric("mesh_tcp_received_bytes_total", Kind.COUNTER, "Bytes received from the downstream.", _HOP),
        Metric("mesh_downstream_connections_active", Kind.GAUGE, "Open downstream connections.", ("listener",)),
        Metric("mesh_downstream_refused_total", Kind.COUNTER, "Connections closed before any request.",
               ("listener", "reason")),
        Metric("mesh_upstream_connections_active", Kind.GAUGE, "Open upstream connections.", ("cluster",)),
        Metric("mesh_upstream_retries_total", Kind.COUNTER, "Second and later attempts.", ("cluster", "reason")),
        Metric("mesh_upstream_ejections_total", Kind.COUNTER, "Endpoints ejected by outlier detection.", ("cluster",)),
        Metric("mesh_upstream_overflow_total", Kind.COUNTER, "Requests refused by a circuit breaker.",
               ("cluster", "limit")),
        Metric("mesh_upstream_endpoints", Kind.GAUGE, "Endpoints by state.", ("cluster", "state")),
        Metric("mesh_rbac_decisions_total", Kind.COUNTER, "Authorization decisions.",
               ("destination_service", "verdict", "rule")),
        Metric("mesh_xds_updates_total", Kind.COUNTER, "Resources applied or refused.", ("type", "result")),
        Metric("mesh_xds_connected", Kind.GAUGE, "1 while the ADS stream is up."),
        Metric("mesh_access_log_dropped_total", Kind.COUNTER, "Access log lines lost to a slow or full disk."),
        # The agent.
        Metric("mesh_svid_renewals_total", Kind.COUNTER, "Attempts to renew the SVID.", ("result",)),
        Metric("mesh_svid_not_after_seconds", Kind.GAUGE, "End of the SVID, Unix time."),
        Metric("mesh_checks_total", Kind.COUNTER, "Health checks run.", ("check", "result")),
        Metric("mesh_dns_queries_total", Kind.COUNTER, "Questions answered.", ("result",)),
        Metric("mesh_dns_forwarded_total", Kind.COUNTER, "Questions that the host's resolvers were asked.",
               ("result",)),
        Metric("mesh_workload_api_streams", Kind.GAUGE, "Open streams on the agent's socket.", ("method",)),
        # The control plane.
        Metric("mesh_xds_streams", Kind.GAUGE, "Connected proxies."),
        Metric("mesh_xds_pushes_total", Kind.COUNTER, "Responses sent.", ("type",)),
        Metric("mesh_xds_nacks_total", Kind.COUNTER, "Responses refused by a proxy.", ("type",)),
        Metric("mesh_ca_issued_total", Kind.COUNTER, "Leaves signed.", ("datacenter",)),
        Metric("mesh_ca_refused_total", Kind.COUNTER, "CSRs and tokens refused.", ("reason",)),
        Metric("mesh_rejoin_copies_total", Kind.COUNTER, "Signs that a copy of a rejoin secret is out.",
               ("service", "host", "what")),
        Metric("mesh_instances", Kind.GAUGE, "Registered instances by health.", ("status",)),
        Metric("mesh_state_index", Kind.GAUGE, "Index of the mesh state; it only grows."),
        # All of them.
        Metric("mesh_metrics_overflow_total", Kind.COUNTER, "Series refused by the cardinality cap.", ("metric",)),
    )
}  # fmt: skip


@dataclass(slots=True)
class Value:
    """A counter or a gauge: add to `value`, or set it."""

    value: int | float = 0


@dataclass(slots=True)
class Histogram:
    """Counts by upper bound, with sum and number."""

    bounds: tuple[float, ...] = SECONDS_BUCKETS
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value; a value equal to a bound belongs below it (Prometheus' `le`)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """The series of one process."""

    def __init__(self, table: dict[str, Metric] = METRICS) -> None:
        self._table = table
        self._series: dict[str, dict[tuple[str, ...], Value | Histogram]] = {name: {} for name in table}

    def counter(self, name: str, *labels: str) -> Value:
        """Return the series of a counter, made on first use.

        Raises:
            LocalProtocolError: no such counter, or another number of labels.
        """
        return self._value(name, Kind.COUNTER, labels)

    def gauge(self, name: str, *labels: str) -> Value:
        """Return the series of a gauge, made on first use.

        Raises:
            LocalProtocolError: no such gauge, or another number of labels.
        """
        return self._value(name, Kind.GAUGE, labels)

    def histogram(self, name: str, *labels: str) -> Histogram:
        """Return the series of a histogram, made on first use.

        Raises:
            LocalProtocolError: no such histogram, or another number of labels.
        """
        series = self._find(name, Kind.HISTOGRAM, labels, Histogram)
        assert isinstance(series, Histogram)
        return series

    def forget(self, name: str, *labels: str) -> None:
        """Drop a series (a cluster that was removed); whoever still holds it counts into nothing."""
        self._series[name].pop(labels, None)

    def render(self) -> str:
        """Write all series that exist, in Prometheus' text format 0.0.4."""
        lines: list[str] = []
        for name, metric in self._table.items():
            if self._series[name]:
                lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
                for labels, series in self._series[name].items():
                    lines += _lines_of(metric, labels, series)
        return "\n".join(lines) + "\n" if lines else ""

    def _value(self, name: str, kind: Kind, labels: tuple[str, ...]) -> Value:
        series = self._find(name, kind, labels, Value)
        assert isinstance(series, Value)
        return series

    def _find(
        self, name: str, kind: Kind, labels: tuple[str, ...], make: Callable[[], Value | Histogram]
    ) -> Value | Histogram:
        metric = self._table.get(name)
        if metric is None or metric.kind is not kind or len(metric.labels) != len(labels):
            raise LocalProtocolError(f"counting: {name}{labels} is not a {kind} of the table")
        known = self._series[name]
        if labels not in known and len(known) >= metric.max_series:
            labels = (OVERFLOW,) * len(labels)
            self.counter("mesh_metrics_overflow_total", name).value += 1
        if labels not in known:
            known[labels] = make()
        return known[labels]


def _lines_of(metric: Metric, labels: tuple[str, ...], series: Value | Histogram) -> Iterable[str]:
    pairs = [f'{name}="{_escape(value)}"' for name, value in zip(metric.labels, labels, strict=True)]
    if isinstance(series, Value):
        yield f"{metric.name}{_braces(pairs)} {series.value}"
        return
    running = 0
    for bound, count in zip((*series.bounds, float("inf")), series.counts, strict=True):
        running += count
        le = "+Inf" if bound == float("inf") else f"{bound:g}"
        bucket = _braces([*pairs, f'le="{le}"'])
        yield f"{metric.name}_bucket{bucket} {running}"
    yield f"{metric.name}_sum{_braces(pairs)} {series.total}"
    yield f"{metric.name}_count{_braces(pairs)} {running}"


def _braces(pairs: list[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
