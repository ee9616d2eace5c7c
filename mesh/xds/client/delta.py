"""Delta xDS, the client's side: ask for names, hold what comes, and say after a reconnect what is still held.

    client = DeltaClient(node)
    client.watch(CLUSTER, None), client.watch(LISTENER, None)         # None: everything
    requests = client.open()                                          # on each new stream, first of all
    requests = client.receive(response, apply)                        # ACK or NACK
    requests = client.watch(ENDPOINTS, names_of_eds_clusters)         # when what is held calls for more

What is held outlives the stream: with the control plane gone, everything accepted stays in force.
"""

from __future__ import annotations

from collections.abc import Collection

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest as Request
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse as Response

from mesh.base.errors import RemoteProtocolError
from mesh.xds.client.held import Apply, Held, Holdings, Offer, Update, judge, refusal, require_type


class DeltaClient(Holdings):
    """One client over any number of streams, one after the other.

    Args:
        node: who we are; told once per stream.
    """

    def __init__(self, node: base_pb2.Node) -> None:
        super().__init__()
        self._node = node

    def open(self) -> list[Request]:
        """Begin a new stream; return its first requests: each interest, and what is still held of it."""
        self._asked = set()
        return [self._first(url) for url, interest in self._interests.items() if not interest.is_empty]

    def watch(self, type_url: str, names: Collection[str] | None) -> list[Request]:
        """Say which names of a type are wanted from now on, None for all; return the requests that say so.

        What is no longer wanted is no longer held.
        """
        before, after = self._rewatch(type_url, names)
        if self._asked is None or before == after:
            return []
        if type_url not in self._asked:
            return [self._first(type_url)]
        subscribe, unsubscribe = after.spelled - before.spelled, before.spelled - after.spelled
        return [
            Request(
                type_url=type_url,
                resource_names_subscribe=sorted(subscribe),
                resource_names_unsubscribe=sorted(unsubscribe),
            )
        ]

    def receive(self, response: Response, apply: Apply) -> list[Request]:
        """Take a response; return its ACK or NACK, nothing for a type that was never asked for.

        Args:
            response: as received.
            apply: takes the update over, or raises a MeshError.
        """
        offer = self.offer(response)
        return [] if offer is None else self.settle(offer, judge(apply, offer))

    def offer(self, response: Response) -> Offer[Response] | None:
        """Read a response; None for a type that was never asked for."""
        if response.type_url not in self._interests:
            return None
        try:
            return Offer(response, self._read(response))
        except RemoteProtocolError as error:
            return Offer(response, None, str(error))

    def settle(self, offer: Offer[Response], reason: str | None) -> list[Request]:
        """Hold what was offered, or leave everything as it was for a reason; return the ACK or NACK."""
        reason = offer.fault if offer.update is None else reason
        answer = Request(type_url=offer.response.type_url, response_nonce=offer.response.nonce)
        if reason is not None:
            answer.error_detail.CopyFrom(refusal(reason))
        elif offer.update is not None:
            self.held = dict(offer.update.candidate)
        return [answer]

    def _read(self, response: Response) -> Update:
        """Return what a response would change.

        Raises:
            RemoteProtocolError: a name twice, a wrong type, or a resource without content.
        """
        type_url, interest = response.type_url, self._interests[response.type_url]
        before = self.held.get(type_url, {})
        received: dict[str, Held] = {}
        for resource in response.resources:
            if resource.name in received:
                raise RemoteProtocolError(f"reading a response of {type_url}: {resource.name!r} comes twice")
            require_type(resource.resource, type_url)
            received[resource.name] = Held(resource.version, resource.resource.SerializeToString(deterministic=True))
        removed = frozenset(response.removed_resources)
        both = removed & received.keys()
        if both:
            raise RemoteProtocolError(f"reading a response of {type_url}: {min(both)!r} both comes and goes")
        wanted = {name: one for name, one in received.items() if interest.wants(name)}
        after = {**before, **wanted}
        for name in removed:
            after.pop(name, None)
        changed = frozenset(name for name, one in wanted.items() if before.get(name) != one)
        gone = frozenset(name for name in removed if name in before)
        return Update(type_url, changed, gone, {**self.held, type_url: after})

    def _first(self, type_url: str) -> Request:
        """Return the first request of a type on this stream; the first of all carries the node."""
        asked = self._asked if self._asked is not None else set()
        held = self.held.get(type_url, {})
        request = Request(
            type_url=type_url,
            node=None if asked else self._node,
            resource_names_subscribe=sorted(self._interests[type_url].spelled),
            initial_resource_versions={name: one.version for name, one in held.items()},
        )
        asked.add(type_url)
        return request
