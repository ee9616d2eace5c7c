"""Delta xDS, the server's side: the client says what it adds to and takes from its interest, we send what changed.

The rules that are easy to get wrong (Envoy `xds_protocol.rst`, "Incremental xDS"):

- A request may change the subscription, answer a response, or both. A stale nonce voids the answer only.
- A first request without names is a wildcard for clusters and listeners; `*` is one at any time, for any type.
- Subscribing again to a name makes us send it again: the client may have dropped it.
- A name that does not exist is answered in `removed_resources`, so that the client need not wait 15 s.
- Under a wildcard, taking a single name away is answered with that name's state.
- After a reconnect the client lists what it holds; only the difference is sent, removals included.
"""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2

from mesh.base.errors import RemoteProtocolError
from mesh.xds.server.stream import DiscoveryStream, version_of
from mesh.xds.server.subscription import WILDCARD, Subscription, version_in
from mesh.xds.server.wire import delta_response
from mesh.xds.types import ENDPOINTS, MAX_NAMES, Resource


class DeltaStream(DiscoveryStream):
    """One delta stream with one client."""

    def receive(self, request: discovery_pb2.DeltaDiscoveryRequest) -> list[bytes]:
        """Take a request; return the encoded DeltaDiscoveryResponses that may go now.

        Raises:
            RemoteProtocolError: the client names more than any honest client needs.
        """
        subscription = self.subscriptions.get(request.type_url)
        if subscription is None:
            return []
        is_first = subscription.ask()
        if request.response_nonce:
            error = request.error_detail.message if request.HasField("error_detail") else None
            self._answer(subscription, request.response_nonce, error)
        added = set(request.resource_names_subscribe)
        if WILDCARD in added or (is_first and not added and subscription.is_full_state):
            self._widen(subscription)
        held = dict(request.initial_resource_versions) if is_first else {}
        if len(held) > MAX_NAMES:
            raise RemoteProtocolError(f"reading a subscription: more than {MAX_NAMES} held names")
        self._add(subscription, added - {WILDCARD}, held)
        self._take_away(subscription, set(request.resource_names_unsubscribe))
        return self.pump()

    def _widen(self, subscription: Subscription) -> None:
        """Begin a wildcard subscription; it is answered even when there is nothing to send."""
        subscription.is_wildcard = True
        subscription.owes_answer = True
        resources = self.resources(subscription.type_url)
        subscription.mark(resources, resources)

    def _add(self, subscription: Subscription, names: set[str], held: dict[str, str]) -> None:
        """Add names, and on a new stream what the client still holds of the last one."""
        subscription.want(names - held.keys())
        subscription.names |= names
        subscription.known |= {name: version for name, version in held.items() if subscription.wants(name)}
        subscription.mark(held, self.resources(subscription.type_url))
        if subscription.type_url == ENDPOINTS:  # held, and waited for all the same: their clusters were sent before
            for name in self.unwarmed & names:
                subscription.mark_forced(name)

    def _take_away(self, subscription: Subscription, names: set[str]) -> None:
        """Remove names from the interest, and with `*` everything that was not asked for by name."""
        if WILDCARD in names:
            subscription.is_wildcard = False
            for name in {*subscription.known, *subscription.dirty} - subscription.names:
                subscription.forget(name)
        for name in names - {WILDCARD}:
            subscription.unwant(name)

    def _compose(self, subscription: Subscription, *, may_remove: bool) -> bytes | None:
        """Return a response with the names that are due: the present ones, and the gone ones when that is allowed."""
        view = self.resources(subscription.type_url)
        resources: list[Resource] = []
        removed: list[str] = []
        for name in sorted(subscription.dirty):
            if not subscription.is_due(name, version_in(view, name)):
                subscription.settle(name)
            elif name in view:
                resources.append(view[name])
            elif may_remove or name not in subscription.known:
                removed.append(name)
        if not (resources or removed or subscription.owes_answer):
            return None
        nonce = self._note_sent(subscription, resources, removed)
        return delta_response(subscription.type_url, version_of(resources, removed), nonce, resources, removed)
