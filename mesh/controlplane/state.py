"""MeshState: all that the control plane knows, in memory, exactly as the store has it.

There is one way to change it: records are written to the store, then applied here (`Writer` does both). Loading the
store at a start applies the same records, so memory and disk cannot tell different stories. Each step has an index
that only grows and answers with a `Change`: what readers (snapshots, watchers) have to look at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mesh.base.names import WILDCARD
from mesh.ca.rejoin import RejoinLine
from mesh.config.entries import ConfigEntry, ProxyDefaults, ServiceDefaults, ServiceIntentions, ServiceRouter
from mesh.controlplane import records as r
from mesh.controlplane.store import Record
from mesh.registry.catalog import Catalog, CatalogChange


@dataclass(frozen=True, slots=True)
class Change:
    """What one step changed: catalog services, names, config entries by kind and name, and whether the roots did."""

    index: int = 0
    catalog: CatalogChange = CatalogChange()
    entries: frozenset[r.EntryKey] = frozenset()
    has_new_roots: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no proxy has to look (proxies hear of roots from their agent)."""
        return not (self.catalog.services or self.catalog.has_new_names or self.entries)


class MeshState:
    """Entries, catalog, tokens, rejoin lines, issued certificates, authorities' fingerprints, slots of the root."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.entries: dict[r.EntryKey, r.StoredEntry] = {}
        self.tokens: dict[str, r.TokenRecord] = {}
        self.rejoin: dict[str, RejoinLine] = {}
        self.issued: dict[int, r.IssuedCertificate] = {}
        self.authorities: dict[str, str] = {}
        self.rotation = r.RotationRecord()
        self._appliers: dict[str, Callable[[Record], Change]] = {
            r.CONFIG: self._apply_entry,
            r.INSTANCE: self._apply_instance,
            r.NAME: self._apply_name,
            r.TOKEN: self._apply_token,
            r.REJOIN: self._apply_rejoin,
            r.ISSUED: self._apply_issued,
            r.AUTHORITY: self._apply_authority,
            r.ROTATION: self._apply_rotation,
        }

    @property
    def index(self) -> int:
        """The index of the last step."""
        return self.catalog.index

    def apply(self, index: int, records: Sequence[Record]) -> Change:
        """Take one step: all records of it, then the index.

        Raises:
            LocalProtocolError: the index does not grow.
        """
        self.catalog.advance(index)
        return merge(index, [self._appliers[record.table](record) for record in records])

    def entry(self, kind: str, name: str) -> ConfigEntry | None:
        """Return one entry in force, None when nobody wrote it."""
        stored = self.entries.get((kind, name))
        return stored.entry if stored else None

    def intentions(self, name: str) -> ServiceIntentions | None:
        """Return the intentions written for a destination (or `*`)."""
        entry = self.entry("service-intentions", name)
        return entry if isinstance(entry, ServiceIntentions) else None

    def wildcard_intentions(self) -> ServiceIntentions | None:
        """Return the intentions written for every destination."""
        return self.intentions(WILDCARD)

    def defaults(self, name: str) -> ServiceDefaults | None:
        """Return a service's defaults."""
        entry = self.entry("service-defaults", name)
        return entry if isinstance(entry, ServiceDefaults) else None

    def proxy_defaults(self) -> ProxyDefaults | None:
        """Return what holds for every service that says nothing itself."""
        entry = self.entry("proxy-defaults", "global")
        return entry if isinstance(entry, ProxyDefaults) else None

    def router(self, name: str) -> ServiceRouter | None:
        """Return a service's routes."""
        entry = self.entry("service-router", name)
        return entry if isinstance(entry, ServiceRouter) else None

    def all_entries(self) -> tuple[ConfigEntry, ...]:
        """Return every entry in force, by kind and name."""
        return tuple(self.entries[key].entry for key in sorted(self.entries))

    def _apply_entry(self, record: Record) -> Change:
        kind, _, name = record.key.partition("/")
        if record.value is None:
            self.entries.pop((kind, name), None)
        else:
            self.entries[kind, name] = r.entry_from(record.value)
        return Change(entries=frozenset({(kind, name)}))

    def _apply_instance(self, record: Record) -> Change:
        if record.value is None:
            return Change(catalog=self.catalog.remove(record.key))
        return Change(catalog=self.catalog.put(r.instance_from(record.value)))

    def _apply_name(self, record: Record) -> Change:
        if record.value is None:
            return Change(catalog=self.catalog.free_virtual_ip(record.key))
        return Change(catalog=self.catalog.set_virtual_ip(record.key, record.value))

    def _apply_token(self, record: Record) -> Change:
        self.tokens.pop(record.key, None)
        if record.value is not None:
            self.tokens[record.key] = r.token_from(record.value)
        return Change()

    def _apply_rejoin(self, record: Record) -> Change:
        self.rejoin.pop(record.key, None)
        if record.value is not None:
            self.rejoin[record.key] = r.rejoin_from(record.value)
        return Change()

    def _apply_issued(self, record: Record) -> Change:
        self.issued.pop(int(record.key), None)
        if record.value is not None:
            self.issued[int(record.key)] = r.issued_from(record.value)
        return Change()

    def _apply_authority(self, record: Record) -> Change:
        self.authorities.pop(record.key, None)
        if record.value is not None:
            self.authorities[record.key] = record.value
        return Change()

    def _apply_rotation(self, record: Record) -> Change:
        self.rotation = r.RotationRecord() if record.value is None else r.rotation_from(record.value)
        return Change(has_new_roots=True)


def merge(index: int, changes: Iterable[Change]) -> Change:
    """Make one change of several."""
    catalog, entries, has_new_roots = CatalogChange(), frozenset[r.EntryKey](), False
    for change in changes:
        catalog, entries = catalog | change.catalog, entries | change.entries
        has_new_roots = has_new_roots or change.has_new_roots
    return Change(index, catalog, entries, has_new_roots)
