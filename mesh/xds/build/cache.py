"""Encode once, send to many: a resource is kept beside the inputs it was made of.

Different proxies may see the same name differently (a caller's own timeouts towards an upstream), so a name has
a few variants, each found by comparing inputs. Snapshots share their parts, and Python compares a part with itself by
identity, so that a hit costs next to nothing however many endpoints there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mesh.xds.types import Resource

T = TypeVar("T")
Key = tuple[str, str]
Inputs = tuple[object, ...]

MAX_VARIANTS = 32  # of one name that callers may see differently; the least recently used goes
ALL_THE_SAME = 2  # of one name that is the same for everybody: the present one, and the last while proxies follow


@dataclass(slots=True)
class ResourceCache:
    """The encoded resources of a control plane; owned by its one writer. `built` counts encodings, for metrics."""

    built: int = 0
    _variants: dict[Key, list[tuple[Inputs, Any]]] = field(default_factory=dict)
    _many: list[tuple[Inputs, Any]] = field(default_factory=list)

    def get(self, key: Key, inputs: Inputs, make: Callable[[], Resource], *, keep: int = MAX_VARIANTS) -> Resource:
        """Return the resource of these inputs, made now if it never was.

        Args:
            key: type URL and name; what two different resources never share.
            inputs: everything that the bytes depend on; compared with `==`.
            make: builds and encodes it.
            keep: how many variants of this name are remembered.
        """
        variants = self._variants.setdefault(key, [])
        resource, is_new = _found(variants, inputs, make, keep)
        self.built += is_new
        return resource

    def many(self, inputs: Inputs, make: Callable[[], T]) -> T:
        """Return many resources that belong together as one thing, made now if they never were; see `get`."""
        return _found(self._many, inputs, make, MAX_VARIANTS)[0]

    def forget_many(self) -> None:
        """Drop what `many` remembers, as after a change that no proxy's upstreams outlive; its parts stay."""
        self._many.clear()

    def forget(self, names: set[str]) -> None:
        """Drop every variant of services that are gone."""
        for key in [key for key in self._variants if key[1] in names]:
            del self._variants[key]


def _found(variants: list[tuple[Inputs, Any]], inputs: Inputs, make: Callable[[], T], keep: int) -> tuple[T, bool]:
    """Return the variant of these inputs, moved to the front, and whether it had to be made."""
    for place, (seen, made) in enumerate(variants):
        if seen == inputs:
            if place:
                variants.insert(0, variants.pop(place))
            return made, False
    fresh = make()
    variants.insert(0, (inputs, fresh))
    del variants[keep:]
    return fresh, True
