"""Protobuf message classes from a table, made at run time: the mesh keeps no generated code.

    MESSAGES = build_messages("meshyard.v1", {
        "Name":  [("service", 1, "string", False), ("virtual_ip", 2, "string", False)],
        "Names": [("index", 1, "uint64", False), ("names", 2, "Name", True)],
    })
    MESSAGES["Names"](index=7, names=[MESSAGES["Name"](service="ledger-service")])

Each table lives in a descriptor pool of its own, so two tables (or a generated module of somebody else in the
same process) may use the same message names without a clash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from mesh.base.errors import LocalProtocolError

Field = tuple[str, int, str, bool]  # name, number, type, is_repeated
Schema = Mapping[str, Sequence[Field]]

_FieldProto = descriptor_pb2.FieldDescriptorProto
_SCALARS: dict[str, Any] = {
    name: getattr(_FieldProto, f"TYPE_{name.upper()}")
    for name in ("double", "float", "int32", "int64", "uint32", "uint64", "bool", "string", "bytes")
}


def build_messages(package: str, schema: Schema) -> dict[str, type[Any]]:
    """Make one message class per entry of `schema`.

    Args:
        package: protobuf package; empty for none (the SPIFFE Workload API has none).
        schema: message name to fields. A type is a scalar (`string`, `bytes`, `bool`, `uint64` ...), the name of
            another message of the same schema, or `map<string,T>` with a scalar key and any T of the former.

    Returns:
        Message name to class; proto3 semantics.

    Raises:
        LocalProtocolError: a field has a type that nobody declared.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package or 'no-package'}.proto", package=package, syntax="proto3")
    for name, fields in schema.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, field, package, schema)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    prefix = f"{package}." if package else ""
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(prefix + name)) for name in schema}


def _add_field(message: Any, field: Field, package: str, schema: Schema) -> None:
    name, number, kind, is_repeated = field
    proto = message.field.add(name=name, number=number, label=_FieldProto.LABEL_OPTIONAL)
    if is_repeated:
        proto.label = _FieldProto.LABEL_REPEATED
    if kind.startswith("map<") and kind.endswith(">"):
        entry = _add_map_entry(message, name, kind[4:-1], package, schema)
        proto.label = _FieldProto.LABEL_REPEATED
        proto.type, proto.type_name = _FieldProto.TYPE_MESSAGE, entry
    elif kind in _SCALARS:
        proto.type = _SCALARS[kind]
    elif kind in schema:
        proto.type, proto.type_name = _FieldProto.TYPE_MESSAGE, _full_name(package, kind)
    else:
        raise LocalProtocolError(f"building message {message.name}: field {name} has the unknown type {kind!r}")


def _add_map_entry(message: Any, name: str, kinds: str, package: str, schema: Schema) -> str:
    """Declare the nested `...Entry` message that a protobuf map is made of; return its full name."""
    key, _, value = kinds.partition(",")
    entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
    entry.options.map_entry = True
    _add_field(entry, ("key", 1, key.strip(), False), package, schema)
    _add_field(entry, ("value", 2, value.strip(), False), package, schema)
    return f"{_full_name(package, message.name)}.{entry.name}"


def _full_name(package: str, name: str) -> str:
    return f".{package}.{name}" if package else f".{name}"
