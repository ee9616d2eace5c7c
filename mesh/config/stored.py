"""Entries as JSON objects and back, for the store and for the wire: nothing is lost, positions included.

The form follows the dataclasses of `entries`: field names as they are there, a tuple is a list, a position is
`[path, line, column]`, fields with their default are left out. `kind` says which class it is.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from mesh.base.errors import ConfigError, Position
from mesh.config.entries import KIND_OF, ConfigEntry

Json = dict[str, Any]

_CLASS_OF: dict[str, type] = {kind: cls for cls, kind in KIND_OF.items()}


def to_json(entry: ConfigEntry) -> Json:
    """Return an entry as an object that `json.dumps` takes."""
    return {"kind": KIND_OF[type(entry)], **_encode_fields(entry)}


def from_json(stored: Mapping[str, Any]) -> ConfigEntry:
    """Return the entry that `to_json` wrote.

    Raises:
        ConfigError: the object is not of this form (another version wrote it, or somebody's hand).
    """
    cls = _CLASS_OF.get(str(stored.get("kind")))
    if cls is None:
        raise ConfigError(f"reading a stored entry: its kind is {stored.get('kind')!r}", right=", ".join(_CLASS_OF))
    value: ConfigEntry = _decode({key: stored[key] for key in stored if key != "kind"}, cls)
    return value


def _encode_fields(value: Any) -> Json:
    return {
        field.name: _encode(getattr(value, field.name))
        for field in fields(value)
        if getattr(value, field.name) != _default(field)
    }


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _encode(value: Any) -> Any:
    if isinstance(value, Position):
        return [value.path, value.line, value.column]
    if is_dataclass(value):
        return _encode_fields(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


@lru_cache(maxsize=64)
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _wrong(stored: Any, hint: Any) -> ConfigError:
    return ConfigError(f"reading a stored entry: {stored!r:.80} is no {getattr(hint, '__name__', hint)}")


def _decode(stored: Any, hint: Any) -> Any:
    """Return `stored` as a value of the type `hint`."""
    origin = get_origin(hint)
    if origin in (types.UnionType, Union):
        return None if stored is None else _decode(stored, next(arm for arm in get_args(hint) if arm is not type(None)))
    if origin is tuple:
        return _decode_tuple(stored, get_args(hint))
    if origin is not None:  # Mapping[str, str]
        if not isinstance(stored, Mapping) or not all(isinstance(value, str) for value in stored.values()):
            raise _wrong(stored, "mapping of strings")
        return dict(stored)
    return _decode_plain(stored, hint)


def _decode_tuple(stored: Any, arms: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(stored, list):
        raise _wrong(stored, "list")
    if arms[-1] is Ellipsis:
        return tuple(_decode(item, arms[0]) for item in stored)
    if len(stored) != len(arms):
        raise _wrong(stored, f"list of {len(arms)}")
    return tuple(_decode(item, arm) for item, arm in zip(stored, arms, strict=True))


def _decode_plain(stored: Any, cls: type) -> Any:
    """Return a position, an entry's part, an enumeration's word, or a scalar."""
    if cls is Position:
        if not (isinstance(stored, list) and [type(part) for part in stored] == [str, int, int]):
            raise _wrong(stored, cls)
        return Position(*stored)
    if is_dataclass(cls):
        return _decode_fields(stored, cls)
    if issubclass(cls, Enum):
        if stored not in [word.value for word in cls]:
            raise _wrong(stored, cls)
        return cls(stored)
    if cls is float and type(stored) is int:
        return float(stored)
    if type(stored) is not cls:
        raise _wrong(stored, cls)
    return stored


def _decode_fields(stored: Any, cls: type) -> Any:
    if not isinstance(stored, Mapping) or not set(stored) <= set(_hints(cls)):
        raise _wrong(stored, cls)
    missing = [f.name for f in fields(cls) if f.name not in stored and _default(f) is MISSING]
    if missing:
        raise ConfigError(f"reading a stored entry: {cls.__name__} without {', '.join(missing)}")
    return cls(**{name: _decode(value, _hints(cls)[name]) for name, value in stored.items()})
