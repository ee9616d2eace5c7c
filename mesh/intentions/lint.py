"""What a careful reader remarks about an entry that is accepted, and what is wrong with one that is not.

| code | remark | in strict mode |
|---|---|---|
| L1 | `*` does not come last | error |
| L2 | a row after `*`: unreachable from top to bottom, reachable in Consul's order | error |
| L3 | a source has two rows | error |
| L4 | no `*` row: other callers fall to the default, deny | note |
| L5 | a permission can never match: an earlier one takes all that it takes | error |
| L6 | permissions without one for everything: what none matches falls to the default | note |
| L9 | a row that allowed nobody for a while | note |

What takes a look at other entries or at the registry (permissions on tcp, a source that nobody registered) is found by
`mesh.config.references`.

Entries that `mesh.config.load` accepted never show L1, L2, L3 or L5; values made elsewhere may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mesh.base.errors import ConfigError, Position
from mesh.base.names import WILDCARD
from mesh.config.covers import covers
from mesh.config.entries import Action, ConfigEntry, HttpMatch, ServiceIntentions, SourceIntention
from mesh.intentions.evaluate import permission_name, rule_name


class Level(StrEnum):
    """How much a remark matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Remark:
    """One remark: its code of the table above, and a sentence."""

    code: str
    level: Level
    sentence: str
    at: Position

    def to_error(self) -> ConfigError:
        """Return it in the form in which all remarks about files are shown."""
        return ConfigError(f"{self.code}: {self.sentence}", self.at)


def lint(
    intentions: ServiceIntentions,
    *,
    unused_rules: Collection[str] = (),
    is_strict: bool = True,
) -> tuple[Remark, ...]:
    """Return all remarks about one entry.

    Args:
        intentions: the entry.
        unused_rules: names of rows (`rule_name`) that allowed nobody for as long as somebody watched.
        is_strict: False turns errors into warnings, for entries that Consul accepts ("consul mode").
    """
    remarks = [
        *_order(intentions),
        *_duplicates(intentions),
        *_default(intentions),
        *(remark for number in range(1, len(intentions.sources) + 1) for remark in _row(intentions, number)),
        *_unused(intentions, unused_rules),
    ]
    if not is_strict:
        softened = {Level.ERROR: Level.WARNING}
        remarks = [Remark(r.code, softened.get(r.level, r.level), r.sentence, r.at) for r in remarks]
    return tuple(sorted(remarks, key=lambda remark: remark.code))


def fall_throughs(entries: Iterable[ConfigEntry]) -> tuple[ConfigError, ...]:
    """Return what the author of accepted entries is told at a write: L6, the remark that surprises in production."""
    written = [entry for entry in entries if isinstance(entry, ServiceIntentions)]
    return tuple(remark.to_error() for entry in written for remark in lint(entry) if remark.code == "L6")


def _order(intentions: ServiceIntentions) -> Iterator[Remark]:
    """L1 and L2: rows below `*`."""
    names = [row.name for row in intentions.sources]
    if WILDCARD not in names[:-1]:
        return
    wildcard = names.index(WILDCARD)
    below = [row for row in intentions.sources[wildcard + 1 :] if row.name != WILDCARD]
    if below:
        yield Remark("L1", Level.ERROR, "the row of '*' does not come last", intentions.sources[wildcard].at)
    for row in below:
        sentence = (
            f"the row of {row.name} stands below '*': read from the top it can never match, "
            "sorted by Consul it would rule its source"
        )
        yield Remark("L2", Level.ERROR, sentence, row.at)


def _duplicates(intentions: ServiceIntentions) -> Iterator[Remark]:
    seen: set[str] = set()
    for row in intentions.sources:
        if row.name in seen:
            yield Remark("L3", Level.ERROR, f"{row.name} has two rows, only the first can match", row.at)
        seen.add(row.name)


def _default(intentions: ServiceIntentions) -> Iterator[Remark]:
    if all(row.name != WILDCARD for row in intentions.sources):
        sentence = f"no row of '*': other callers of {intentions.name} fall to the default, deny"
        yield Remark("L4", Level.NOTE, sentence, intentions.at)


def _row(intentions: ServiceIntentions, number: int) -> Iterator[Remark]:
    """L5 and L6: the permissions of one row."""
    row, rule = intentions.sources[number - 1], rule_name(intentions, number)
    if not row.permissions:
        return
    for later, permission in enumerate(row.permissions, start=1):
        for earlier in range(1, later):
            if covers(row.permissions[earlier - 1].http, permission.http):
                named = permission_name(rule, later)
                sentence = f"{named} can never match: permission {earlier} takes all that it takes"
                yield Remark("L5", Level.ERROR, sentence, permission.at)
                break
    yield from _catch_all(row, rule)


def _catch_all(row: SourceIntention, rule: str) -> Iterator[Remark]:
    if not any(covers(permission.http, HttpMatch()) for permission in row.permissions):
        sentence = f"{rule}: a request that no permission matches falls to the default, deny, and not to '*'"
        yield Remark("L6", Level.NOTE, sentence, row.at)


def _unused(intentions: ServiceIntentions, unused_rules: Collection[str]) -> Iterator[Remark]:
    for number, row in enumerate(intentions.sources, start=1):
        rule = rule_name(intentions, number)
        allows = row.action is Action.ALLOW or any(p.action is Action.ALLOW for p in row.permissions)
        if allows and rule in unused_rules:
            yield Remark("L9", Level.NOTE, f"{rule} allowed nobody lately: is it still needed", row.at)
