"""Cluster -> `Cluster`, its endpoints still missing when they come by EDS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2

from mesh.proxy.tables import compile_endpoints, compile_tls
from mesh.proxy.tables.model import BreakerLimits, Cluster, OutlierConfig, UpstreamTls
from mesh.proxy.tables.nack import Place, fields, unpack
from mesh.proxy.tables.values import number, percent, positive_seconds

UNDERSTOOD = {
    "envoy.config.cluster.v3.Cluster": fields(
        "name type eds_cluster_config connect_timeout lb_policy load_assignment transport_socket outlier_detection"
        " circuit_breakers common_lb_config upstream_bind_config"
    ),
    "envoy.config.cluster.v3.Cluster.EdsClusterConfig": fields("eds_config service_name"),
    "envoy.config.cluster.v3.Cluster.CommonLbConfig": fields("healthy_panic_threshold"),
    "envoy.type.v3.Percent": fields("value"),
    "envoy.config.core.v3.BindConfig": fields("source_address"),
    "envoy.config.cluster.v3.CircuitBreakers": fields("thresholds"),
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds": fields(
        "priority max_connections max_pending_requests max_requests max_retries retry_budget"
    ),
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget": fields("budget_percent min_retry_concurrency"),
    "envoy.config.cluster.v3.OutlierDetection": fields(
        "consecutive_5xx interval base_ejection_time max_ejection_time max_ejection_percent enforcing_consecutive_5xx"
        " always_eject_one_host enforcing_success_rate enforcing_failure_percentage"
        " enforcing_consecutive_gateway_failure"
    ),
    **compile_endpoints.UNDERSTOOD,
    **compile_tls.UNDERSTOOD,
}

# Detectors of Envoy that this proxy does not have: they may be mentioned only to switch them off.
_ABSENT_DETECTORS = (
    "enforcing_success_rate",
    "enforcing_failure_percentage",
    "enforcing_consecutive_gateway_failure",
)


@dataclass(frozen=True, slots=True)
class ClusterDraft:
    """A cluster, and under which name its endpoints come by EDS; None: they are here already."""

    cluster: Cluster
    eds_name: str | None


def compile_cluster(name: str, body: bytes) -> ClusterDraft:
    """Compile one CDS resource.

    Raises:
        ConfigNack: a field or a value that is not implemented.
    """
    at = Place(name)
    message = unpack(body, cluster_pb2.Cluster, UNDERSTOOD, at)
    if message.name != name:
        raise at.field("name").nack(f"it says {message.name!r}, the resource is {name!r}")
    if message.lb_policy != cluster_pb2.Cluster.ROUND_ROBIN:
        raise at.field("lb_policy").not_implemented("a policy other than ROUND_ROBIN")
    eds_name = _eds_name(message, at)
    if eds_name is not None and message.HasField("load_assignment"):
        raise at.field("load_assignment").nack("a cluster of type EDS has its endpoints elsewhere")
    static = compile_endpoints.endpoints_of(message.load_assignment, at.field("load_assignment"))
    cluster = Cluster(
        name=name,
        endpoints=static,
        connect_timeout_s=positive_seconds(message, "connect_timeout", 5.0, at),
        tls=_tls(message, at),
        source_address=_source_address(message, at),
        outlier=_outlier(message, at),
        limits=_limits(message, at),
        panic_threshold_pct=_panic_threshold(message),
    )
    return ClusterDraft(cluster, eds_name)


def _eds_name(message: Any, at: Place) -> str | None:
    if message.type == cluster_pb2.Cluster.STATIC:
        return None
    if message.type != cluster_pb2.Cluster.EDS:
        raise at.field("type").not_implemented("a type other than STATIC and EDS")
    config = message.eds_cluster_config
    if not config.eds_config.HasField("ads"):
        raise at.field("eds_cluster_config").field("eds_config").not_implemented("a source other than ads")
    return str(config.service_name or message.name)


def _tls(message: Any, at: Place) -> UpstreamTls | None:
    if not message.HasField("transport_socket"):
        return None
    return compile_tls.compile_upstream_tls(message.transport_socket, at.field("transport_socket"))


def _source_address(message: Any, at: Place) -> str | None:
    if not message.HasField("upstream_bind_config"):
        return None
    source, where = message.upstream_bind_config.source_address, at.field("upstream_bind_config.source_address")
    if source.protocol or source.port_value or not source.address:
        raise where.not_implemented("anything but an address (the port is any, the protocol TCP)")
    address: str = source.address
    return address


def _panic_threshold(message: Any) -> float:
    config = message.common_lb_config
    return float(config.healthy_panic_threshold.value) if config.HasField("healthy_panic_threshold") else 50.0


def _limits(message: Any, at: Place) -> BreakerLimits:
    at = at.field("circuit_breakers")
    if len(message.circuit_breakers.thresholds) > 1:
        raise at.field("thresholds").not_implemented("more than one set of thresholds")
    for thresholds, where in at.each("thresholds", message.circuit_breakers.thresholds):
        if thresholds.priority != base_pb2.DEFAULT:
            raise where.field("priority").not_implemented("a priority other than DEFAULT")
        return _thresholds(thresholds)
    return BreakerLimits()


def _thresholds(thresholds: Any) -> BreakerLimits:
    default = BreakerLimits()
    budget = thresholds.retry_budget
    has_budget = thresholds.HasField("retry_budget")
    budget_pct = budget.budget_percent.value if budget.HasField("budget_percent") else 20.0
    return BreakerLimits(
        max_connections=number(thresholds, "max_connections", default.max_connections),
        max_pending_requests=number(thresholds, "max_pending_requests", default.max_pending_requests),
        max_requests=number(thresholds, "max_requests", default.max_requests),
        max_retries=number(thresholds, "max_retries", default.max_retries),
        retry_budget_pct=budget_pct if has_budget else None,
        min_retry_concurrency=number(budget, "min_retry_concurrency", default.min_retry_concurrency),
    )


def _outlier(message: Any, at: Place) -> OutlierConfig | None:
    if not message.HasField("outlier_detection"):
        return None
    config, at = message.outlier_detection, at.field("outlier_detection")
    for name in _ABSENT_DETECTORS:
        if number(config, name, 0):
            raise at.field(name).not_implemented("this detector, other than switched off,")
    default = OutlierConfig()
    base_s = positive_seconds(config, "base_ejection_time", default.base_ejection_time_s, at)
    max_s = positive_seconds(config, "max_ejection_time", max(default.max_ejection_time_s, base_s), at)
    if max_s < base_s:
        raise at.field("max_ejection_time").nack(f"{max_s:g} s is less than base_ejection_time, {base_s:g} s")
    return OutlierConfig(
        consecutive_5xx=number(config, "consecutive_5xx", default.consecutive_5xx),
        interval_s=positive_seconds(config, "interval", default.interval_s, at),
        base_ejection_time_s=base_s,
        max_ejection_time_s=max_s,
        max_ejection_percent=percent(config, "max_ejection_percent", default.max_ejection_percent, at),
        enforcing_consecutive_5xx=percent(config, "enforcing_consecutive_5xx", 100, at),
        always_eject_one_host=config.always_eject_one_host.value,
    )
