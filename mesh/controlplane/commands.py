"""Every way to change the mesh, as pure functions: the state as it is in, a plan out, or an error and no change.

Nothing here waits, reads a clock or a file. `Writer` runs a command under its lock, so what a command saw is
still true when its records are written.

A service *exists* when it has an instance, `service-defaults` or a `service-router`; then it has a virtual address, and
keeps it until neither an instance nor any entry names it (an intention alone keeps a name but does not make one).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from mesh.base.errors import ConfigErrors, IdentityError
from mesh.ca.tokens import make_token, redeem, token_digest
from mesh.config.entries import KIND_OF, ConfigEntry, ServiceDefaults, ServiceIntentions, ServiceRouter
from mesh.config.hcl.tree import Source
from mesh.config.references import check_change
from mesh.controlplane import records as r
from mesh.controlplane import rejoining
from mesh.controlplane.errors import ConflictError, NotFoundError
from mesh.controlplane.state import MeshState
from mesh.controlplane.store import Record
from mesh.controlplane.writer import Plan
from mesh.registry.catalog import Instance
from mesh.registry.health import CheckStatus, clip
from mesh.registry.liveness import AGENT_ALIVE
from mesh.registry.vip import lowest_free

MAX_INSTANCES_PER_HOST = 64
KEEP_EXPIRED = timedelta(hours=1)  # so that a refusal can still say why
DROP_EVERY = 64  # certificates


def write_entries(
    state: MeshState, entries: Sequence[ConfigEntry], source: Source | None = None
) -> Plan[tuple[r.StoredEntry, ...]]:
    """Put entries in force, all or none; the answer says what was stored, unchanged entries keep their index.

    Args:
        state: as it is.
        entries: checked one by one already.
        source: the file they come from, so that errors can show its lines.

    Raises:
        ConfigErrors: an entry refers to what does not exist, or contradicts another.
    """
    after = _entries_after(state, put=entries)
    require_references(state, after, source)
    stored = [_stored(state, entry) for entry in entries]
    records = [r.entry_record(new) for new in stored if state.entries.get(new.key) != new]
    return Plan([*records, *_name_records(state, after, state.catalog.instances())], tuple(stored))


def validate_entries(state: MeshState, entries: Sequence[ConfigEntry], source: Source | None = None) -> None:
    """Check what `write_entries` would check, and write nothing.

    Raises:
        ConfigErrors: as `write_entries`.
    """
    require_references(state, _entries_after(state, put=entries), source)


def delete_entry(state: MeshState, kind: str, name: str) -> Plan[None]:
    """Take an entry out of force.

    Raises:
        NotFoundError: nobody wrote it.
        ConflictError: another entry still needs it.
    """
    if (kind, name) not in state.entries:
        raise NotFoundError(f"deleting {kind}/{name}: there is no such entry")
    after = _entries_after(state, delete=(kind, name))
    known = set(state.catalog.services())
    if kind == KIND_OF[ServiceDefaults] and not state.catalog.instances(name):
        known.discard(name)  # it has its name by the declaration alone; a route to it would dangle
    try:
        require_references(state, after, known=known)
    except ConfigErrors as error:
        raise ConflictError(f"deleting {kind}/{name}: an entry still needs it: {error.reason}") from error
    records = [Record(r.CONFIG, f"{kind}/{name}", None)]
    return Plan([*records, *_name_records(state, after, state.catalog.instances())], None)


def register(state: MeshState, instance: Instance) -> Plan[None]:
    """Add or replace an instance; checks it had keep their status, so that registering again is no outage.

    Raises:
        IdentityError: one host registers more than any host should.
    """
    before = state.catalog.instance(instance.id)
    if before is None and _count_on(state, instance.host) >= MAX_INSTANCES_PER_HOST:
        raise IdentityError(f"registering {instance.id}: its host has {MAX_INSTANCES_PER_HOST} instances already")
    if before is not None:
        known = {check.id: check for check in before.checks if check.id != AGENT_ALIVE}
        kept = tuple(
            replace(check, status=known[check.id].status, output=known[check.id].output)
            if check.id in known and known[check.id].kind == check.kind
            else check
            for check in instance.checks
        )
        instance = replace(instance, checks=kept)
    others = [other for other in state.catalog.instances() if other.id != instance.id]
    records = [] if before == instance else [r.instance_record(instance)]
    return Plan([*records, *_name_records(state, _entries_after(state), [*others, instance])], None)


def deregister(state: MeshState, instance_id: str) -> Plan[None]:
    """Remove an instance; one that is gone already is no error."""
    if state.catalog.instance(instance_id) is None:
        return Plan([], None)
    left = [other for other in state.catalog.instances() if other.id != instance_id]
    records = [Record(r.INSTANCE, instance_id, None)]
    return Plan([*records, *_name_records(state, _entries_after(state), left)], None)


def leave(state: MeshState, instance_id: str, service: str, host: str) -> Plan[None]:
    """Remove an instance whose host goes for good: it comes back by a new token only."""
    plan = deregister(state, instance_id)
    return Plan([*plan.records, *rejoining.end(state, service, host)], None)


def report(state: MeshState, instance_id: str, check_id: str, status: CheckStatus, output: str) -> Plan[None]:
    """Take a check's result in.

    Raises:
        NotFoundError: the instance is not registered.
        LocalProtocolError: it has no such check.
    """
    instance = state.catalog.instance(instance_id)
    if instance is None:
        raise NotFoundError(f"reporting a check of {instance_id}: it is not registered")
    updated = instance.with_check(check_id, status, clip(output))
    return Plan([] if updated == instance else [r.instance_record(updated)], None)


def create_token(
    state: MeshState,
    *,
    service: str,
    host: str,
    datacenter: str,
    ttl: timedelta,
    now: datetime,
    secret: bytes,
    address: str = "",
) -> Plan[tuple[str, datetime]]:
    """Make a join token; the answer is its text, to be shown once, and when it expires."""
    text, token = make_token(service, host, now=now, ttl=ttl, secret=secret)
    old = [
        Record(r.TOKEN, digest, None)
        for digest, kept in state.tokens.items()
        if kept.token.expires_at + KEEP_EXPIRED < now
    ]
    return Plan([*old, r.token_record(r.TokenRecord(token, datacenter, address))], (text, token.expires_at))


def redeem_token(
    state: MeshState, text: str, *, service: str, host: str, datacenter: str, now: datetime, address: str = ""
) -> tuple[Record, str, str]:
    """Use a join token up; returns the record that says so, the host's datacenter, and the address it is bound to.

    Raises:
        IdentityError: unknown, used, expired, or made for another service, host, datacenter or address.
    """
    kept = state.tokens.get(token_digest(text))
    used = redeem(text, kept.token if kept else None, service=service, host=host, now=now)
    bound = kept.datacenter if kept else ""
    if bound and datacenter and bound != datacenter:
        raise IdentityError(f"redeeming a join token: it is for datacenter {bound!r}, not {datacenter!r}")
    place = kept.address if kept else ""
    if place and address != place:
        raise IdentityError(f"redeeming a join token: it is for a host at {place}, not at {address}")
    return r.token_record(r.TokenRecord(used, bound, place)), bound or datacenter, place


def issue(state: MeshState, issued: r.IssuedCertificate, *, now: datetime) -> list[Record]:
    """Return the records of a certificate given out; serial numbers long expired are dropped on the way.

    Where there are many, not each time: looking through a thousand costs half as much as signing.
    """
    known, limit = state.issued, now - KEEP_EXPIRED
    if len(known) > DROP_EVERY and len(known) % DROP_EVERY:
        return [r.issued_record(issued)]
    old = [Record(r.ISSUED, str(serial), None) for serial, one in known.items() if one.not_after < limit]
    return [*old, r.issued_record(issued)]


def require_references(
    state: MeshState,
    after: Sequence[ConfigEntry],
    source: Source | None = None,
    *,
    known: Collection[str] | None = None,
) -> None:
    """Check that the entries still fit together after a change.

    Args:
        state: before the change.
        after: every entry, as it would be.
        source: the file being written, so that errors can show its lines.
        known: services that exist whatever the entries say; None for all that have a name now.

    Raises:
        ConfigErrors: the change makes a reference dangle or a contradiction.
    """
    services = state.catalog.services() if known is None else known
    if errors := check_change(state.all_entries(), after, services, source):
        raise ConfigErrors(errors)


def _entries_after(
    state: MeshState, *, put: Sequence[ConfigEntry] = (), delete: r.EntryKey | None = None
) -> tuple[ConfigEntry, ...]:
    after = {key: stored.entry for key, stored in state.entries.items() if key != delete}
    after.update({r.key_of(entry): entry for entry in put})
    return tuple(after.values())


def _stored(state: MeshState, entry: ConfigEntry) -> r.StoredEntry:
    before = state.entries.get(r.key_of(entry))
    if before is not None and before.entry == entry:
        return before
    return r.StoredEntry(entry, state.index + 1)


def _made_by(entries: Iterable[ConfigEntry]) -> frozenset[str]:
    return frozenset(entry.name for entry in entries if isinstance(entry, ServiceDefaults | ServiceRouter))


def _kept_by(entries: Iterable[ConfigEntry]) -> frozenset[str]:
    """Return every service that an entry names."""
    kept = {entry.name for entry in entries if isinstance(entry, ServiceDefaults | ServiceRouter | ServiceIntentions)}
    for entry in entries:
        if isinstance(entry, ServiceRouter):
            kept |= {route.destination.service for route in entry.routes if route.destination.service}
    return frozenset(kept)


def _name_records(state: MeshState, entries: Sequence[ConfigEntry], instances: Iterable[Instance]) -> list[Record]:
    """Return the records that give names to services that came and take them from services that went."""
    alive = frozenset(instance.service for instance in instances)
    names = state.catalog.names()
    gone = sorted(set(names) - alive - _kept_by(entries))
    taken = {address for service, address in names.items() if service not in gone}
    records = [Record(r.NAME, service, None) for service in gone]
    for service in sorted((alive | _made_by(entries)) - set(names)):
        address = lowest_free(taken)
        taken.add(address)
        records.append(Record(r.NAME, service, address))
    return records


def _count_on(state: MeshState, host: str) -> int:
    return sum(1 for instance in state.catalog.instances() if instance.host == host)
