"""What the admin page shows, page by page. Never a key, never a header of a request."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from mesh.proxy.policy.runtime import ClusterRuntime
from mesh.proxy.shell.admin import Page, as_json, text
from mesh.proxy.tables.model import ProxyTables

if TYPE_CHECKING:
    from mesh.proxy.shell.sidecar import Sidecar

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def pages_of(sidecar: Sidecar) -> Mapping[tuple[str, str], Page]:
    """Return all pages by method and path."""
    return {
        ("GET", "/ready"): lambda: ready(sidecar),
        ("GET", "/stats/prometheus"): lambda: statistics(sidecar),
        ("GET", "/clusters"): lambda: as_json([cluster(one) for one in sidecar.state.runtimes.by_name.values()]),
        ("GET", "/config_dump"): lambda: config(sidecar),
        ("GET", "/certs"): lambda: certificates(sidecar),
    }


def ready(sidecar: Sidecar) -> tuple[int, str, bytes]:
    """200 when calls can pass; 503 with what is missing."""
    waits = sidecar.waits_for()
    if waits:
        return text(503, "waiting for " + "\nwaiting for ".join(waits))
    return text(503, "draining") if sidecar.state.is_draining else text(200, "ready")


def statistics(sidecar: Sidecar) -> tuple[int, str, bytes]:
    """All metrics; the gauges are taken now."""
    metrics, state = sidecar.metrics, sidecar.state
    for listener, count in sidecar.listeners.open.items():
        metrics.gauge("mesh_downstream_connections_active", listener).value = count
    for name, (count, _) in state.pool.counts().items():
        metrics.gauge("mesh_upstream_connections_active", name).value = count
    for name, runtime in state.runtimes.by_name.items():
        for label, count in endpoint_states(runtime).items():
            metrics.gauge("mesh_upstream_endpoints", name, label).value = count
        for counter in (runtime.breaker.requests, runtime.breaker.pending, runtime.breaker.connections):
            metrics.counter("mesh_upstream_overflow_total", name, counter.name).value = counter.overflowed
    return 200, PROMETHEUS, metrics.render().encode()


def endpoint_states(runtime: ClusterRuntime) -> dict[str, int]:
    """Count endpoints by state."""
    states = {"healthy": 0, "unhealthy": 0, "ejected": 0}
    for endpoint in runtime.cluster.endpoints:
        is_ejected = runtime.detector is not None and runtime.detector.is_ejected(endpoint.key)
        states["ejected" if is_ejected else "healthy" if endpoint.is_healthy else "unhealthy"] += 1
    return states


def cluster(runtime: ClusterRuntime) -> dict[str, Any]:
    """Show one cluster: who is in rotation and why, breakers, and what outlier detection says of each endpoint."""
    breaker = runtime.breaker
    counters = (breaker.connections, breaker.pending, breaker.requests, breaker.retries)
    return {
        "name": runtime.cluster.name,
        "rotation": runtime.candidates.explanation,
        "breakers": {one.name: {"active": one.active, "limit": one.limit, "overflows": one.overflowed}
                     for one in counters},
        "retries": plain(runtime.retry_stats),
        "outlier": plain(runtime.detector.stats) if runtime.detector else None,
        "endpoints": [_endpoint(runtime, endpoint) for endpoint in runtime.cluster.endpoints],
    }  # fmt: skip


def _endpoint(runtime: ClusterRuntime, endpoint: Any) -> dict[str, Any]:
    stats, monitor = runtime.stats.get(endpoint.key), runtime.monitor(endpoint.key)
    shown: dict[str, Any] = {
        "address": f"{endpoint.address}:{endpoint.port}",
        "host": endpoint.host,
        "datacenter": endpoint.datacenter,
        "is_healthy": endpoint.is_healthy,
    }
    if stats is not None:
        shown |= {"active": stats.active, "requests": stats.requests, "errors": stats.errors}
    if monitor is not None:
        shown |= {
            "outlier_state": monitor.state.name.lower(),
            "consecutive_5xx": monitor.consecutive_5xx,
            "ejections": monitor.ejections,
            "note": monitor.last_note,
        }
    return shown


def config(sidecar: Sidecar) -> tuple[int, str, bytes]:
    """The tables in force, and what was refused or is waited for."""
    xds = sidecar.xds
    return as_json(
        {
            "node": sidecar.bootstrap.node_id,
            "connected": xds.is_connected,
            "last_refusal": xds.last_refusal,
            "warming": xds.compiler.warming,
            "tables": plain(sidecar.state.tables),
        }
    )


def certificates(sidecar: Sidecar) -> tuple[int, str, bytes]:
    """Whom we prove to be and until when, and the roots we believe in."""
    identity = sidecar.state.identity
    if identity is None:
        return as_json({"spiffe_id": None})
    leaf = identity.leaf
    return as_json(
        {
            "spiffe_id": identity.spiffe_id,
            "generation": identity.generation,
            "serial": f"{leaf.serial_number:x}",
            "not_before": leaf.not_valid_before_utc.isoformat(),
            "not_after": identity.not_after.isoformat(),
            "seconds_left": round(identity.not_after.timestamp() - time.time()),
            "issuer": leaf.issuer.rfc4514_string(),
            "roots": [root.subject.rfc4514_string() for root in identity.bundle.roots],
        }
    )


def plain(value: Any) -> Any:
    """Return tables as JSON takes them; what is a function shows as its name."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return getattr(value, "__qualname__", type(value).__name__)


def access_log_path(tables: ProxyTables) -> str | None:
    """Return the path that the listeners' access logs name; they all name the same."""
    for listener in tables.listeners.values():
        for chains in (listener.by_address_and_port, listener.by_address, listener.by_port):
            for chain in chains.values():
                if chain.app.access_log is not None:
                    return chain.app.access_log.path
    return None
