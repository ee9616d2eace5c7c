"""What spans several entries: names that dangle, routes and permissions on a service that is no HTTP, circles.

Two levels. An *error* refuses a write: what was written cannot do what it says. A *warning* does not: intentions are
written before the services they name are deployed, so an unknown source may simply be early.

| finding | level |
|---|---|
| a route leads to an unknown service | error |
| an upstream override names an unknown service | error |
| a router for a service whose protocol is tcp, or that nobody declared http | error |
| permissions for a service declared tcp | error |
| permissions for a service that declares no protocol (tcp until then, so they deny) | warning |
| routers that lead to each other in a circle | error |
| intentions name an unknown source, or are written for an unknown destination | warning |

A service is known when it is registered, or when somebody declared it with service-defaults.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mesh.base.errors import ConfigError, Position
from mesh.base.names import WILDCARD
from mesh.config.entries import (
    KIND_OF,
    ConfigEntry,
    Protocol,
    ProxyDefaults,
    ServiceDefaults,
    ServiceIntentions,
    ServiceRouter,
)
from mesh.config.hcl.tree import Source


class Level(StrEnum):
    """What a finding does to a write."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding about one entry."""

    level: Level
    entry: ConfigEntry
    reason: str
    at: Position
    right: str = ""

    def to_error(self, source: Source | None = None) -> ConfigError:
        """Return it as an error, with its line when `source` is the file it stands in."""
        return ConfigError(self.reason, self.at, source_line=source.line(self.at) if source else "", right=self.right)


def check(
    entries: Collection[ConfigEntry], known_services: Collection[str], source: Source | None = None
) -> tuple[ConfigError, ...]:
    """Return the errors between entries.

    Args:
        entries: all entries, as they would be after a write.
        known_services: names of registered services.
        source: the file being written, so that its lines can be shown.
    """
    return _errors(findings(entries, known_services), source)


def check_change(
    before: Collection[ConfigEntry],
    after: Collection[ConfigEntry],
    known_services: Collection[str],
    source: Source | None = None,
) -> tuple[ConfigError, ...]:
    """Return the errors that a change brings: those about entries it writes, and those that were not there before.

    An entry that dangles since a service left does not stand in the way of other writes.
    """
    old = findings(before, known_services)
    fresh = [finding for finding in findings(after, known_services) if finding not in old]
    written = {(KIND_OF[type(entry)], entry.name) for entry in after if entry not in before}
    again = [found for found in old if (KIND_OF[type(found.entry)], found.entry.name) in written]
    return _errors([*fresh, *(found for found in again if found in findings(after, known_services))], source)


def warnings(entries: Collection[ConfigEntry], known_services: Collection[str]) -> tuple[ConfigError, ...]:
    """Return what an author should know and no write is refused for."""
    return tuple(f.to_error() for f in findings(entries, known_services) if f.level is Level.WARNING)


def _errors(found: Iterable[Finding], source: Source | None) -> tuple[ConfigError, ...]:
    return tuple(finding.to_error(source) for finding in found if finding.level is Level.ERROR)


def declared_protocol(entries: Iterable[ConfigEntry], service: str) -> Protocol | None:
    """Return what a service was declared to speak: by its service-defaults, else by proxy-defaults; else None."""
    general: Protocol | None = None
    for entry in entries:
        if isinstance(entry, ServiceDefaults) and entry.name == service and entry.protocol is not None:
            return entry.protocol
        if isinstance(entry, ProxyDefaults):
            general = entry.protocol
    return general


def protocol_of(entries: Iterable[ConfigEntry], service: str) -> Protocol:
    """Return the protocol in force: as declared, else tcp (Consul's default)."""
    return declared_protocol(entries, service) or Protocol.TCP


def findings(entries: Collection[ConfigEntry], known_services: Collection[str]) -> tuple[Finding, ...]:
    """Return all findings, errors and warnings, in the order of the entries."""
    known = {*known_services, *(entry.name for entry in entries if isinstance(entry, ServiceDefaults))}
    found: list[Finding] = []
    for entry in entries:
        match entry:
            case ServiceRouter():
                found += _of_router(entry, entries, known)
            case ServiceDefaults():
                found += _of_overrides(entry, known)
            case ServiceIntentions():
                found += _of_intentions(entry, entries, known)
            case ProxyDefaults():
                pass  # names no service
    return (*found, *_circles([entry for entry in entries if isinstance(entry, ServiceRouter)]))


def _of_router(router: ServiceRouter, entries: Collection[ConfigEntry], known: set[str]) -> Iterator[Finding]:
    if protocol_of(entries, router.name) is not Protocol.HTTP:
        reason = f'a service-router for "{router.name}", whose protocol is tcp: only HTTP requests have routes'
        right = f'service-defaults for "{router.name}" with Protocol = "http", written before or in the same file'
        yield Finding(Level.ERROR, router, reason, router.at, right)
    for route in router.routes:
        service = route.destination.service
        if service is None:
            continue
        if service not in known:
            reason = f'a route of "{router.name}" leads to "{service}", which no one registered or declared'
            yield Finding(Level.ERROR, router, reason, route.at, _right_known(service))
        elif protocol_of(entries, service) is not Protocol.HTTP:
            reason = f'a route of "{router.name}" leads to "{service}", whose protocol is tcp'
            yield Finding(Level.ERROR, router, reason, route.at, "a service that speaks http")


def _of_overrides(defaults: ServiceDefaults, known: set[str]) -> Iterator[Finding]:
    for policy in defaults.upstream_overrides:
        if policy.name is not None and policy.name not in known:
            reason = (
                f'an upstream override of "{defaults.name}" names "{policy.name}", which no one registered or declared'
            )
            yield Finding(Level.ERROR, defaults, reason, policy.at, _right_known(policy.name))


def _of_intentions(
    intentions: ServiceIntentions, entries: Collection[ConfigEntry], known: set[str]
) -> Iterator[Finding]:
    yield from _permissions_on_tcp(intentions, declared_protocol(entries, intentions.name))
    if intentions.name != WILDCARD and intentions.name not in known:
        reason = f'intentions for "{intentions.name}", which no one registered or declared'
        yield Finding(Level.WARNING, intentions, reason, intentions.at, _right_known(intentions.name))
    for row in intentions.sources:
        if row.name != WILDCARD and row.name not in known:
            reason = (
                f'intentions for "{intentions.name}" name the source "{row.name}", which no one registered or declared'
            )
            yield Finding(Level.WARNING, intentions, reason, row.at, _right_known(row.name))


def _permissions_on_tcp(intentions: ServiceIntentions, declared: Protocol | None) -> Iterator[Finding]:
    if declared is Protocol.HTTP:
        return
    level = Level.ERROR if declared is Protocol.TCP else Level.WARNING
    what = "is tcp" if declared is Protocol.TCP else "is not declared, and tcp until it is"
    for row in intentions.sources:
        if row.permissions:
            reason = f'permissions for "{intentions.name}", whose protocol {what}: on tcp they deny every connection'
            right = f'an Action, or Protocol = "http" in the service-defaults of "{intentions.name}"'
            yield Finding(level, intentions, reason, row.permissions[0].at, right)


def _right_known(service: str) -> str:
    return f'the name of a service, or a service-defaults entry for "{service}" first'


def _circles(routers: list[ServiceRouter]) -> Iterator[Finding]:
    """Find routers that lead to each other; a service's route to itself is no circle."""
    leads = {
        router.name: {r.destination.service for r in router.routes if r.destination.service} - {router.name}
        for router in routers
    }
    for router in routers:
        reached, waiting = set[str](), list(leads[router.name])
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += leads.get(name, ())
        if router.name in reached:
            others = ", ".join(sorted(name for name in reached & set(leads) - {router.name}))
            reason = f'the routers of "{router.name}" and {others} lead to each other in a circle'
            yield Finding(Level.ERROR, router, reason, router.at, "routes that lead one way")
