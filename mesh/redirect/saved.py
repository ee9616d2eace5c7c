"""Read what `iptables-save` prints, so far as it is needed to compare it with a plan.

Two spellings of one rule must compare equal: counters, the order of matches, `-m tcp` after `-p tcp` and comments say
nothing about what a rule does. `meaning` is a rule without them.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import lru_cache

from mesh.base.errors import RemoteProtocolError
from mesh.redirect.model import CHAIN_PREFIX

_SAYS_NOTHING = frozenset({"-m", "--match", "--comment"})


@dataclass(frozen=True, slots=True)
class SavedRule:
    """One `-A` line: its chain and what follows, as printed, without counters."""

    chain: str
    specification: str

    @property
    def target(self) -> str:
        """Return the word after `-j` or `-g`, or the empty string."""
        return next((option[1] for option in meaning(self.specification) if option[0] in ("-j", "-g")), "")

    @property
    def is_ours(self) -> bool:
        """Say whether the rule stands in one of our chains or jumps to one."""
        return self.chain.startswith(CHAIN_PREFIX) or self.target.startswith(CHAIN_PREFIX)


@dataclass(frozen=True, slots=True)
class SavedTable:
    """One table: chain names in order, rules in order."""

    chains: tuple[str, ...] = ()
    rules: tuple[SavedRule, ...] = ()

    def in_chain(self, chain: str) -> tuple[SavedRule, ...]:
        """Return the rules of one chain in order."""
        return tuple(rule for rule in self.rules if rule.chain == chain)


@dataclass(frozen=True, slots=True)
class Saved:
    """One family's tables by name; a table the kernel never made is absent, which is the same as empty."""

    tables: dict[str, SavedTable] = field(default_factory=dict)

    def table(self, name: str) -> SavedTable:
        """Return a table, empty when the kernel has none of that name."""
        return self.tables.get(name, SavedTable())


def parse_saved(text: str) -> Saved:
    """Read the whole output of `iptables-save` or `ip6tables-save`.

    Raises:
        RemoteProtocolError: a line is none of the five kinds the program prints.
    """
    tables: dict[str, tuple[list[str], list[SavedRule]]] = {}
    current: tuple[list[str], list[SavedRule]] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        line = _without_counters(line.strip())
        if not line or line.startswith("#") or line == "COMMIT":
            continue
        if line.startswith("*"):
            current = tables.setdefault(line[1:], ([], []))
        elif line.startswith(":") and current is not None:
            current[0].append(line[1:].split()[0])
        elif line.startswith("-A ") and current is not None:
            _, chain, *rest = line.split(" ", 2)
            current[1].append(SavedRule(chain, rest[0] if rest else ""))
        else:
            raise RemoteProtocolError(
                f"reading iptables-save, line {number}: {line[:80]!r} is not a table, chain or rule"
            )
    return Saved({name: SavedTable(tuple(chains), tuple(rules)) for name, (chains, rules) in tables.items()})


@lru_cache(maxsize=2048)
def meaning(specification: str) -> frozenset[tuple[str, ...]]:
    """Return what a rule does, however it is spelled: its options with their values, negation included."""
    options: list[list[str]] = []
    is_negated = False
    for word in shlex.split(specification):
        if word == "!":
            is_negated = True
        elif word.startswith("-"):
            options.append(["!", word] if is_negated else [word])
            is_negated = False
        elif options:
            options[-1].append(word)
    return frozenset(tuple(option) for option in options if option[0] not in _SAYS_NOTHING)


def _without_counters(line: str) -> str:
    """Drop `[12:720]` before a rule, as `iptables-save -c` prints it."""
    if line.startswith("[") and "] " in line:
        return line.split("] ", 1)[1]
    return line
