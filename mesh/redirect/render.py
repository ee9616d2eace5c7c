"""Write rules as text: for iptables-restore, and for people."""

from __future__ import annotations

from mesh.redirect.model import Rule
from mesh.redirect.plan import chains_of, tables_of
from mesh.redirect.route import VirtualRoute


def render_table(rules: tuple[Rule, ...], table: str, *, with_comments: bool) -> list[str]:
    """Return the lines of one table between `*table` and `COMMIT`: chains (created or emptied), rules, entries last.

    Entries are inserted at the head of the kernel's chains (T16: an appended rule may never be reached) and come
    last, so that no packet enters a chain that is half written.
    """
    own = [rule for rule in rules if rule.table == table]
    lines = [f":{chain} - [0:0]" for chain in chains_of(rules, table)]
    lines += [_append(rule, with_comments=with_comments) for rule in own if not rule.is_entry]
    return lines + [_insert(rule, with_comments=with_comments) for rule in own if rule.is_entry]


def render(rules: tuple[Rule, ...], *, with_comments: bool = True) -> str:
    """Return text for `iptables-restore --noflush` on a host that has none of the rules yet.

    Args:
        rules: one family's rules.
        with_comments: put each rule's name into the kernel; only where the comment match is available.
    """
    lines: list[str] = []
    for table in tables_of(rules):
        lines += [f"*{table}", *render_table(rules, table, with_comments=with_comments), "COMMIT"]
    return "\n".join(lines) + "\n"


def render_listing(rules: tuple[Rule, ...]) -> str:
    """Return the rules for a person: each chain under its table, each rule with its reason below it."""
    lines: list[str] = []
    place = ("", "")
    for rule in rules:
        if (rule.table, rule.chain) != place:
            place = (rule.table, rule.chain)
            lines += ["", f"{rule.family} table {rule.table}, chain {rule.chain}"]
        source = f" [{rule.source}]" if rule.source else ""
        lines += [f"  {rule.specification}", f"      {rule.name}{source}: {rule.reason}"]
    return "\n".join(lines).lstrip("\n") + "\n"


def render_markdown(rules: tuple[Rule, ...]) -> str:
    """Return the rules as the tables of docs/reference/redirect.md, which a test holds equal to this."""
    lines: list[str] = []
    place = ("", "", "")
    for rule in rules:
        if (rule.family, rule.table, rule.chain) != place:
            place = (rule.family, rule.table, rule.chain)
            lines += ["", f"### {rule.family}: table {rule.table}, chain {rule.chain}", ""]
            lines += ["| rule | match and target | reason |", "|---|---|---|"]
        name = f"{rule.name} ({rule.source})" if rule.source else rule.name
        lines.append(f"| {name} | `{rule.specification}` | {rule.reason} |")
    return "\n".join(lines).lstrip("\n") + "\n"


def render_route(route: VirtualRoute) -> str:
    """Return the route for a person, in the shape of `render_listing`."""
    command = " ".join(route.command)
    return f"\n{route.family} routes\n  {command}\n      {route.name} [{route.source}]: {route.reason}\n"


def comment_of(rule: Rule) -> str:
    """Return the name under which a rule stands in the kernel, at most 255 bytes as the comment match allows."""
    return f"meshyard {rule.source} {rule.name}".replace("  ", " ")


def _append(rule: Rule, *, with_comments: bool) -> str:
    return f"-A {rule.chain} {_with_comment(rule, with_comments=with_comments)}"


def _insert(rule: Rule, *, with_comments: bool) -> str:
    return f"-I {rule.chain} 1 {_with_comment(rule, with_comments=with_comments)}"


def _with_comment(rule: Rule, *, with_comments: bool) -> str:
    if not with_comments:
        return rule.specification
    return f'{rule.match} -m comment --comment "{comment_of(rule)}" -j {rule.target}'.strip()
