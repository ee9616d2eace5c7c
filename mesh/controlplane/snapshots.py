"""From MeshState to what one proxy may know.

Every proxy sees every service of the namespace: with default deny at the destination that gives nothing away but names,
and an intention written a second later needs no new endpoints at the caller. What differs between two callers is only
how they treat an upstream (their own `service-defaults`), so the parts of a snapshot that do not are made once and
shared; the resource cache of `mesh.xds.build` finds shared parts by identity.

Which proxies have to look again after a change:

| changed | proxies |
|---|---|
| instances or name of a service | all |
| intentions of a destination | those of that service (`*`: all) |
| service-defaults, service-router, proxy-defaults | all |
"""

from __future__ import annotations

from dataclasses import replace

from mesh.base.names import WILDCARD
from mesh.config.entries import Protocol, ServiceDefaults, UpstreamPolicy
from mesh.controlplane.state import Change, MeshState
from mesh.intentions.precedence import in_force
from mesh.registry.catalog import Instance
from mesh.registry.health import CheckStatus
from mesh.spiffe.id import SpiffeId
from mesh.xds.snapshot import EndpointSnapshot, InboundSnapshot, ProxySnapshot, UpstreamSnapshot
from mesh.xds.types import NodeIdentity

DEFAULT_PROTOCOL = Protocol.TCP  # as in Consul: opaque bytes until somebody says otherwise
INTENTIONS = "service-intentions"

Treatment = tuple[UpstreamPolicy | None, tuple[UpstreamPolicy, ...]]
"""How a caller treats its upstreams: what holds for all of them, and what for single ones."""


class Snapshots:
    """Makes snapshots; keeps the shared parts until a change touches them."""

    def __init__(self, state: MeshState, *, trust_domain: str, namespace: str) -> None:
        self._state = state
        self._trust_domain = trust_domain
        self._namespace = namespace
        self._upstreams: dict[str, UpstreamSnapshot] = {}
        self._rows: dict[Treatment, tuple[UpstreamSnapshot, ...]] = {}

    def forget(self, change: Change) -> None:
        """Drop the shared parts that a change touched."""
        if any(kind == "proxy-defaults" for kind, _ in change.entries):
            self._upstreams.clear()
        for service in change.catalog.services | {name for _, name in change.entries}:
            self._upstreams.pop(service, None)
        if affected_services(change) is None:  # an intention changes no upstream
            self._rows.clear()

    def gone(self, change: Change) -> set[str]:
        """Return the services that a change took out of the mesh."""
        return {name for name in change.catalog.services if self._state.catalog.virtual_ip(name) is None}

    def snapshot(self, node: NodeIdentity) -> ProxySnapshot | None:
        """Return all that one proxy may know; None until its service is registered from its host."""
        instance = self._instance_of(node)
        if instance is None:
            return None
        return ProxySnapshot(
            node_id=str(node),
            host=node.host,
            address=instance.address,
            datacenter=instance.datacenter,
            trust_domain=self._trust_domain,
            namespace=self._namespace,
            identity=self._identity(node.service),
            inbound=self._inbound(instance),
            upstreams=self._upstreams_for(node.service),
        )

    def protocol(self, service: str) -> Protocol:
        """Return what a service speaks: its own word, then everybody's, then opaque bytes."""
        own, everybody = self._state.defaults(service), self._state.proxy_defaults()
        said = (own and own.protocol) or (everybody and everybody.protocol)
        return said or DEFAULT_PROTOCOL

    def _instance_of(self, node: NodeIdentity) -> Instance | None:
        instances = self._state.catalog.instances(node.service)
        return next((instance for instance in instances if instance.host == node.host), None)

    def _identity(self, service: str) -> str:
        return str(SpiffeId.for_service(self._trust_domain, self._namespace, service))

    def _inbound(self, instance: Instance) -> InboundSnapshot:
        state, service = self._state, instance.service
        defaults = state.defaults(service) or ServiceDefaults(service)
        return InboundSnapshot(
            name=service,
            port=instance.port,
            protocol=self.protocol(service),
            intentions=in_force(service, state.intentions(service), state.wildcard_intentions()),
            max_inbound_connections=defaults.max_inbound_connections,
            local_connect_timeout_s=defaults.local_connect_timeout_s,
            local_request_timeout_s=defaults.local_request_timeout_s,
        )

    def _upstreams_for(self, caller: str) -> tuple[UpstreamSnapshot, ...]:
        """Return all upstreams as a caller treats them: one and the same row for all callers who treat them alike."""
        defaults = self._state.defaults(caller)
        treatment: Treatment = (defaults.upstream_defaults, defaults.upstream_overrides) if defaults else (None, ())
        row = self._rows.get(treatment)
        if row is None:
            shared = (self.upstream(service) for service in self._state.catalog.services())
            row = self._rows[treatment] = tuple(_treated(upstream, *treatment) for upstream in shared)
        return row

    def upstream(self, service: str) -> UpstreamSnapshot:
        """Return the part of an upstream that all callers share."""
        known = self._upstreams.get(service)
        if known is None:
            catalog, protocol = self._state.catalog, self.protocol(service)
            known = self._upstreams[service] = UpstreamSnapshot(
                name=service,
                protocol=protocol,
                virtual_ip=catalog.virtual_ip(service) or "",
                identity=self._identity(service),
                endpoints=tuple(_endpoint(instance) for instance in catalog.instances(service)),
                router=self._state.router(service) if protocol is Protocol.HTTP else None,
            )
        return known


def affected_services(change: Change) -> frozenset[str] | None:
    """Return whose proxies have to look again after a change; None for everybody's."""
    kinds = {kind for kind, _ in change.entries}
    destinations = frozenset(name for kind, name in change.entries if kind == INTENTIONS)
    if change.catalog.services or change.catalog.has_new_names or kinds - {INTENTIONS} or WILDCARD in destinations:
        return None
    return destinations


def _endpoint(instance: Instance) -> EndpointSnapshot:
    return EndpointSnapshot(
        address=instance.address,
        port=instance.port,
        host=instance.host,
        datacenter=instance.datacenter,
        is_healthy=instance.status is not CheckStatus.CRITICAL,
    )


def _treated(
    upstream: UpstreamSnapshot, for_all: UpstreamPolicy | None, overrides: tuple[UpstreamPolicy, ...]
) -> UpstreamSnapshot:
    """Return an upstream with the caller's own timeouts, limits and outlier detection."""
    if not (for_all or overrides):
        return upstream
    own = (policy for policy in overrides if policy.name == upstream.name)
    policy = next(own, None) or for_all or UpstreamPolicy()
    return replace(
        upstream,
        connect_timeout_s=policy.connect_timeout_s,
        limits=policy.limits,
        passive_health_check=policy.passive_health_check,
    )
