"""The text that brings a host to its plan, or back to what it was: one run of iptables-restore per family.

iptables-restore commits table by table, so there is a moment with new rules in one table and old ones in the next.
The guard chain closes it (T11): the first block of the text puts MESHYARD_GUARD, which drops everything but
loopback, at the head of INPUT and OUTPUT; the last block takes it away in the same commit that writes the final
rules of table filter. A run that dies in between leaves the host closed.
"""

from __future__ import annotations

from mesh.redirect.model import CHAIN_PREFIX, GUARD_CHAIN, Rule
from mesh.redirect.plan import chains_of
from mesh.redirect.render import render_table
from mesh.redirect.saved import Saved, SavedTable
from mesh.redirect.verify import TABLES, verify

_GUARDED = (("INPUT", "-i lo"), ("OUTPUT", "-o lo"))


def reconcile(rules: tuple[Rule, ...], saved: Saved, *, with_comments: bool = True) -> str:
    """Return text for `iptables-restore --noflush` that makes `saved` into `rules`; empty when nothing is to do.

    Args:
        rules: one family's rules.
        saved: what that family's iptables-save printed just before.
        with_comments: put each rule's name into the kernel.
    """
    if not verify(rules, saved):
        return ""
    blocks = [_block("filter", _guard(saved.table("filter")))]
    for table in TABLES:
        lines = _leave(saved.table(table), but=GUARD_CHAIN)
        lines += render_table(rules, table, with_comments=with_comments)
        lines += _drop_chains(saved.table(table), keep=frozenset({*chains_of(rules, table), GUARD_CHAIN}))
        if table == "filter":
            lines += _unguard()
        if lines:
            blocks.append(_block(table, lines))
    return "".join(blocks)


def remove(saved: Saved) -> str:
    """Return text that removes exactly what was added (T18); empty when nothing of ours is there.

    Table filter goes last: until then nothing that nat no longer catches may pass.
    """
    blocks: list[str] = []
    for table in TABLES:
        there = saved.table(table)
        if lines := _leave(there) + _drop_chains(there, keep=frozenset()):
            blocks.append(_block(table, lines))
    return "".join(blocks)


def _guard(there: SavedTable) -> list[str]:
    lines = [f":{GUARD_CHAIN} - [0:0]"]
    lines += [f"-A {GUARD_CHAIN} {loopback} -j RETURN" for _, loopback in _GUARDED]
    lines.append(f"-A {GUARD_CHAIN} -j DROP")
    lines += [f"-D {rule.chain} -j {GUARD_CHAIN}" for rule in there.rules if rule.target == GUARD_CHAIN]
    return lines + [f"-I {chain} 1 -j {GUARD_CHAIN}" for chain, _ in _GUARDED]


def _unguard() -> list[str]:
    lines = [f"-D {chain} -j {GUARD_CHAIN}" for chain, _ in _GUARDED]
    return [*lines, f"-F {GUARD_CHAIN}", f"-X {GUARD_CHAIN}"]


def _leave(there: SavedTable, *, but: str = "") -> list[str]:
    """Delete each jump from the kernel's chains into ours, as often as it stands there, but those to `but`."""
    return [
        f"-D {rule.chain} {rule.specification}"
        for rule in there.rules
        if rule.is_ours and not rule.chain.startswith(CHAIN_PREFIX) and rule.target != but
    ]


def _drop_chains(there: SavedTable, *, keep: frozenset[str]) -> list[str]:
    ours = [chain for chain in there.chains if chain.startswith(CHAIN_PREFIX) and chain not in keep]
    return [f"-F {chain}" for chain in ours] + [f"-X {chain}" for chain in ours]


def _block(table: str, lines: list[str]) -> str:
    return "\n".join([f"*{table}", *lines, "COMMIT"]) + "\n"
