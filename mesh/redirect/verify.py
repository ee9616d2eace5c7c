"""Compare a host with its plan: a rule set is only a claim until it is looked at (and then probed, T17)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mesh.redirect.model import CHAIN_PREFIX, Rule
from mesh.redirect.plan import chains_of
from mesh.redirect.saved import Saved, SavedTable, meaning

TABLES = ("mangle", "nat", "filter")


class Fault(StrEnum):
    """How a host can differ from its plan."""

    MISSING = "missing"  # a rule of the plan is not there
    EXTRA = "extra"  # a rule or chain of ours is there that the plan does not have
    ORDER = "order"  # all rules of a chain are there, in another order
    FOREIGN_FIRST = "foreign-first"  # a rule of somebody else comes before our entry (T16)


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, in words for a person."""

    fault: Fault
    table: str
    chain: str
    text: str


def verify(rules: tuple[Rule, ...], saved: Saved) -> tuple[Finding, ...]:
    """Return every difference between one family's rules and what its iptables-save printed; none is good.

    Rules of others in the kernel's chains are no fault, unless they come before our entry.
    """
    findings: list[Finding] = []
    for table in TABLES:
        own = tuple(rule for rule in rules if rule.table == table)
        there = saved.table(table)
        findings += _entries(table, tuple(rule for rule in own if rule.is_entry), there)
        for chain in chains_of(own, table):
            findings += _chain(table, chain, tuple(rule for rule in own if rule.chain == chain), there)
        findings += _extra_chains(table, frozenset(chains_of(own, table)), there)
    return tuple(findings)


def _entries(table: str, planned: tuple[Rule, ...], there: SavedTable) -> list[Finding]:
    findings: list[Finding] = []
    for rule in planned:
        present = [meaning(saved.specification) for saved in there.in_chain(rule.chain)]
        count = present.count(meaning(rule.specification))
        if count == 0:
            findings.append(Finding(Fault.MISSING, table, rule.chain, f"{rule.specification} ({rule.name})"))
        elif present[0] != meaning(rule.specification):
            first = there.in_chain(rule.chain)[0].specification
            findings.append(Finding(Fault.FOREIGN_FIRST, table, rule.chain, f"{first!r} comes before {rule.target}"))
        if count > 1:
            findings.append(Finding(Fault.EXTRA, table, rule.chain, f"{rule.specification} stands {count} times"))
    known = {(rule.chain, meaning(rule.specification)) for rule in planned}
    for saved in there.rules:
        is_entry = saved.is_ours and not saved.chain.startswith(CHAIN_PREFIX)
        if is_entry and (saved.chain, meaning(saved.specification)) not in known:
            findings.append(Finding(Fault.EXTRA, table, saved.chain, saved.specification))
    return findings


def _chain(table: str, chain: str, planned: tuple[Rule, ...], there: SavedTable) -> list[Finding]:
    wanted = [meaning(rule.specification) for rule in planned]
    present = [meaning(saved.specification) for saved in there.in_chain(chain)]
    if wanted == present:
        return []
    findings = [
        Finding(Fault.MISSING, table, chain, f"{rule.specification} ({rule.name})")
        for rule in planned
        if meaning(rule.specification) not in present
    ]
    unclaimed = list(wanted)
    for saved in there.in_chain(chain):
        if meaning(saved.specification) in unclaimed:
            unclaimed.remove(meaning(saved.specification))
        else:
            findings.append(Finding(Fault.EXTRA, table, chain, saved.specification))
    return findings or [Finding(Fault.ORDER, table, chain, "the rules stand in another order than planned")]


def _extra_chains(table: str, planned: frozenset[str], there: SavedTable) -> list[Finding]:
    return [
        Finding(Fault.EXTRA, table, chain, "a chain of ours that the plan does not have")
        for chain in there.chains
        if chain.startswith(CHAIN_PREFIX) and chain not in planned
    ]
