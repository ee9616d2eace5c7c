"""`Kind = "service-defaults"` and `Kind = "proxy-defaults"`: what holds for one service, and for all."""

from __future__ import annotations

from mesh.config.decode.reader import Fields
from mesh.config.decode.report import Report
from mesh.config.entries import Limits, PassiveHealthCheck, Protocol, ProxyDefaults, ServiceDefaults, UpstreamPolicy
from mesh.config.hcl.tree import ObjectNode

CONSUL_PROTOCOLS = ("http2", "grpc")
SERVICE_NOT_IMPLEMENTED = {
    "Namespace": "",
    "Partition": "",
    "BalanceInboundConnections": "",
    "Mode": "leaving it out: every host is transparent",
    "TransparentProxy": "leaving it out: every host is transparent",
    "MutualTLSMode": "leaving it out: mutual TLS is always strict",
    "MeshGateway": "",
    "Expose": "",
    "ExternalSNI": "",
    "Destination": "",
    "RateLimits": "",
    "EnvoyExtensions": "",
}
UPSTREAM_NOT_IMPLEMENTED = {
    "Namespace": "",
    "Partition": "",
    "Peer": "",
    "EnvoyListenerJSON": "",
    "EnvoyClusterJSON": "",
    "Protocol": "Protocol in the service-defaults of the upstream itself",
    "MeshGateway": "",
    "BalanceOutboundConnections": "",
}
PROXY_NOT_IMPLEMENTED = {
    "Namespace": "",
    "Partition": "",
    "Mode": "leaving it out: every host is transparent",
    "TransparentProxy": "leaving it out: every host is transparent",
    "MutualTLSMode": "leaving it out: mutual TLS is always strict",
    "MeshGateway": "",
    "Expose": "",
    "AccessLogs": "leaving it out: the access log is always on",
    "FailoverPolicy": "",
    "PrioritizeByLocality": "",
    "EnvoyExtensions": "",
}
CONFIG_NOT_IMPLEMENTED = {
    "local_connect_timeout_ms": "LocalConnectTimeoutMs in service-defaults",
    "local_request_timeout_ms": "LocalRequestTimeoutMs in service-defaults",
    "max_inbound_connections": "MaxInboundConnections in service-defaults",
    "envoy_prometheus_bind_addr": "leaving it out: the agent serves metrics",
    "envoy_tracing_json": "",
    "envoy_extra_static_clusters_json": "",
}
MAX_TIMEOUT_MS = 24 * 3600 * 1000


def decode_service_defaults(fields: Fields, report: Report) -> ServiceDefaults:
    """Read an entry whose `Kind` was already taken. Defaults are Consul's."""
    name = fields.name("Name", "service")
    upstreams = fields.block("UpstreamConfig")
    defaults, overrides = _decode_upstreams(upstreams, report) if upstreams else (None, ())
    entry = ServiceDefaults(
        name=name,
        protocol=fields.choice("Protocol", Protocol, CONSUL_PROTOCOLS),
        upstream_defaults=defaults,
        upstream_overrides=overrides,
        max_inbound_connections=fields.integer("MaxInboundConnections") or None,  # 0: no limit
        local_connect_timeout_s=_milliseconds(fields, "LocalConnectTimeoutMs", least=1) or 5.0,
        local_request_timeout_s=_milliseconds(fields, "LocalRequestTimeoutMs"),
        meta=fields.mapping("Meta"),
        at=fields.at,
    )
    fields.finish(SERVICE_NOT_IMPLEMENTED)
    return entry


def _milliseconds(fields: Fields, key: str, *, least: int = 0) -> float | None:
    """Return a number of milliseconds as seconds, or None when the key is not written."""
    found = fields.integer(key, least=least, most=MAX_TIMEOUT_MS)
    return None if found is None else found / 1000


def _decode_upstreams(node: ObjectNode, report: Report) -> tuple[UpstreamPolicy | None, tuple[UpstreamPolicy, ...]]:
    """Read `UpstreamConfig`: what holds for all upstreams, and for single ones."""
    fields = Fields(node, "UpstreamConfig", report)
    defaults = fields.block("Defaults")
    overrides = tuple(_decode_upstream(block, report, is_override=True) for block in fields.blocks("Overrides"))
    fields.finish()
    first: dict[str | None, UpstreamPolicy] = {}
    for policy in overrides:
        if policy.name in first:
            line = first[policy.name].at.line
            report.add(f'the upstream "{policy.name}" has an override in line {line} already', policy.at, "one of them")
        first.setdefault(policy.name, policy)
    return (_decode_upstream(defaults, report, is_override=False) if defaults else None), overrides


def _decode_upstream(node: ObjectNode, report: Report, *, is_override: bool) -> UpstreamPolicy:
    fields = Fields(node, "an override of UpstreamConfig" if is_override else "the defaults of UpstreamConfig", report)
    limits, check = fields.block("Limits"), fields.block("PassiveHealthCheck")
    policy = UpstreamPolicy(
        name=fields.name("Name", "service") if is_override else None,
        connect_timeout_s=_milliseconds(fields, "ConnectTimeoutMs", least=1) or 5.0,
        limits=_decode_limits(limits, report) if limits else Limits(),
        passive_health_check=_decode_passive(check, report) if check else None,
        at=node.at,
    )
    fields.finish(UPSTREAM_NOT_IMPLEMENTED)
    return policy


def _decode_limits(node: ObjectNode, report: Report) -> Limits:
    fields = Fields(node, "the limits of an upstream", report)
    limits = Limits(
        max_connections=fields.integer("MaxConnections"),
        max_pending_requests=fields.integer("MaxPendingRequests"),
        max_concurrent_requests=fields.integer("MaxConcurrentRequests"),
    )
    fields.finish()
    return limits


def _decode_passive(node: ObjectNode, report: Report) -> PassiveHealthCheck:
    """Read outlier detection; what is not written has Envoy's default."""
    fields = Fields(node, "PassiveHealthCheck", report)
    usual = PassiveHealthCheck()
    interval_s = fields.duration("Interval", least_s=0.001)
    max_failures = fields.integer("MaxFailures")
    enforcing = fields.integer("EnforcingConsecutive5xx", most=100)
    percent = fields.integer("MaxEjectionPercent", most=100)
    base_s = fields.duration("BaseEjectionTime", least_s=0.001)
    fields.finish()
    return PassiveHealthCheck(
        interval_s=usual.interval_s if interval_s is None else interval_s,
        max_failures=max_failures or usual.max_failures,  # Consul passes 0 on as "not said"
        enforcing_consecutive_5xx=usual.enforcing_consecutive_5xx if enforcing is None else enforcing,
        max_ejection_percent=usual.max_ejection_percent if percent is None else percent,
        base_ejection_time_s=usual.base_ejection_time_s if base_s is None else base_s,
    )


def decode_proxy_defaults(fields: Fields, report: Report) -> ProxyDefaults:
    """Read the one entry that holds for every service."""
    name = fields.required_text("Name", '"global"')
    if name and name != "global":
        report.add(f'proxy-defaults has the Name "{name[:80]}"', fields.place("Name"), 'Name = "global"')
    node = fields.block("Config")
    protocol = None
    if node:
        config = Fields(node, "the Config of proxy-defaults", report)
        protocol = config.choice("protocol", Protocol, CONSUL_PROTOCOLS)
        config.finish(CONFIG_NOT_IMPLEMENTED)
    entry = ProxyDefaults("global", protocol, fields.mapping("Meta"), fields.at)
    fields.finish(PROXY_NOT_IMPLEMENTED)
    return entry
