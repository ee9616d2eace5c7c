"""The words of xDS: type URLs, the order of types on one stream, resources, and who is speaking.

Every resource travels as `google.protobuf.Any` (its type URL and its bytes), under a name that is unique within its
type. A `Resource` here is encoded when it is made and never again: a thousand proxies get the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from envoy.config.core.v3 import base_pb2

from mesh.base.errors import ConfigError, RemoteProtocolError
from mesh.base.names import require_label
from mesh.xds.framing import field

_PREFIX = "type.googleapis.com/"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

# Make before break: what is pointed at goes before what points at it; removals come after all four.
ADS_ORDER = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)

# For these an empty list of names means "all of them", and in a state-of-the-world response absence means deletion.
FULL_STATE = frozenset({CLUSTER, LISTENER})

SHORT_NAME = {CLUSTER: "CDS", ENDPOINTS: "EDS", LISTENER: "LDS", ROUTES: "RDS", SECRET: "SDS"}

GRPC_AGENT = "gRPC "
MAX_NAMES = 50_000  # of one type on one stream; a peer that names more is at fault


# DeltaDiscoveryResponse.resources, and the fields of the Resource in it (envoy/service/discovery/v3/discovery.proto).
_DELTA_RESOURCES = 2
_RESOURCE_VERSION, _RESOURCE_BODY, _RESOURCE_NAME = 1, 2, 3


@dataclass(frozen=True)
class Resource:
    """One named resource, encoded. `version` is a hash of its content; `body` is a serialised Any."""

    type_url: str
    name: str
    version: str
    body: bytes

    @cached_property
    def delta_entry(self) -> bytes:
        """Return it as it stands in every delta response, with name and version around it; put together once."""
        named = (
            field(_RESOURCE_VERSION, self.version.encode())
            + field(_RESOURCE_BODY, self.body)
            + field(_RESOURCE_NAME, self.name.encode())
        )
        return field(_DELTA_RESOURCES, named)


ResourceView = Mapping[str, Mapping[str, Resource]]
"""All that one proxy may be told: type URL -> name -> Resource."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who opened a stream: `<host>/<service>`, as the certificate of the connection must confirm."""

    host: str
    service: str

    def __str__(self) -> str:
        return f"{self.host}/{self.service}"


def parse_node(node: base_pb2.Node) -> NodeIdentity:
    """Return who says to be speaking; only the caller can hold it against the certificate.

    Raises:
        RemoteProtocolError: the id is not `<host>/<service>`, or the cluster is another service.
    """
    host, _, service = node.id.partition("/")
    try:
        identity = NodeIdentity(require_label(host, "host"), require_label(service, "service"))
    except ConfigError as error:
        raise RemoteProtocolError(
            f"reading node id {node.id[:200]!r}: {error.reason}, right would be <host>/<service>"
        ) from error
    if node.cluster != service:
        raise RemoteProtocolError(
            f"reading node {node.id!r}: its cluster is {node.cluster[:200]!r}, right would be {service!r}"
        )
    return identity


def is_proxyless(node: base_pb2.Node) -> bool:
    """Say whether a client is gRPC's own xDS client, in whatever language, which has no sidecar.

    Source: gRFC A27: `user_agent_name` is "gRPC C-core ...", "gRPC Go", "gRPC Java" and the like.
    """
    return bool(node.user_agent_name.startswith(GRPC_AGENT))


def content_version(body: bytes) -> str:
    """Return a short version that changes exactly when the content does: 64 bits of SHA-256 in hex."""
    return sha256(body).hexdigest()[:16]
