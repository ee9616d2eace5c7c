"""Refuse what this proxy does not implement: a field that is set and not understood is a NACK, never silence.

Each compile file states, as one table, which fields of which message it reads. `require_understood` walks a message
through ListFields (that is: what is set to something else than its default), into nested messages and into each
`Any`, and raises for the first field that no table lists. So a new Envoy feature in a pushed resource is refused
with its path the day it appears, and compile code never has to remember what it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from mesh.base.errors import MeshError

Understood = Mapping[str, frozenset[str]]

# Messages that are values: read whole or not at all.
_LEAVES = (
    "google.protobuf.Duration",
    "google.protobuf.UInt32Value",
    "google.protobuf.BoolValue",
    "google.protobuf.Struct",
)
_ANY = "google.protobuf.Any"


class ConfigNack(MeshError):
    """A pushed resource cannot be taken; the response that carried it is NACKed as a whole.

    Args:
        resource: its name.
        path: the field, as in `filter_chains[0].filters[1].typed_config.access_log`.
        sentence: what is wrong with it and what would be right.
    """

    def __init__(self, resource: str, path: str, sentence: str) -> None:
        self.resource = resource
        self.path = path
        self.sentence = sentence
        super().__init__(f"{resource}: {path}: {sentence}" if path else f"{resource}: {sentence}")


class Place:
    """A field of a resource, for error messages: `at.field("x")` goes down, `at.refuse(...)` raises."""

    __slots__ = ("path", "resource")

    def __init__(self, resource: str, path: str = "") -> None:
        self.resource = resource
        self.path = path

    def field(self, name: str, index: int | str | None = None) -> Place:
        """Return the place of a field, or of an element of it."""
        part = name if index is None else f"{name}[{index}]"
        return Place(self.resource, f"{self.path}.{part}" if self.path else part)

    def each(self, name: str, values: Any) -> Iterator[tuple[Any, Place]]:
        """Go through a repeated field with the place of each element."""
        for index, value in enumerate(values):
            yield value, self.field(name, index)

    def nack(self, sentence: str) -> ConfigNack:
        """Return the error to raise."""
        return ConfigNack(self.resource, self.path, sentence)

    def not_implemented(self, what: str) -> ConfigNack:
        """Return the error that says that this proxy does not implement something."""
        return self.nack(f"{what} is not implemented by this proxy")


def fields(names: str) -> frozenset[str]:
    """Write the understood fields of a message as one string."""
    return frozenset(names.split())


def require_understood(message: Message, understood: Understood, at: Place, besides: str = "") -> None:
    """Walk a message and refuse the first field that is set and not understood.

    Args:
        message: to walk.
        understood: type of a message -> the fields that are read of it.
        at: where it is.
        besides: a field of this message that is not walked: the caller does that, one element at a time.

    Raises:
        ConfigNack: with the path of that field.
    """
    name = message.DESCRIPTOR.full_name
    if name in _LEAVES:
        return
    if name == _ANY:
        require_understood(_open_any(message, understood, at), understood, at)
        return
    known = understood.get(name)
    if known is None:
        raise at.not_implemented(f"a message of type {name}")
    unknown = UnknownFieldSet(message)
    if len(unknown):
        raise at.not_implemented(f"field number {unknown[0].field_number}, newer than its API,")
    for field, value in message.ListFields():
        if field.name not in known:
            raise at.field(field.name).not_implemented("this field")
        if field.message_type is not None and field.name != besides:
            _walk_field(field, value, understood, at)


def _walk_field(field: Any, value: Any, understood: Understood, at: Place) -> None:
    if field.message_type.GetOptions().map_entry:
        if field.message_type.fields_by_name["value"].message_type is not None:
            for key in sorted(value):
                require_understood(value[key], understood, at.field(field.name, repr(key)))
    elif isinstance(value, Message):
        require_understood(value, understood, at.field(field.name))
    else:
        for element, where in at.each(field.name, value):
            require_understood(element, understood, where)


def _open_any(message: Any, understood: Understood, at: Place) -> Message:
    name = message.type_url.rpartition("/")[2]
    if name not in understood:
        raise at.not_implemented(f"a typed_config of type {name or '(none)'}")
    descriptor = descriptor_pool.Default().FindMessageTypeByName(name)
    opened: Message = message_factory.GetMessageClass(descriptor)()
    try:
        opened.ParseFromString(message.value)
    except DecodeError as error:
        raise at.nack(f"the bytes are not a {name}") from error
    return opened


def unpack(body: bytes, expected: type[Message], understood: Understood, at: Place) -> Any:
    """Open a resource (serialised `Any`), refuse what is not understood in it, and return the message.

    Raises:
        ConfigNack: not an `Any`, of another type, or with a field that is not understood.
    """
    message = open_resource(body, expected, understood, at)
    require_understood(message, understood, at)
    return message


def open_resource(body: bytes, expected: type[Message], understood: Understood, at: Place) -> Any:
    """Open a resource (serialised `Any`) and return the message; what is in it still has to be walked.

    Raises:
        ConfigNack: not an `Any`, of another type, or bytes that are no such message.
    """
    try:
        packed = any_pb2.Any.FromString(body)
    except DecodeError as error:
        raise at.nack("the resource is not a google.protobuf.Any") from error
    if not packed.Is(expected.DESCRIPTOR):
        raise at.nack(f"expected a {expected.DESCRIPTOR.full_name}, found {packed.type_url or 'nothing'}")
    return _open_any(packed, understood, at)


def open_typed(message: Any, expected: type[Message], at: Place) -> Any:
    """Open a `typed_config` that must be of one type; its fields were checked when the resource was unpacked."""
    if not message.Is(expected.DESCRIPTOR):
        raise at.not_implemented(f"a typed_config of type {message.type_url.rpartition('/')[2]} here")
    opened = expected()
    message.Unpack(opened)
    return opened
