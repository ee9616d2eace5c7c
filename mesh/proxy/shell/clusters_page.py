"""Who may be called and who is called: clusters, their endpoints, breakers and what outlier detection says. Pure.

The shape is Envoy's, as lines and as JSON. Envoy has no word for why an endpoint is out; here `meshyard` has it.

Source: Envoy `clusters.proto` (`envoy.admin.v3.Clusters`), and its admin page `/clusters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, is_dataclass
from typing import Any

from mesh.proxy.policy.outlier import Monitor
from mesh.proxy.policy.runtime import ClusterRuntime, EndpointStats
from mesh.proxy.tables.model import Endpoint

HEALTHY, UNHEALTHY = "HEALTHY", "UNHEALTHY"


def as_statuses(runtimes: Iterable[ClusterRuntime]) -> dict[str, Any]:
    """Return `/clusters?format=json`."""
    return {"cluster_statuses": [_status(runtime) for runtime in runtimes]}


def as_lines(runtimes: Iterable[ClusterRuntime]) -> Iterator[str]:
    """Yield `/clusters`: one value a line, `cluster::address::name::value`."""
    for runtime in runtimes:
        name = runtime.cluster.name
        yield f"{name}::rotation::{runtime.candidates.explanation}"
        for key, value in _thresholds(runtime).items():
            yield f"{name}::default_priority::{key}::{value}"
        for endpoint in runtime.cluster.endpoints:
            where = f"{name}::{endpoint.address}:{endpoint.port}"
            for stat in _stats(runtime.stats.get(endpoint.key)):
                yield f"{where}::{stat['name']}::{stat['value']}"
            flags = "/failed_eds_health" * (not endpoint.is_healthy)
            flags += "/failed_outlier_check" * _is_ejected(runtime.monitor(endpoint.key))
            yield f"{where}::hostname::{endpoint.host}"
            yield f"{where}::health_flags::{flags or 'healthy'}"
            yield f"{where}::weight::{endpoint.weight}"
            yield f"{where}::zone::{endpoint.datacenter}"


def _status(runtime: ClusterRuntime) -> dict[str, Any]:
    breaker = runtime.breaker
    counters = (breaker.connections, breaker.pending, breaker.requests, breaker.retries)
    return {
        "name": runtime.cluster.name,
        "added_via_api": True,
        "host_statuses": [_host(runtime, endpoint) for endpoint in runtime.cluster.endpoints],
        "circuit_breakers": {"thresholds": [{"priority": "DEFAULT", **_thresholds(runtime)}]},
        "meshyard": {
            "rotation": runtime.candidates.explanation,
            "breakers": {one.name: {"active": one.active, "overflows": one.overflowed} for one in counters},
            "retries": _plain(runtime.retry_stats),
            "outlier": _plain(runtime.detector.stats) if runtime.detector else None,
        },
    }


def _thresholds(runtime: ClusterRuntime) -> dict[str, int]:
    breaker = runtime.breaker
    return {
        "max_connections": breaker.connections.limit,
        "max_pending_requests": breaker.pending.limit,
        "max_requests": breaker.requests.limit,
        "max_retries": breaker.retries.limit,
    }


def _host(runtime: ClusterRuntime, endpoint: Endpoint) -> dict[str, Any]:
    monitor = runtime.monitor(endpoint.key)
    health: dict[str, Any] = {"eds_health_status": HEALTHY if endpoint.is_healthy else UNHEALTHY}
    if _is_ejected(monitor):
        health["failed_outlier_check"] = True
    shown: dict[str, Any] = {
        "address": {"socket_address": {"address": endpoint.address, "port_value": endpoint.port}},
        "stats": _stats(runtime.stats.get(endpoint.key)),
        "health_status": health,
        "weight": endpoint.weight,
        "hostname": endpoint.host,
        "locality": {"zone": endpoint.datacenter},
    }
    if monitor is not None:
        shown["meshyard"] = {
            "outlier_state": monitor.state.name.lower(),
            "consecutive_5xx": monitor.consecutive_5xx,
            "ejections": monitor.ejections,
            "note": monitor.last_note,
        }
    return shown


def _stats(stats: EndpointStats | None) -> list[dict[str, str]]:
    stats = stats or EndpointStats()
    return [
        {"name": "rq_active", "type": "GAUGE", "value": str(stats.active)},
        {"name": "rq_error", "value": str(stats.errors)},
        {"name": "rq_success", "value": str(stats.successes)},
        {"name": "rq_total", "value": str(stats.requests)},
    ]


def _is_ejected(monitor: Monitor | None) -> bool:
    return monitor is not None and monitor.state.name == "EJECTED"


def _plain(stats: Any) -> Any:
    return asdict(stats) if is_dataclass(stats) and not isinstance(stats, type) else stats
