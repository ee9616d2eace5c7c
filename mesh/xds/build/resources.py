"""Everything one proxy is told: a snapshot in, its resources out.

`build_resources` makes them all; with a `ResourceCache` that the control plane keeps, a resource whose inputs did not
change is not built again, for this proxy or for any other. The functions below it rebuild one resource each, for a
control plane that knows what changed:

    an instance came, went or changed its health    endpoints_of
    an upstream's timeouts, limits, protocol        cluster_of (and outbound_of for the protocol)
    a service-router                                routes_of
    intentions                                      inbound_of
    a new upstream                                  cluster_of, endpoints_of, routes_of, outbound_of
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.base.errors import LocalProtocolError
from mesh.base.ports import PROBE_VIP
from mesh.config.entries import Protocol
from mesh.xds.build import clusters, endpoints, listeners, routes
from mesh.xds.build.cache import ALL_THE_SAME, ResourceCache
from mesh.xds.snapshot import ProxySnapshot, UpstreamSnapshot
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource


def build_resources(
    snapshot: ProxySnapshot,
    access_log_path: str,
    cache: ResourceCache | None = None,
    own: ResourceCache | None = None,
) -> dict[str, Mapping[str, Resource]]:
    """Return all resources of one proxy: type URL -> name -> Resource.

    Args:
        snapshot: all that the proxy may know.
        access_log_path: a file on the proxy's host.
        cache: shared by all proxies of a control plane; None builds everything anew.
        own: of this proxy alone, for what no other has; goes when it goes.

    Raises:
        LocalProtocolError: the snapshot contradicts itself.
    """
    cache = cache if cache is not None else ResourceCache()
    own = own if own is not None else ResourceCache()
    require_own_intentions(snapshot)
    shared = upstream_resources_of(snapshot, access_log_path, cache)
    own_clusters = (local_app_of(snapshot, own), self_probe_of(snapshot, own))
    listening = (shared.outbound, inbound_of(snapshot, access_log_path, own))
    return {
        CLUSTER: {**shared.clusters, **by_name(own_clusters)},
        ENDPOINTS: shared.endpoints,
        LISTENER: by_name(listening),
        ROUTES: shared.routes,
    }


@dataclass(frozen=True, slots=True)
class UpstreamResources:
    """What follows from the upstreams alone: one object for all proxies that treat their upstreams alike."""

    clusters: Mapping[str, Resource]
    endpoints: Mapping[str, Resource]
    routes: Mapping[str, Resource]
    outbound: Resource


def upstream_resources_of(snapshot: ProxySnapshot, access_log_path: str, cache: ResourceCache) -> UpstreamResources:
    """Return what follows from a row of upstreams. A row that was seen is found by identity, however long it is.

    Raises:
        LocalProtocolError: see `require_sound_upstreams`.
    """

    def make() -> UpstreamResources:
        require_sound_upstreams(snapshot)
        upstreams = snapshot.upstreams
        http = [upstream for upstream in upstreams if upstream.protocol is Protocol.HTTP]
        return UpstreamResources(
            clusters=by_name(cluster_of(snapshot, upstream, cache) for upstream in upstreams),
            endpoints=by_name(endpoints_of(upstream, cache) for upstream in upstreams),
            routes=by_name(routes_of(snapshot, upstream, cache) for upstream in http),
            outbound=outbound_of(snapshot, access_log_path, cache),
        )

    inputs = (snapshot.upstreams, snapshot.namespace, snapshot.trust_domain, access_log_path)
    return cache.many(inputs, make)


def by_name(resources: Iterable[Resource]) -> dict[str, Resource]:
    """Return resources by name."""
    return {resource.name: resource for resource in resources}


def cluster_of(snapshot: ProxySnapshot, upstream: UpstreamSnapshot, cache: ResourceCache) -> Resource:
    """Return the cluster of one upstream."""
    inputs = (
        upstream.protocol,
        upstream.identity,
        upstream.connect_timeout_s,
        upstream.limits,
        upstream.passive_health_check,
        snapshot.namespace,
        snapshot.trust_domain,
    )
    return cache.get(
        (CLUSTER, upstream.name),
        inputs,
        lambda: clusters.upstream_cluster(upstream, snapshot.namespace, snapshot.trust_domain),
    )


def endpoints_of(upstream: UpstreamSnapshot, cache: ResourceCache) -> Resource:
    """Return the endpoints of one upstream; the same for every proxy that knows it."""
    return cache.get(
        (ENDPOINTS, upstream.name),
        (upstream.endpoints,),
        lambda: endpoints.load_assignment(upstream.name, upstream.endpoints),
        keep=ALL_THE_SAME,
    )


def routes_of(snapshot: ProxySnapshot, upstream: UpstreamSnapshot, cache: ResourceCache) -> Resource:
    """Return the routes of one HTTP upstream."""
    router = upstream.router
    named = {route.destination.service or upstream.name for route in router.routes} if router else set()
    http = (other.name for other in snapshot.upstreams if other.protocol is Protocol.HTTP)
    known = named.intersection(http) if named else named  # most upstreams have no router and need no search
    return cache.get(
        (ROUTES, upstream.name),
        (router, known),
        lambda: routes.route_configuration(upstream.name, router, known),
    )


def outbound_of(snapshot: ProxySnapshot, access_log_path: str, cache: ResourceCache) -> Resource:
    """Return the outbound listener; the same for all proxies that know the same services."""
    upstreams = tuple((upstream.name, upstream.protocol, upstream.virtual_ip) for upstream in snapshot.upstreams)
    return cache.get(
        (LISTENER, listeners.OUTBOUND_LISTENER),
        (upstreams, access_log_path),
        lambda: listeners.outbound(upstreams, access_log_path),
    )


def inbound_of(snapshot: ProxySnapshot, access_log_path: str, own: ResourceCache) -> Resource:
    """Return the inbound listener of one proxy."""
    scope = (snapshot.trust_domain, snapshot.namespace, snapshot.identity, snapshot.node_id)
    return own.get(
        (LISTENER, listeners.INBOUND_LISTENER),
        (snapshot.inbound, scope, access_log_path),
        lambda: listeners.inbound(
            snapshot.inbound,
            trust_domain=snapshot.trust_domain,
            namespace=snapshot.namespace,
            identity=snapshot.identity,
            node_id=snapshot.node_id,
            log_path=access_log_path,
        ),
        keep=ALL_THE_SAME,
    )


def local_app_of(snapshot: ProxySnapshot, own: ResourceCache) -> Resource:
    """Return the cluster of the application beside the proxy."""
    inbound = snapshot.inbound
    inputs = (inbound.port, inbound.local_connect_timeout_s)
    return own.get((CLUSTER, clusters.LOCAL_APP), inputs, lambda: clusters.local_app(inbound), keep=ALL_THE_SAME)


def self_probe_of(snapshot: ProxySnapshot, own: ResourceCache) -> Resource:
    """Return the cluster of the proxy's own front door."""
    sni = clusters.sni_of(snapshot.inbound.name, snapshot.namespace, snapshot.trust_domain)
    inputs = (snapshot.address, snapshot.identity, sni)
    return own.get((CLUSTER, clusters.SELF_PROBE), inputs, lambda: clusters.self_probe(*inputs), keep=ALL_THE_SAME)


def require_sound(snapshot: ProxySnapshot) -> None:
    """Refuse a snapshot that contradicts itself, before any of it is encoded.

    Raises:
        LocalProtocolError: see the two halves.
    """
    require_own_intentions(snapshot)
    require_sound_upstreams(snapshot)


def require_own_intentions(snapshot: ProxySnapshot) -> None:
    """Refuse a snapshot with somebody else's intentions.

    Raises:
        LocalProtocolError: they are those of another service.
    """
    intentions = snapshot.inbound.intentions
    if intentions is not None and intentions.name != snapshot.inbound.name:
        raise _refused(snapshot, f"{snapshot.inbound.name} has the intentions of {intentions.name}")


def require_sound_upstreams(snapshot: ProxySnapshot) -> None:
    """Refuse upstreams that contradict each other.

    Raises:
        LocalProtocolError: two upstreams share a name or a virtual address, one takes a reserved one, or a router
            stands on a service that does not speak HTTP.
    """
    names: set[str] = {clusters.LOCAL_APP, clusters.SELF_PROBE}
    addresses: dict[str, str] = {PROBE_VIP: "the probe"}
    for upstream in snapshot.upstreams:
        if upstream.name in names:
            raise _refused(snapshot, f"two clusters are named {upstream.name!r}")
        if upstream.virtual_ip in addresses:
            other = addresses[upstream.virtual_ip]
            raise _refused(snapshot, f"{upstream.name} and {other} share the virtual address {upstream.virtual_ip}")
        if upstream.router is not None and upstream.protocol is not Protocol.HTTP:
            raise _refused(snapshot, f"{upstream.name} has a service-router and speaks {upstream.protocol}")
        names.add(upstream.name)
        addresses[upstream.virtual_ip] = upstream.name


def _refused(snapshot: ProxySnapshot, reason: str) -> LocalProtocolError:
    """Return the error that refuses a snapshot."""
    return LocalProtocolError(f"building resources of {snapshot.node_id}: {reason}")
