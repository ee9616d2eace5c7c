"""Both ends of a discovery stream with a wire between them that a test can hold still, cut and mend."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from mesh.base.errors import RemoteProtocolError
from mesh.xds.build.pack import to_resource
from mesh.xds.client.delta import DeltaClient
from mesh.xds.client.held import Update, client_node
from mesh.xds.client.sotw import SotwClient
from mesh.xds.server.delta import DeltaStream
from mesh.xds.server.sotw import SotwStream
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource

View = dict[str, dict[str, Resource]]

BAD = "bad"


def resource(type_url: str, name: str, content: str = "1", target: str = "") -> Resource:
    """Return a small resource; `content` makes its version, `target` is the cluster it points at."""
    text = f"{content}>{target}"
    message = {
        CLUSTER: lambda: Cluster(name=name, alt_stat_name=text),
        ENDPOINTS: lambda: ClusterLoadAssignment(cluster_name=name, policy={"drop_overloads": [{"category": text}]}),
        LISTENER: lambda: Listener(name=name, stat_prefix=text),
        ROUTES: lambda: RouteConfiguration(name=name, response_headers_to_remove=[text]),
    }[type_url]()
    return to_resource(name, message)


def view_of(*resources: Resource) -> View:
    """Return a view that holds these."""
    view: View = {}
    for one in resources:
        view.setdefault(one.type_url, {})[one.name] = one
    return view


def refuse_bad(update: Update) -> None:
    """Accept an update unless something in it says `bad`."""
    for name, held in update.candidate[update.type_url].items():
        if BAD.encode() in held.body:
            raise RemoteProtocolError(f"{name} is bad")


class Pair:
    """A client, a server and what is on the wire between them; the client follows clusters with endpoints."""

    def __init__(self, view: View, *, is_delta: bool) -> None:
        self.view = view
        self.is_delta = is_delta
        self.client: DeltaClient | SotwClient = (DeltaClient if is_delta else SotwClient)(
            client_node("order-1", "order-service", "east")
        )
        self.to_server: deque[Any] = deque()
        self.to_client: deque[bytes] = deque()
        self.seen: list[tuple[str, frozenset[str]]] = []  # what the client received: type, names
        self.client.watch(CLUSTER, None)
        self.client.watch(LISTENER, None)
        self.reconnect()

    def reconnect(self) -> None:
        """Cut the wire, lose what is on it, and begin a new stream."""
        self.server: DeltaStream | SotwStream = (DeltaStream if self.is_delta else SotwStream)(self.view)
        self.client.close()
        self.to_client.clear()
        self.to_server = deque(self.client.open())

    def change(self, type_url: str, name: str, new: Resource | None) -> None:
        """Put one resource into the view, or take it out, and tell the server just that."""
        of_type = dict(self.view.get(type_url, {}))
        of_type.pop(name, None)
        if new is not None:
            of_type[name] = new
        self.show({**self.view, type_url: of_type}, {type_url: [name]})

    def show(self, view: View, changes: dict[str, Iterable[str]] | None = None) -> None:
        """Give the server a new view."""
        self.view = view
        self.to_client.extend(self.server.update(view, changes))

    def deliver_request(self) -> None:
        """Let the server have one request."""
        if self.to_server:
            self.to_client.extend(self.server.receive(self.to_server.popleft()))

    def deliver_response(self, apply: Callable[[Update], None] = refuse_bad) -> None:
        """Let the client have one response; it then follows up what it holds."""
        if not self.to_client:
            return
        kind = DeltaDiscoveryResponse if self.is_delta else DiscoveryResponse
        response = kind.FromString(self.to_client.popleft())

        def note(update: Update) -> None:
            self.seen.append((update.type_url, update.changed | update.removed))
            apply(update)

        self.to_server.extend(self.client.receive(response, note))
        self.to_server.extend(self.client.watch(ENDPOINTS, self.client.held.get(CLUSTER, {}).keys()))
        self.to_server.extend(self.client.watch(ROUTES, self.client.held.get(LISTENER, {}).keys()))

    def settle(self) -> None:
        """Deliver until nothing is on the wire.

        Raises:
            AssertionError: it never ends.
        """
        for _ in range(2000):
            if not (self.to_server or self.to_client):
                return
            self.deliver_request()
            self.deliver_response()
        raise AssertionError("the two ends never stop talking")

    def held_versions(self) -> dict[str, dict[str, str]]:
        """Return what the client holds: type -> name -> body's version.

        State of the world cannot take back endpoints or routes: their absence is no deletion, they live as long as
        the cluster or listener that refers to them. Such leftovers are not counted; no sound view makes any.
        """
        held = {
            url: {name: one.body.hex() for name, one in resources.items() if not self._is_leftover(url, name)}
            for url, resources in self.client.held.items()
        }
        return {url: resources for url, resources in held.items() if resources}

    def _is_leftover(self, type_url: str, name: str) -> bool:
        return not self.is_delta and type_url in (ENDPOINTS, ROUTES) and name not in self.view.get(type_url, {})

    def wanted_versions(self) -> dict[str, dict[str, str]]:
        """Return what the client ought to hold, given the view."""
        clusters, listeners = self.view.get(CLUSTER, {}), self.view.get(LISTENER, {})
        wanted = {
            CLUSTER: clusters,
            LISTENER: listeners,
            ENDPOINTS: {name: one for name, one in self.view.get(ENDPOINTS, {}).items() if name in clusters},
            ROUTES: {name: one for name, one in self.view.get(ROUTES, {}).items() if name in listeners},
        }
        return {url: {name: one.body.hex() for name, one in of.items()} for url, of in wanted.items() if of}
