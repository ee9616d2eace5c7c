"""State-of-the-world xDS, the server's side: each request repeats the whole interest, each response the whole state.

The rules that are easy to get wrong (Envoy `xds_protocol.rst`, "The SotW protocol"):

- A request with another nonce than the last is stale: it answers an older response and is ignored altogether.
- Clusters and listeners: no names means everything, until names were ever given; after that it means nothing.
  A response is the full state, so absence deletes; removals therefore go last, and until then a response still
  carries the clusters that are about to go.
- Endpoints and routes: absence deletes nothing, so only what changed is sent. There is no way to say "gone".
- A name that is added must be answered, even when its content was sent before.
- An empty nonce begins anew, whatever version the client says to hold: it gets everything.
"""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2

from mesh.xds.server.stream import DiscoveryStream, version_of
from mesh.xds.server.subscription import WILDCARD, Subscription, version_in
from mesh.xds.server.wire import sotw_response
from mesh.xds.types import ADS_ORDER, Resource, ResourceView


class SotwStream(DiscoveryStream):
    """One state-of-the-world stream with one client."""

    def __init__(self, view: ResourceView, types: tuple[str, ...] = ADS_ORDER) -> None:
        super().__init__(view, types)
        self._ever_named: set[str] = set()  # types for which the client has given names
        self._sent: dict[str, tuple[Resource, ...]] = {}  # full-state types: the response in flight
        self._held: dict[str, dict[str, Resource]] = {}  # full-state types: what the client holds

    def receive(self, request: discovery_pb2.DiscoveryRequest) -> list[bytes]:
        """Take a request; return the encoded DiscoveryResponses that may go now.

        Raises:
            RemoteProtocolError: the client names more than any honest client needs.
        """
        subscription = self.subscriptions.get(request.type_url)
        if subscription is None:
            return []
        nonce = request.response_nonce
        if nonce and subscription.nonce and nonce != subscription.nonce:
            return []
        is_first = subscription.ask() or not nonce
        if nonce:
            error = request.error_detail.message if request.HasField("error_detail") else None
            self._answer(subscription, nonce, error)
        self._subscribe(subscription, set(request.resource_names), is_first=is_first)
        return self.pump()

    def _subscribe(self, subscription: Subscription, names: set[str], *, is_first: bool) -> None:
        """Replace the interest by what the request says."""
        if is_first:
            subscription.known.clear()
            subscription.rejected.clear()
        was_wildcard = subscription.is_wildcard
        subscription.is_wildcard = self._is_wildcard(subscription, names)
        names = names - {WILDCARD}
        gone = subscription.names - names
        if was_wildcard and not subscription.is_wildcard:
            gone |= {*subscription.known, *subscription.dirty} - names
        subscription.names -= gone
        if not subscription.is_wildcard:
            for name in gone:
                subscription.forget(name)
        subscription.want(names if is_first else names - subscription.names)
        if subscription.is_wildcard and (is_first or not was_wildcard):
            subscription.owes_answer = True
            resources = self.resources(subscription.type_url)
            subscription.mark(resources, resources)

    def _is_wildcard(self, subscription: Subscription, names: set[str]) -> bool:
        """Say whether a request asks for everything."""
        if names:
            self._ever_named.add(subscription.type_url)
            return WILDCARD in names
        return subscription.is_full_state and subscription.type_url not in self._ever_named

    def _compose(self, subscription: Subscription, *, may_remove: bool) -> bytes | None:
        """Return the response that is due, if one is."""
        view = self.resources(subscription.type_url)
        changed: list[str] = []
        gone: list[str] = []
        for name in sorted(subscription.dirty):
            if not subscription.is_due(name, version_in(view, name)):
                subscription.settle(name)
            elif name in view:
                changed.append(name)
            elif subscription.is_full_state and name in subscription.known:
                gone.append(name)
            else:
                subscription.known.pop(name, None)
                subscription.settle(name)
        if not (changed or subscription.owes_answer or (gone and may_remove)):
            return None
        if subscription.is_full_state:
            return self._full_response(subscription, gone, may_remove=may_remove)
        return self._respond(subscription, [view[name] for name in changed], [])

    def _full_response(self, subscription: Subscription, gone: list[str], *, may_remove: bool) -> bytes:
        """Return everything the client wants; with what is about to go, as long as that may still be in use."""
        url = subscription.type_url
        resources = [resource for name, resource in self.resources(url).items() if subscription.wants(name)]
        held = self._held.get(url, {})
        kept = [] if may_remove else [held[name] for name in gone if name in held]
        response = self._respond(subscription, [*resources, *kept], gone if may_remove else [])
        subscription.dirty.update(resource.name for resource in kept)
        self._sent[url] = (*resources, *kept)
        return response

    def _respond(self, subscription: Subscription, resources: list[Resource], removed: list[str]) -> bytes:
        """Return the encoded response, noted as sent."""
        nonce = self._note_sent(subscription, resources, removed)
        return sotw_response(subscription.type_url, version_of(resources, removed), nonce, resources)

    def _answer(self, subscription: Subscription, nonce: str, error: str | None) -> None:
        """Remember the very resources that the client took, to repeat them while they may not go yet."""
        super()._answer(subscription, nonce, error)
        sent = self._sent.pop(subscription.type_url, None) if subscription.in_flight is None else None
        if sent is not None and error is None:
            self._held[subscription.type_url] = {resource.name: resource for resource in sent}
