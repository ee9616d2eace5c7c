"""What this sidecar was told, in the shape of Envoy's `/config_dump`. Pure; imported when somebody asks.

It is made of the very bytes that were received and accepted; what the sidecar made of them is on `/tables`.

Source: Envoy `config_dump.proto` (`envoy.admin.v3.ConfigDump`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.json_format import Error, MessageToDict

from mesh.xds.bootstrap import Bootstrap, write_bootstrap
from mesh.xds.client.held import Held, HeldByType
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES

_DUMP = "type.googleapis.com/envoy.admin.v3."


def dump(bootstrap: Bootstrap, held: HeldByType, *, is_with_endpoints: bool = False) -> dict[str, Any]:
    """Return the page's JSON.

    Args:
        bootstrap: what this sidecar was started with.
        held: the resources that it holds.
        is_with_endpoints: show endpoints as well, of which there may be many.
    """
    kinds = {
        "BootstrapConfigDump": {"bootstrap": json.loads(write_bootstrap(bootstrap))},
        "ClustersConfigDump": {
            "dynamic_active_clusters": [
                {"version_info": one.version, "cluster": shown} for _, one, shown in _decoded(held, CLUSTER)
            ]
        },
        "ListenersConfigDump": {
            "dynamic_listeners": [
                {"name": name, "active_state": {"version_info": one.version, "listener": shown}}
                for name, one, shown in _decoded(held, LISTENER)
            ]
        },
        "RoutesConfigDump": {
            "dynamic_route_configs": [
                {"version_info": one.version, "route_config": shown} for _, one, shown in _decoded(held, ROUTES)
            ]
        },
    }
    if is_with_endpoints:
        kinds["EndpointsConfigDump"] = {
            "dynamic_endpoint_configs": [
                {"version_info": one.version, "endpoint_config": shown} for _, one, shown in _decoded(held, ENDPOINTS)
            ]
        }
    return {"configs": [{"@type": f"{_DUMP}{kind}", **content} for kind, content in kinds.items()]}


def _decoded(held: HeldByType, type_url: str) -> Iterator[tuple[str, Held, dict[str, Any]]]:
    """Yield name, resource, and its content as JSON."""
    for name, one in sorted(held.get(type_url, {}).items()):
        yield name, one, _shown(one.body)


def _shown(body: bytes) -> dict[str, Any]:
    """Return a resource as JSON; one with a part that this program knows no name for says so instead."""
    try:
        shown: dict[str, Any] = MessageToDict(Packed.FromString(body), preserving_proto_field_name=True)
    except (Error, TypeError) as error:
        return {"meshyard": f"cannot be shown: {error}"}
    return shown
