"""The bootstrap of a sidecar: the one file from which it learns who it is and whom to ask for everything else.

It has Envoy's shape, so that Envoy takes it as it is. `write_bootstrap` makes it on the agent's side;
`read_bootstrap` reads back the few values that the Python sidecar needs. The two are each other's inverse, and a
value is written in one place only: there is no second file of our own beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict

from mesh.base.errors import ConfigError, Position
from mesh.base.ports import SIDECAR_ADMIN
from mesh.xds.build.tls import AGENT_CLUSTER, upstream_tls

CONTROL_PLANE_CLUSTER = "control_plane"
DELTA, STATE_OF_THE_WORLD = "DELTA_GRPC", "GRPC"

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What a sidecar is told before it can ask.

    Args:
        host, service: together the node id, `<host>/<service>`.
        datacenter: the zone of the node's locality.
        control_plane_address, control_plane_port: where ADS is served.
        control_plane_id: the SPIFFE ID that the control plane must prove.
        control_plane_name: the TLS server name to ask for.
        agent_socket: the unix socket of the agent's SDS.
        is_delta: incremental xDS; False asks for the state of the world.
    """

    host: str
    service: str
    datacenter: str
    control_plane_address: str
    control_plane_port: int
    control_plane_id: str
    control_plane_name: str
    agent_socket: str
    admin_address: str = "127.0.0.1"
    admin_port: int = SIDECAR_ADMIN
    is_delta: bool = True

    @property
    def node_id(self) -> str:
        """Return who this sidecar says to be on its streams."""
        return f"{self.host}/{self.service}"


def write_bootstrap(values: Bootstrap) -> str:
    """Return the bootstrap as the JSON that Envoy reads."""
    ads = {"resource_api_version": "V3", "ads": {}}
    shape = {
        "node": {
            "id": values.node_id,
            "cluster": values.service,
            "locality": {"zone": values.datacenter},
            "metadata": {"host": values.host, "service": values.service},
        },
        "admin": {"address": _address(values.admin_address, values.admin_port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": DELTA if values.is_delta else STATE_OF_THE_WORLD,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": CONTROL_PLANE_CLUSTER}}],
                "set_node_on_first_message_only": True,
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [_control_plane(values), _agent(values)]},
    }
    return json.dumps(shape, indent=2) + "\n"


def _control_plane(values: Bootstrap) -> dict[str, Any]:
    """Return the cluster that ADS goes to: mutual TLS, one identity.

    A stream ends with the certificate that opened its connection. The next one has a connection of its own, so that it
    proves the certificate of that moment; Envoy would open it on the old connection, which is refused for ever.
    """
    where = _address(values.control_plane_address, values.control_plane_port)
    tls = upstream_tls(values.control_plane_id, values.control_plane_name, ("h2",))
    return {
        **_static_cluster(
            CONTROL_PLANE_CLUSTER, where, common_http_protocol_options={"max_requests_per_connection": 1}
        ),
        "transport_socket": MessageToDict(tls, preserving_proto_field_name=True),
    }


def _agent(values: Bootstrap) -> dict[str, Any]:
    """Return the cluster that SDS goes to: the file permission of the socket is its protection."""
    return _static_cluster(AGENT_CLUSTER, {"pipe": {"path": values.agent_socket}})


def _static_cluster(name: str, address: dict[str, Any], **http_options: Any) -> dict[str, Any]:
    """Return a cluster of one address that speaks HTTP/2, as gRPC needs; keepalives find a dead stream in 30 s."""
    keepalive = {"connection_keepalive": {"interval": "15s", "timeout": "15s"}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": keepalive},
                **http_options,
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _address(address: str, port: int) -> dict[str, Any]:
    """Return a socket address."""
    return {"socket_address": {"address": address, "port_value": port}}


def read_bootstrap(text: str, path: str = "bootstrap.json") -> Bootstrap:
    """Return what the Python sidecar needs of a bootstrap.

    Args:
        text: the file's content.
        path: its name, for errors.

    Raises:
        ConfigError: not JSON, or a value that is missing or of the wrong kind; the message has its place in the file.
    """
    try:
        shape = json.loads(text)
    except json.JSONDecodeError as error:
        where = Position(path, error.lineno, error.colno)
        raise ConfigError(f"reading a bootstrap: {error.msg}", where, right="the JSON the agent writes") from error
    reader = _Reader(shape, path)
    control = reader.cluster(CONTROL_PLANE_CLUSTER)
    tls = f"{control}.transport_socket.typed_config"
    peer = (
        f"{tls}.common_tls_context.combined_validation_context.default_validation_context"
        ".match_typed_subject_alt_names.0.matcher.exact"
    )
    endpoint = "load_assignment.endpoints.0.lb_endpoints.0.endpoint.address"
    return Bootstrap(
        host=reader.get("node.metadata.host", str),
        service=reader.get("node.metadata.service", str),
        datacenter=reader.get("node.locality.zone", str),
        control_plane_address=reader.get(f"{control}.{endpoint}.socket_address.address", str),
        control_plane_port=reader.get(f"{control}.{endpoint}.socket_address.port_value", int),
        control_plane_id=reader.get(peer, str),
        control_plane_name=reader.get(f"{tls}.sni", str),
        agent_socket=reader.get(f"{reader.cluster(AGENT_CLUSTER)}.{endpoint}.pipe.path", str),
        admin_address=reader.get("admin.address.socket_address.address", str),
        admin_port=reader.get("admin.address.socket_address.port_value", int),
        is_delta=reader.one_of("dynamic_resources.ads_config.api_type", (DELTA, STATE_OF_THE_WORLD)) == DELTA,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Walks JSON by dotted places, where a number is an index, and says where it stopped."""

    shape: Any
    path: str

    def get(self, place: str, kind: type[_T]) -> _T:
        """Return the value at `place`."""
        value = self.shape
        walked = "the file"
        for step in place.split("."):
            inner = _step(value, step)
            if inner is None:
                raise self._wrong(place, f"{walked} has no {step!r}")
            value, walked = inner, step
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._wrong(place, f"found {value!r}")
        return value

    def one_of(self, place: str, allowed: tuple[str, ...]) -> str:
        """Return a word at `place` that is one of `allowed`."""
        word = self.get(place, str)
        if word not in allowed:
            raise self._wrong(place, f"found {word!r}, right would be one of {', '.join(allowed)}")
        return word

    def cluster(self, name: str) -> str:
        """Return the place of a static cluster."""
        clusters = self.get("static_resources.clusters", list)
        for number, cluster in enumerate(clusters):
            if _step(cluster, "name") == name:
                return f"static_resources.clusters.{number}"
        raise self._wrong("static_resources.clusters", f"no cluster is named {name!r}")

    def _wrong(self, place: str, reason: str) -> ConfigError:
        """Return the error for a place."""
        right = "the file the agent writes; restart the agent to have it written anew"
        return ConfigError(f"reading a bootstrap: {place}: {reason}", Position(self.path), right=right)


def _step(value: Any, step: str) -> Any:
    """Return what lies one step inside a JSON value; None when there is nothing."""
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and step.isdigit() and int(step) < len(value):
        return value[int(step)]
    return None
