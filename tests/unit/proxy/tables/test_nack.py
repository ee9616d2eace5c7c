"""Nothing is silently ignored: every field of every message is either understood or refused with its path."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from mesh.proxy.tables import compile_clusters, compile_endpoints, compile_listeners, compile_routes
from mesh.proxy.tables.nack import ConfigNack, Place, require_understood, unpack

TABLES = {
    "clusters": compile_clusters.UNDERSTOOD,
    "endpoints": compile_endpoints.UNDERSTOOD,
    "listeners": compile_listeners.UNDERSTOOD,
    "routes": compile_routes.UNDERSTOOD,
}
VALUES: dict[str, Any] = {"string": "x", "bytes": b"x", "bool": True, "float": 1.5}


def message_class(name: str) -> type[Message]:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


def set_something(message: Any, field: Any) -> None:
    """Set a field to something that is not its default."""
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        if entry["value"].message_type is not None:
            value.get_or_create("x" if entry["key"].cpp_type == entry["key"].CPPTYPE_STRING else 1)
        else:
            value["x"] = "x"
    elif field.message_type is not None:
        (value.add if field.is_repeated else value.SetInParent)()
    else:
        scalar = scalar_for(field)
        value.append(scalar) if field.is_repeated else setattr(message, field.name, scalar)


def scalar_for(field: Any) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.cpp_type == field.CPPTYPE_STRING:
        return b"x" if field.type == field.TYPE_BYTES else "x"
    return True if field.cpp_type == field.CPPTYPE_BOOL else 1


def all_fields() -> list[Any]:
    rows = {}
    for table in TABLES.values():
        for name, known in table.items():
            for field in descriptor_pool.Default().FindMessageTypeByName(name).fields:
                rows[f"{name}.{field.name}"] = (name, field, known, table)
    return [pytest.param(*row, id=key) for key, row in rows.items()]


@pytest.mark.parametrize(("name", "field", "known", "table"), all_fields())
def test_a_field_is_understood_or_refused_by_name(name: str, field: Any, known: frozenset[str], table: Any) -> None:
    message = message_class(name)()
    set_something(message, field)
    if field.name in known:
        return
    with pytest.raises(ConfigNack) as caught:
        require_understood(message, table, Place("r"))
    assert caught.value.path == field.name
    assert "is not implemented by this proxy" in caught.value.sentence


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_is_said_to_be_understood_exists(table: Any) -> None:
    for name, known in table.items():
        fields = descriptor_pool.Default().FindMessageTypeByName(name).fields_by_name
        assert known <= set(fields), name


def test_the_path_leads_into_lists_and_typed_configs() -> None:
    listener = listener_pb2.Listener(name="in")
    listener.filter_chains.add()
    listener.filter_chains.add().filters.add().typed_config.Pack(lua_pb2.Lua())
    with pytest.raises(ConfigNack) as caught:
        require_understood(listener, compile_listeners.UNDERSTOOD, Place("in"))
    assert str(caught.value) == (
        "in: filter_chains[1].filters[0].typed_config: a typed_config of type"
        " envoy.extensions.filters.http.lua.v3.Lua is not implemented by this proxy"
    )


def packed(message: Message) -> bytes:
    wrapped = any_pb2.Any()
    wrapped.Pack(message)
    return wrapped.SerializeToString()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b"\xff\xff", "not a google.protobuf.Any", id="bytes that are no Any"),
        pytest.param(packed(base_pb2.Node()), "expected a envoy.config.cluster.v3.Cluster", id="another message"),
        pytest.param(b"", "found nothing", id="nothing at all"),
        pytest.param(
            any_pb2.Any(type_url="t/envoy.config.cluster.v3.Cluster", value=b"\xff").SerializeToString(),
            "the bytes are not a envoy.config.cluster.v3.Cluster",
            id="an Any with broken content",
        ),
        pytest.param(
            any_pb2.Any(type_url="t/envoy.config.cluster.v3.Cluster", value=b"\xf8\xff\x03\x01").SerializeToString(),
            "field number 8191",
            id="a field of the future",
        ),
    ],
)
def test_what_cannot_be_opened(body: bytes, sentence: str) -> None:
    with pytest.raises(ConfigNack, match=sentence):
        unpack(body, cluster_pb2.Cluster, compile_clusters.UNDERSTOOD, Place("c"))
