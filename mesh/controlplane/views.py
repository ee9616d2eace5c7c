"""What one proxy is told at this moment, and how little of it a change makes new.

Most changes are endpoints that come, go or change their health: then only those load assignments are looked at. All
else makes the snapshot anew; the shared cache still builds only what differs, for all proxies together once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.controlplane.snapshots import Snapshots
from mesh.controlplane.state import Change
from mesh.xds.build.cache import ResourceCache
from mesh.xds.build.proxyless import build_proxyless, proxyless_endpoints_of
from mesh.xds.build.resources import build_resources, endpoints_of
from mesh.xds.types import ENDPOINTS, NodeIdentity, Resource

Resources = dict[str, Mapping[str, Resource]]
Changed = dict[str, set[str]]


@dataclass(slots=True)
class View:
    """The resources of one proxy. Empty until its service is registered; kept when the instance leaves.

    Args:
        cache: of what all proxies may share.
        own: of what only this one has; it goes with the view, so that hosts that come and go leave nothing behind.
        is_proxyless: the client has no sidecar but is gRPC itself, for which there are other resources.
    """

    node: NodeIdentity
    snapshots: Snapshots
    cache: ResourceCache
    access_log_path: str
    is_proxyless: bool = False
    own: ResourceCache = field(default_factory=ResourceCache)
    resources: Resources = field(default_factory=dict)

    def refresh(self, change: Change | None = None) -> Changed:
        """Make the view follow a change (None: make it anew); say which names are different now.

        Raises:
            LocalProtocolError: the snapshot contradicts itself; the view stays as it was.
        """
        fresh = self._with_endpoints(change) if change and self._is_only_endpoints(change) else self._whole()
        changed = {url: _differing(self.resources.get(url, {}), named) for url, named in fresh.items()}
        self.resources = fresh
        return {url: names for url, names in changed.items() if names}

    def _is_only_endpoints(self, change: Change) -> bool:
        services = change.catalog.services
        is_known = services <= self.resources.get(ENDPOINTS, {}).keys()
        return is_known and not (change.entries or change.catalog.has_new_names or self.node.service in services)

    def _with_endpoints(self, change: Change) -> Resources:
        build = proxyless_endpoints_of if self.is_proxyless else endpoints_of
        fresh = {service: build(self.snapshots.upstream(service), self.cache) for service in change.catalog.services}
        return {**self.resources, ENDPOINTS: {**self.resources[ENDPOINTS], **fresh}}

    def _whole(self) -> Resources:
        snapshot = self.snapshots.snapshot(self.node)
        if snapshot is None:
            return self.resources
        if self.is_proxyless:
            return build_proxyless(snapshot, self.cache)
        return build_resources(snapshot, self.access_log_path, self.cache, self.own)


def _differing(before: Mapping[str, Resource], after: Mapping[str, Resource]) -> set[str]:
    """Return the names that came, went or changed."""
    if before is after:
        return set()
    came = {name for name, resource in after.items() if (old := before.get(name)) is not resource and old != resource}
    return came | (before.keys() - after.keys())
