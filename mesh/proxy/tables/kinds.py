"""The compiled resources of one type, and what of them is new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mesh.proxy.tables.steps import Steps, at_once

T = TypeVar("T")


class Held(Protocol):
    """One resource as the xDS client holds it (`mesh.xds.types.Resource`)."""

    @property
    def version(self) -> str:
        """Return what changes exactly when the content does."""
        ...

    @property
    def body(self) -> bytes:
        """Return the serialised google.protobuf.Any."""
        ...


HeldResources = Mapping[str, Mapping[str, Held]]
"""Type URL -> name -> resource."""


@dataclass(frozen=True, slots=True)
class Change:
    """The names of one type that came, changed or went. Whoever says so is believed: nothing else is looked at."""

    type_url: str
    names: frozenset[str]


CompileSteps = Callable[[str, bytes, T | None], Steps[T]]
"""Compile a resource: its name, its serialised Any, and what it was before, if it was."""

News = Mapping[str, tuple[str, T] | None]
"""Name -> version and compiled resource; None: it is gone."""


def in_one_step(compile_one: Callable[[str, bytes], T]) -> CompileSteps[T]:
    """Return steps that are one: a pause, then all of it."""

    def steps(name: str, body: bytes, _: T | None) -> Steps[T]:
        yield
        return compile_one(name, body)

    return steps


class Kind(Generic[T]):
    """The compiled resources of one type, by name, with the version that each was compiled from."""

    def __init__(self, type_url: str, compile_steps: CompileSteps[T]) -> None:
        self.type_url = type_url
        self.values: dict[str, T] = {}
        self._compile_steps = compile_steps
        self._versions: dict[str, str] = {}
        self._prepared: dict[str, tuple[str, T]] = {}

    def prepare(self, held: HeldResources, change: Change | None) -> Steps[None]:
        """Compile what is new, for `compiled` to find.

        Args:
            held: all resources of all types.
            change: what differs; None: that has to be found out.
        """
        self._prepared = {}
        resources = held.get(self.type_url, {})
        for name in self._concerned(resources, change):
            resource = resources.get(name)
            if resource is not None and self._versions.get(name) != resource.version:
                value = yield from self._steps(name, resource)
                self._prepared[name] = (resource.version, value)

    def compiled(self, held: HeldResources, change: Change | None) -> News[T]:
        """Compile what is new; return it, and what is gone, and change nothing.

        Raises:
            ConfigNack: a resource cannot be taken.
        """
        resources = held.get(self.type_url, {})
        news: dict[str, tuple[str, T] | None] = {}
        for name in self._concerned(resources, change):
            resource = resources.get(name)
            if resource is None:
                if name in self.values:
                    news[name] = None
            elif self._versions.get(name) != resource.version:
                prepared = self._prepared.get(name)
                if prepared is None or prepared[0] != resource.version:
                    prepared = (resource.version, at_once(self._steps(name, resource)))
                news[name] = prepared
        return news

    def drop_prepared(self) -> None:
        """Let go of what was prepared."""
        self._prepared = {}

    def take(self, news: News[T]) -> None:
        """Make what `compiled` returned the present state."""
        for name, new in news.items():
            if new is None:
                self._forget(name)
            else:
                self._versions[name], self.values[name] = new

    def forget(self, names: Iterable[str]) -> None:
        """Let go of resources that nothing points at any more."""
        for name in names:
            if name in self.values:
                self._forget(name)

    def _forget(self, name: str) -> None:
        del self._versions[name], self.values[name]

    def _concerned(self, resources: Mapping[str, Held], change: Change | None) -> Iterable[str]:
        if change is None:
            return dict.fromkeys((*resources, *self.values))
        return sorted(change.names) if change.type_url == self.type_url else ()

    def _steps(self, name: str, resource: Held) -> Steps[T]:
        return self._compile_steps(name, resource.body, self.values.get(name))
