"""What the admin page shows, page by page. Never a key, never a header of a request.

`/clusters`, `/certs` and `/config_dump` have the shape of Envoy's pages, so that whoever reads the one can read the
other. What only this sidecar can say stands there under the key `meshyard`; `/tables` and the metrics' names are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from mesh.proxy.policy.runtime import ClusterRuntime
from mesh.proxy.shell.admin import Answer, Page, Query, as_json, text
from mesh.proxy.shell.certificates_page import certificates_of
from mesh.proxy.shell.clusters_page import as_lines, as_statuses
from mesh.proxy.tables.model import ProxyTables

if TYPE_CHECKING:
    from mesh.proxy.shell.sidecar import Sidecar

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def pages_of(sidecar: Sidecar) -> Mapping[tuple[str, str], Page]:
    """Return all pages by method and path."""
    return {
        ("GET", "/ready"): lambda query: ready(sidecar),
        ("GET", "/stats/prometheus"): lambda query: statistics(sidecar),
        ("GET", "/clusters"): lambda query: clusters(sidecar, query),
        ("GET", "/config_dump"): lambda query: config(sidecar, query),
        ("GET", "/certs"): lambda query: as_json(certificates_of(sidecar.state.identity)),
        ("GET", "/tables"): lambda query: tables(sidecar),
    }


def ready(sidecar: Sidecar) -> Answer:
    """200 when calls can pass; 503 with what is missing."""
    waits = sidecar.waits_for()
    if waits:
        return text(503, "waiting for " + "\nwaiting for ".join(waits))
    return text(503, "draining") if sidecar.state.is_draining else text(200, "ready")


def statistics(sidecar: Sidecar) -> Answer:
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


def clusters(sidecar: Sidecar, query: Query) -> Answer:
    """Every cluster and its endpoints: lines, or JSON with `?format=json`."""
    runtimes = sidecar.state.runtimes.by_name.values()
    if query.get("format") == "json":
        return as_json(as_statuses(runtimes))
    return text(200, "\n".join(as_lines(runtimes)))


def config(sidecar: Sidecar, query: Query) -> Answer:
    """The resources that were received; `?include_eds` shows endpoints, too."""
    from mesh.proxy.shell.config_page import dump  # what it imports is for this page alone

    return as_json(dump(sidecar.bootstrap, sidecar.xds.held, is_with_endpoints="include_eds" in query))


def tables(sidecar: Sidecar) -> Answer:
    """What was made of the resources: the tables in force, and what was refused or is waited for."""
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
