"""What a team writes, as checked values. Names are Consul's; units are in the names.

A value of this file is already believed: types, ranges and rules inside one entry hold. What spans several
entries (a dangling name, an L7 rule on a TCP service) is checked by `mesh.config.references`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mesh.base.errors import Position

NOWHERE = Position("<api>")


class Action(StrEnum):
    """What an intention or a permission says."""

    ALLOW = "allow"
    DENY = "deny"


class Protocol(StrEnum):
    """What a service speaks; declared, never guessed."""

    HTTP = "http"
    TCP = "tcp"


class CheckKind(StrEnum):
    """How a health check asks."""

    HTTP = "http"
    TCP = "tcp"
    TTL = "ttl"


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """One health check of a service. Defaults are Consul's (services configuration, checks)."""

    id: str
    name: str
    kind: CheckKind
    target: str = ""  # http: URL; tcp: "host:port"; ttl: empty
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    interval_s: float = 10.0
    timeout_s: float = 10.0
    ttl_s: float = 0.0
    initial_status: str = "critical"
    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """`service { ... }`: one service as its own host announces it."""

    name: str
    port: int
    id: str = ""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[CheckDefinition, ...] = ()
    has_sidecar: bool = True
    at: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """Exactly one of the six ways to match a header; `name` is lower case."""

    name: str
    present: bool | None = None
    exact: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    contains: str | None = None
    regex: str | None = None
    invert: bool = False
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """At most one path condition, any headers, any methods; all given parts must match."""

    path_exact: str | None = None
    path_prefix: str | None = None
    path_regex: str | None = None
    headers: tuple[HeaderMatch, ...] = ()
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Permission:
    """One L7 rule of a source."""

    action: Action
    http: HttpMatch
    at: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class SourceIntention:
    """One row: a source and either an action or permissions. `precedence` is computed: 9 exact, 8 for `*`.

    `rule` is empty as written; a row that a `*` destination lends to another keeps its own name there.
    """

    name: str
    action: Action | None = None
    permissions: tuple[Permission, ...] = ()
    description: str = ""
    precedence: int = 9
    rule: str = ""
    at: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class ServiceIntentions:
    """Who may call `name`; rows in the author's order, first match wins, default deny."""

    name: str
    sources: tuple[SourceIntention, ...]
    meta: Mapping[str, str] = field(default_factory=dict)
    at: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class PassiveHealthCheck:
    """Outlier detection in Consul's words; defaults are Envoy's."""

    interval_s: float = 10.0
    max_failures: int = 5
    enforcing_consecutive_5xx: int = 100
    max_ejection_percent: int = 10
    base_ejection_time_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Circuit breaker of one upstream, per proxy process; None is Envoy's default of 1024."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_concurrent_requests: int | None = None


@dataclass(frozen=True, slots=True)
class UpstreamPolicy:
    """How a service treats one upstream (or all: `name` None)."""

    name: str | None = None
    connect_timeout_s: float = 5.0
    limits: Limits = Limits()
    passive_health_check: PassiveHealthCheck | None = None
    at: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class ServiceDefaults:
    """`Kind = "service-defaults"`: what holds for one service, as callee (protocol) and as caller (upstreams)."""

    name: str
    protocol: Protocol | None = None
    upstream_defaults: UpstreamPolicy | None = None
    upstream_overrides: tuple[UpstreamPolicy, ...] = ()
    max_inbound_connections: int | None = None
    local_connect_timeout_s: float = 5.0
    local_request_timeout_s: float | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    at: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class ProxyDefaults:
    """`Kind = "proxy-defaults"`, `Name = "global"`: what holds for every service that says nothing itself."""

    name: str = "global"
    protocol: Protocol | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    at: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class RouteDestination:
    """Where a route goes and how hard it tries; None leaves the mesh's default in force."""

    service: str | None = None
    request_timeout_s: float | None = None
    per_try_timeout_s: float | None = None
    num_retries: int | None = None
    retry_on: tuple[str, ...] | None = None
    retry_on_connect_failure: bool = False
    retry_on_status_codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceRoute:
    """One route: a match (None catches all) and a destination."""

    match: HttpMatch | None
    destination: RouteDestination
    at: Position = NOWHERE


@dataclass(frozen=True, slots=True)
class ServiceRouter:
    """`Kind = "service-router"`: routes in order, first match wins, then an implicit route to the service."""

    name: str
    routes: tuple[ServiceRoute, ...]
    meta: Mapping[str, str] = field(default_factory=dict)
    at: Position = NOWHERE


ConfigEntry = ServiceIntentions | ServiceDefaults | ProxyDefaults | ServiceRouter

KIND_OF: dict[type, str] = {
    ServiceIntentions: "service-intentions",
    ServiceDefaults: "service-defaults",
    ProxyDefaults: "proxy-defaults",
    ServiceRouter: "service-router",
}
