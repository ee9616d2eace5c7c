"""From a plan to all rules of a host, in the order in which the kernel must read them."""

from __future__ import annotations

from mesh.redirect.filter import filter6_rules, filter_rules
from mesh.redirect.model import Family, RedirectPlan, Rule
from mesh.redirect.nat import mangle_rules, nat_rules


def rules_of(plan: RedirectPlan, family: Family) -> tuple[Rule, ...]:
    """Return one family's rules; within a chain their order is the kernel's order.

    Source: istio/istio tools/istio-iptables for table nat; table filter is this project's own (fail closed).
    """
    if family is Family.V6:
        return filter6_rules(plan)
    return (*mangle_rules(), *nat_rules(plan), *filter_rules(plan))


def all_rules(plan: RedirectPlan) -> tuple[Rule, ...]:
    """Return the rules of both families, IPv4 first."""
    return (*rules_of(plan, Family.V4), *rules_of(plan, Family.V6))


def chains_of(rules: tuple[Rule, ...], table: str) -> tuple[str, ...]:
    """Return our chains in `table` in order of first use: as a place of rules or as the target of a jump."""
    names: dict[str, None] = {}
    for rule in rules:
        if rule.table == table and not rule.is_entry:
            names.setdefault(rule.chain)
    return tuple(names)


def tables_of(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """Return the tables that have rules, in order of first use."""
    return tuple(dict.fromkeys(rule.table for rule in rules))
