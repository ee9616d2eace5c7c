"""What both modes of a discovery stream share: one stream, several types, and the order between them.

A proxy must never hold a pointer to something it does not have yet, nor lose something it still points at: make before
break. So a change goes out in this order, each step when the client has taken the one before:

    1. CDS, then EDS        clusters and their endpoints, new and changed
    2. LDS, then RDS        what points at them
    3. CDS, EDS             removals

Step 2 waits until no CDS response is in flight and every cluster just sent has had its EDS response taken: Envoy
warms a new or changed cluster until *fresh* endpoints arrive, even when they are the same as before, and a route to a
cluster that is still warming answers 503. For the same reason a changed cluster has its endpoints sent again.
A change of endpoints alone holds nothing up, so instances that come and go do not delay a permission.

A NACK counts as an answer: the other types go on. But while listeners or routes are refused, nothing is removed, for
the old ones are still in use and point at the old clusters.

A type is first told of a change at once; what changes while its response is in flight goes in the next one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from mesh.xds.server.subscription import Slot, Subscription, TypeStatus
from mesh.xds.types import ADS_ORDER, CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, ResourceView, content_version

Changes = Mapping[str, Iterable[str]]
"""Type URL -> names that were added, changed or removed."""


class DiscoveryStream(ABC):
    """The server's end of one stream. Feed it requests and changes; send what it returns, in order.

    Args:
        view: all that this client may be told; kept by reference and never changed here.
        types: the type URLs served; requests for others are ignored, as a client may know more than we offer.
    """

    def __init__(self, view: ResourceView, types: Sequence[str] = ADS_ORDER) -> None:
        self.view = view
        self.subscriptions = {url: Subscription(url) for url in types}
        self.unwarmed: set[str] = set()  # clusters sent, whose endpoints were not taken since

    def update(self, view: ResourceView, changes: Changes | None = None) -> list[bytes]:
        """Take a new view; return the responses that may go now.

        Args:
            view: the whole new view.
            changes: what differs from the last one, so that the work follows the change; None compares everything.
        """
        self.view = view
        for url, subscription in self.subscriptions.items():
            if subscription.slot is not Slot.NEVER:
                resources = self.resources(url)
                names = subscription.told | resources.keys() if changes is None else changes.get(url, ())
                subscription.mark(names, resources)
        return self.pump()

    def status(self) -> dict[str, TypeStatus]:
        """Return where each type stands, for people."""
        return {url: one.status(self.resources(url)) for url, one in self.subscriptions.items()}

    def resources(self, type_url: str) -> Mapping[str, Resource]:
        """Return the resources of one type in the present view."""
        return self.view.get(type_url, {})

    def pump(self) -> list[bytes]:
        """Return every response that may go now, in the order in which it must go."""
        responses = [self._turn(CLUSTER, may_remove=False), self._turn(ENDPOINTS, may_remove=False)]
        if self._are_clusters_ready():
            responses.append(self._turn(LISTENER, may_remove=True))
            responses.append(self._turn(ROUTES, may_remove=self._is_quiet(LISTENER)))
            if self._is_quiet(LISTENER) and self._is_quiet(ROUTES):
                responses += [self._turn(CLUSTER, may_remove=True), self._turn(ENDPOINTS, may_remove=True)]
        responses += [self._turn(url, may_remove=True) for url in self.subscriptions if url not in ADS_ORDER]
        return [response for response in responses if response is not None]

    def _turn(self, url: str, *, may_remove: bool) -> bytes | None:
        """Let one type say what it has to say, if its slot is free."""
        subscription = self.subscriptions.get(url)
        if subscription is None or subscription.in_flight or subscription.slot is Slot.NEVER:
            return None
        return self._compose(subscription, may_remove=may_remove)

    @abstractmethod
    def _compose(self, subscription: Subscription, *, may_remove: bool) -> bytes | None:
        """Return the encoded response of a type whose slot is free, None when there is nothing to say.

        Args:
            subscription: of the type; told of what is sent.
            may_remove: whether the client may already be told that resources are gone.
        """

    def _note_sent(self, subscription: Subscription, resources: Sequence[Resource], removed: Sequence[str]) -> str:
        """Record a response and what follows from it; return its nonce."""
        if subscription.type_url == CLUSTER:
            self._await_endpoints(one.name for one in resources if subscription.known.get(one.name) != one.version)
        contents: dict[str, str | None] = {resource.name: resource.version for resource in resources}
        contents |= dict.fromkeys(removed)
        return subscription.send(version_of(resources, removed), contents)

    def _await_endpoints(self, clusters: Iterable[str]) -> None:
        """Have the endpoints of changed clusters sent again, and hold back what points at them until they are taken.

        A cluster has endpoints of its own when the view holds some under its name; STATIC clusters do not.
        """
        endpoints = self.subscriptions.get(ENDPOINTS)
        if endpoints is None:
            return
        for name in clusters:
            if name in self.resources(ENDPOINTS):
                self.unwarmed.add(name)
                if endpoints.wants(name):
                    endpoints.mark_forced(name)

    def _answer(self, subscription: Subscription, nonce: str, error: str | None) -> None:
        """Take an ACK (`error` None) or a NACK; an answer to anything but the response in flight is stale."""
        if subscription.in_flight is None or subscription.in_flight.nonce != nonce:
            return
        if error is None:
            answered = subscription.ack()
        else:
            answered = subscription.refuse(error, self.resources(subscription.type_url))
        if subscription.type_url == ENDPOINTS or (subscription.type_url == CLUSTER and error is not None):
            self.unwarmed -= answered.contents.keys()

    def _are_clusters_ready(self) -> bool:
        """Say whether the client has all clusters it was sent, each with its endpoints."""
        self.unwarmed = {
            name for name in self.unwarmed if name in self.resources(CLUSTER) and name in self.resources(ENDPOINTS)
        }
        clusters = self.subscriptions.get(CLUSTER)
        return not self.unwarmed and (clusters is None or clusters.in_flight is None)

    def _is_quiet(self, url: str) -> bool:
        """Say whether a type has nothing in flight and nothing refused.

        Listeners that were not asked for yet are not quiet: after a reconnect the client still holds old ones, and
        asks for clusters first.
        """
        subscription = self.subscriptions.get(url)
        if subscription is None or (subscription.slot is Slot.NEVER and url != LISTENER):
            return True
        if subscription.slot is Slot.NEVER or subscription.in_flight is not None:
            return False
        return not subscription.is_refusing(self.resources(url))


def version_of(resources: Iterable[Resource], removed: Iterable[str]) -> str:
    """Return the version of a response: a hash of what it says."""
    said = [f"{resource.name}={resource.version}" for resource in resources] + [f"-{name}" for name in removed]
    return content_version("\n".join(said).encode())
