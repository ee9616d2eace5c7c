"""Encode once, send to many: a resource is kept beside the inputs it was made of.

Different proxies may see the same name differently (a caller's own timeouts towards an upstream), so a name has
a few variants, each found by comparing inputs. Snapshots share their parts, and Python compares a part with itself by
identity, so that a hit costs next to nothing however many endpoints there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mesh.xds.types import Resource

Key = tuple[str, str]
Inputs = tuple[object, ...]

MAX_VARIANTS = 32  # of one name that callers may see differently; the least recently used goes
ALL_THE_SAME = 2  # of one name that is the same for everybody: the present one, and the last while proxies follow


@dataclass(slots=True)
class ResourceCache:
    """The encoded resources of a control plane; owned by its one writer. `built` counts encodings, for metrics."""

    built: int = 0
    _variants: dict[Key, list[tuple[Inputs, Resource]]] = field(default_factory=dict)

    def get(self, key: Key, inputs: Inputs, make: Callable[[], Resource], *, keep: int = MAX_VARIANTS) -> Resource:
        """Return the resource of these inputs, made now if it never was.

        Args:
            key: type URL and name; what two different resources never share.
            inputs: everything that the bytes depend on; compared with `==`.
            make: builds and encodes it.
            keep: how many variants of this name are remembered.
        """
        variants = self._variants.setdefault(key, [])
        for place, (seen, resource) in enumerate(variants):
            if seen == inputs:
                if place:
                    variants.insert(0, variants.pop(place))
                return resource
        resource = make()
        self.built += 1
        variants.insert(0, (inputs, resource))
        del variants[keep:]
        return resource

    def forget(self, names: set[str]) -> None:
        """Drop every variant of services that are gone."""
        for key in [key for key in self._variants if key[1] in names]:
            del self._variants[key]
