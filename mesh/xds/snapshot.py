"""All that one proxy may know, frozen. `mesh.xds.build` turns it into resources; nothing else reaches a proxy.

The control plane makes a snapshot from MeshState; a golden test makes one by hand. Values are resolved: no
name in it dangles, no default is left open.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.config.entries import (
    Limits,
    PassiveHealthCheck,
    Protocol,
    ServiceIntentions,
    ServiceRouter,
)


@dataclass(frozen=True, slots=True)
class EndpointSnapshot:
    """One instance of an upstream. `is_healthy` False keeps it known and out of rotation."""

    address: str
    port: int
    host: str
    datacenter: str
    is_healthy: bool = True
    weight: int = 1


@dataclass(frozen=True, slots=True)
class UpstreamSnapshot:
    """One service this proxy may dial. `identity` is the SPIFFE ID its sidecars must prove."""

    name: str
    protocol: Protocol
    virtual_ip: str
    identity: str
    endpoints: tuple[EndpointSnapshot, ...]
    router: ServiceRouter | None = None
    connect_timeout_s: float = 5.0
    limits: Limits = Limits()
    passive_health_check: PassiveHealthCheck | None = None


@dataclass(frozen=True, slots=True)
class InboundSnapshot:
    """The service beside this proxy. `intentions` None means nobody wrote any: default deny."""

    name: str
    port: int
    protocol: Protocol
    intentions: ServiceIntentions | None = None
    max_inbound_connections: int | None = None
    local_connect_timeout_s: float = 5.0
    local_request_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class ProxySnapshot:
    """Everything for one proxy. `identity` is its own SPIFFE ID, `address` its host's IPv4 address."""

    node_id: str  # "<host>/<service>"
    host: str
    address: str
    datacenter: str
    trust_domain: str
    namespace: str
    identity: str
    inbound: InboundSnapshot
    upstreams: tuple[UpstreamSnapshot, ...]  # sorted by name; includes the service itself
