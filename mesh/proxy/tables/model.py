"""What the proxy holds of its configuration: frozen, compiled, and free of protobuf.

`ProxyTables` is swapped whole. A request (or a TCP stream) takes one when it starts. What counts per endpoint or
per cluster while traffic flows (outlier counters, pools, round-robin position) is *not* here: it lives in the
runtime state of `mesh.proxy.policy` under the cluster's name and outlives a swap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


@dataclass(slots=True)  # not frozen: one is made for each request, and a frozen one takes three times as long to make
class RequestView:
    """What matching and authorization may look at. Header names are lower case; values as received. Nobody changes it.

    `headers` maps a name to all its values in order. `principal` is the proven SPIFFE ID of the peer, None where
    there is none (outbound side, plaintext).
    """

    method: str
    path: str  # normalised, without the query
    authority: str
    headers: Mapping[str, tuple[str, ...]]
    principal: str | None = None
    query: str = ""  # without the "?"; the pseudo header `:path` is path and query together


# ------------------------------------------------------------------------------------------- authorization


class Verdict(Enum):
    """What a filter said."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and the name of the rule that gave it; `rule` says "default deny ..." when no rule matched."""

    verdict: Verdict
    rule: str


class Authorizer(Protocol):
    """A compiled RBAC chain (see tables/rbac.py). Cost does not grow with the number of rules of other callers."""

    def decide(self, request: RequestView) -> Decision:
        """Say whether this request may pass, and which rule said so."""
        ...

    def decide_connection(self, principal: str | None) -> Decision:
        """The same for a TCP connection: only the peer's identity is known."""
        ...


# ------------------------------------------------------------------------------------------- routing


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again. `retry_on` holds only known tokens; the rest was refused when compiled."""

    retry_on: frozenset[str] = frozenset()
    num_retries: int = 1
    per_try_timeout_s: float | None = None
    base_interval_s: float = 0.025
    max_interval_s: float = 0.25
    retriable_status_codes: frozenset[int] = frozenset()
    retriable_headers: tuple[str, ...] = ()  # a response that carries one of these is retried
    is_avoiding_previous_hosts: bool = False
    host_selection_attempts: int = 1


@dataclass(frozen=True, slots=True)
class ClusterAction:
    """Send to a cluster. `timeout_s` None: no timeout."""

    cluster: str
    timeout_s: float | None = 15.0
    retry: RetryPolicy | None = None


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """Answer from here."""

    status: int
    body: bytes


class PathKind(Enum):
    """How a route looks at the path."""

    EXACT = "exact"
    PREFIX = "prefix"  # text, not segments: "/v1" takes "/v10"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class Route:
    """A match and an action. Header names to remove are lower case.

    `matches` is the whole condition, the path included; `path_kind` and `path` say that part of it once more, for
    whoever lays routes out by path; of a REGEX it is the pattern.
    """

    name: str
    matches: Callable[[RequestView], bool]
    action: ClusterAction | DirectResponse
    response_headers_to_remove: tuple[str, ...] = ()
    request_headers_to_remove: tuple[str, ...] = ()
    is_counting_attempts: bool = False  # tell the upstream which try this is: x-envoy-attempt-count, from 1
    path_kind: PathKind = PathKind.PREFIX
    path: str = ""


class Routes(Protocol):
    """The routes of one virtual host (see tables/routes.py). Exact paths and prefixes that do not fit cost nothing."""

    def find(self, request: RequestView) -> Route | None:
        """Return the first route, in the order of the configuration, that matches; None: there is none."""
        ...


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes of one RouteConfiguration; `by_domain` has lower-case domains and "*"."""

    name: str
    by_domain: Mapping[str, Routes]

    def find(self, request: RequestView) -> Route | None:
        """Return the first route that matches, or None (404, flag NR).

        The domain is the authority without its port; "*" is looked at when the exact one is not there
        (Envoy's order, without the prefix and suffix wildcards, which compile refuses).
        """
        host = request.authority.rsplit(":", 1)[0] if request.authority[-1:] != "]" else request.authority
        get = self.by_domain.get
        routes = get(request.authority.lower()) or get(host.lower()) or get("*")
        return routes.find(request) if routes is not None else None


# ------------------------------------------------------------------------------------------- clusters


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance. Its key in all runtime state is (address, port)."""

    address: str
    port: int
    host: str = ""
    datacenter: str = ""
    weight: int = 1
    is_healthy: bool = True
    key: tuple[str, int] = field(init=False, repr=False, compare=False)  # what identifies it, made once

    def __post_init__(self) -> None:
        """Make the key."""
        object.__setattr__(self, "key", (self.address, self.port))


@dataclass(frozen=True, slots=True)
class OutlierConfig:
    """Outlier detection: the fields this proxy implements. Others, when set, are a NACK."""

    consecutive_5xx: int = 5
    interval_s: float = 10.0
    base_ejection_time_s: float = 30.0
    max_ejection_time_s: float = 300.0
    max_ejection_percent: int = 10
    enforcing_consecutive_5xx: int = 100
    always_eject_one_host: bool = False


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """Circuit breaker thresholds, per proxy process; defaults are Envoy's."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    retry_budget_pct: float | None = None  # when set it replaces max_retries
    min_retry_concurrency: int = 3


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """How to prove ourselves to the cluster and whom to believe. Names are SDS secret names."""

    certificate_secret: str
    validation_secret: str
    expected_ids: frozenset[str]
    sni: str = ""
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cluster:
    """One upstream. `source_address` binds outgoing connections (127.0.0.6 for delivery to the application)."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    connect_timeout_s: float = 5.0
    tls: UpstreamTls | None = None
    source_address: str | None = None
    outlier: OutlierConfig | None = None
    limits: BreakerLimits = BreakerLimits()
    panic_threshold_pct: float = 50.0


# ------------------------------------------------------------------------------------------- listeners


@dataclass(frozen=True, slots=True)
class DownstreamTls:
    """What a listener's filter chain proves and demands: always a client certificate, always TLS 1.3.

    `expected_prefix` is how the proven SPIFFE ID must begin (the trust domain); empty: any that the bundle vouches for.
    """

    certificate_secret: str
    validation_secret: str
    expected_prefix: str = ""
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Where to write one JSON line per request or stream: key, and the Envoy command operator of its value."""

    path: str
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class HttpChain:
    """HTTP connection manager: authorization (None: no RBAC filter), then the router."""

    stat_prefix: str
    routes: RouteTable
    authorizer: Authorizer | None = None
    is_inbound: bool = False
    idle_timeout_s: float = 3600.0
    headers_timeout_s: float = 10.0
    max_headers_bytes: int = 60 * 1024
    max_headers_count: int = 100
    # Added to a local reply whose response flag is the key: header name, value (HCM local_reply_config).
    local_reply_headers: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    access_log: AccessLog | None = None
    # What comes in as x-forwarded-client-cert is always removed; set it to `URI=<proven SPIFFE ID>` towards the
    # upstream (forward_client_cert_details SANITIZE_SET with uri)?
    is_forwarding_client_identity: bool = False


@dataclass(frozen=True, slots=True)
class TcpChain:
    """TCP proxy: authorization, then bytes both ways."""

    stat_prefix: str
    cluster: str
    authorizer: Authorizer | None = None
    is_inbound: bool = False
    idle_timeout_s: float = 3600.0
    access_log: AccessLog | None = None


@dataclass(frozen=True, slots=True)
class FilterChain:
    """What happens to a connection with a certain original destination.

    `max_connections` bounds the connections of this chain (Envoy: the connection_limit filter); one more is closed.
    """

    name: str
    app: HttpChain | TcpChain
    tls: DownstreamTls | None = None
    max_connections: int | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen and how to choose a chain: by destination (address, port), address, then port.

    A connection that finds no chain is closed (Envoy: no_filter_chain_match), never passed through.
    """

    name: str
    address: str
    port: int
    is_inbound: bool
    by_address_and_port: Mapping[tuple[str, int], FilterChain] = field(default_factory=dict)
    by_address: Mapping[str, FilterChain] = field(default_factory=dict)
    by_port: Mapping[int, FilterChain] = field(default_factory=dict)

    def find(self, address: str, port: int) -> FilterChain | None:
        """Return the chain of this original destination, or None: close."""
        return self.by_address_and_port.get((address, port)) or self.by_address.get(address) or self.by_port.get(port)


@dataclass(frozen=True, slots=True)
class ProxyTables:
    """Everything, swapped whole. `index` grows by one with each swap.

    `touched` names every cluster that is not the object that it was in the tables with the index before; None: it may
    be any.
    """

    index: int
    listeners: Mapping[str, Listener]
    clusters: Mapping[str, Cluster]
    touched: frozenset[str] | None = field(default=None, compare=False)


EMPTY = ProxyTables(index=0, listeners={}, clusters={})
