"""State-of-the-world xDS, the client's side: every request repeats the whole interest and the last accepted version.

The same calls as `DeltaClient`. Clusters and listeners come as the full state, so what is absent is gone; endpoints and
routes come in part, and are held until they are no longer asked for. A resource carries no version of its own here;
a hash of its content stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest as Request
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse as Response
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from mesh.base.errors import RemoteProtocolError
from mesh.xds.client.held import Apply, Held, Holdings, Offer, Update, judge, refusal, require_type
from mesh.xds.types import CLUSTER, ENDPOINTS, FULL_STATE, LISTENER, ROUTES, SECRET, content_version

# State of the world has no names beside its resources; each type says its own inside.
_NAME_OF: dict[str, Callable[[bytes], str]] = {
    CLUSTER: lambda body: str(cluster_pb2.Cluster.FromString(body).name),
    ENDPOINTS: lambda body: str(endpoint_pb2.ClusterLoadAssignment.FromString(body).cluster_name),
    LISTENER: lambda body: str(listener_pb2.Listener.FromString(body).name),
    ROUTES: lambda body: str(route_pb2.RouteConfiguration.FromString(body).name),
    SECRET: lambda body: str(secret_pb2.Secret.FromString(body).name),
}


class SotwClient(Holdings):
    """One client over any number of streams, one after the other.

    Args:
        node: who we are; told once per stream.
    """

    def __init__(self, node: base_pb2.Node) -> None:
        super().__init__()
        self._node = node
        self._versions: dict[str, str] = {}  # type -> the version accepted last
        self._nonces: dict[str, str] = {}  # type -> the nonce received last on this stream

    def open(self) -> list[Request]:
        """Begin a new stream; return its first requests."""
        self._asked = set()
        self._nonces.clear()
        return [self._request(url) for url, interest in self._interests.items() if not interest.is_empty]

    def watch(self, type_url: str, names: Collection[str] | None) -> list[Request]:
        """Say which names of a type are wanted from now on, None for all; return the requests that say so.

        What is no longer wanted is no longer held.
        """
        before, after = self._rewatch(type_url, names)
        if self._asked is None or before == after:
            return []
        return [self._request(type_url)]

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
        self._nonces[response.type_url] = response.nonce
        try:
            return Offer(response, self._read(response))
        except RemoteProtocolError as error:
            return Offer(response, None, str(error))

    def settle(self, offer: Offer[Response], reason: str | None) -> list[Request]:
        """Hold what was offered, or leave everything as it was for a reason; return the ACK or NACK."""
        reason = offer.fault if offer.update is None else reason
        type_url = offer.response.type_url
        if offer.update is not None and reason is None:
            self.held = dict(offer.update.candidate)
            self._versions[type_url] = offer.response.version_info
        answer = self._request(type_url)
        if reason is not None:
            answer.error_detail.CopyFrom(refusal(reason))
        return [answer]

    def _read(self, response: Response) -> Update:
        """Return what a response would change.

        Raises:
            RemoteProtocolError: a name twice, a wrong type, or a resource that cannot be read.
        """
        type_url, interest = response.type_url, self._interests[response.type_url]
        before = self.held.get(type_url, {})
        received: dict[str, Held] = {}
        for resource in response.resources:
            name = _name_of(resource, type_url)
            if name in received:
                raise RemoteProtocolError(f"reading a response of {type_url}: {name!r} comes twice")
            body = resource.SerializeToString(deterministic=True)
            received[name] = Held(content_version(body), body)
        wanted = {name: one for name, one in received.items() if interest.wants(name)}
        after = wanted if type_url in FULL_STATE else {**before, **wanted}
        changed = frozenset(name for name, one in wanted.items() if before.get(name) != one)
        return Update(type_url, changed, frozenset(before.keys() - after.keys()), {**self.held, type_url: after})

    def _request(self, type_url: str) -> Request:
        """Return a request with all that we want, hold and last heard of a type; the first carries the node."""
        asked = self._asked if self._asked is not None else set()
        request = Request(
            type_url=type_url,
            node=None if asked else self._node,
            version_info=self._versions.get(type_url, ""),
            response_nonce=self._nonces.get(type_url, ""),
            resource_names=sorted(self._interests[type_url].spelled),
        )
        asked.add(type_url)
        return request


def _name_of(resource: Any, type_url: str) -> str:
    """Return the name inside a resource.

    Raises:
        RemoteProtocolError: another type, a type without a known name, or bytes that are not a message.
    """
    require_type(resource, type_url)
    reader = _NAME_OF.get(type_url)
    if reader is None:
        raise RemoteProtocolError(f"reading a response of {type_url}: this type is not known here")
    try:
        return reader(resource.value)
    except DecodeError as error:
        raise RemoteProtocolError(f"reading a response of {type_url}: not a message of this type") from error
