"""Intentions as a list of rules that do not overlap: the neutral form that becomes RBAC.

RBAC has no order: a request is denied when any policy of the DENY filter matches, and allowed when any of the
ALLOW filter does. "First match wins" therefore has to be written into each rule: a row for `*` says which sources
it does *not* speak for, and a permission says which earlier permissions must *not* match. After that at most one
rule matches any request, and the order no longer matters.

Source: Consul agent/xds/rbac.go does the same (precedence becomes AND NOT of the higher rows).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.base.names import WILDCARD
from mesh.config.entries import Action, HttpMatch, Protocol, ServiceIntentions, SourceIntention
from mesh.intentions.evaluate import permission_name, rule_name
from mesh.intentions.match import HttpRequest, matches


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy of an RBAC filter, before it is protobuf.

    Args:
        name: for people and receipts: `intentions/<destination>#<row>:<source>[/permission <n>]`.
        action: which filter it belongs to.
        source: a service name, or `*` for any caller with a proven identity.
        excluded_sources: services for which an earlier row speaks; only ever set on `*`.
        match: what the request must show; None takes every request and every connection.
        excluded_matches: earlier permissions of the same row; none of them may match.
    """

    name: str
    action: Action
    source: str
    excluded_sources: tuple[str, ...] = ()
    match: HttpMatch | None = None
    excluded_matches: tuple[HttpMatch, ...] = ()


def rows(intentions: ServiceIntentions | None, protocol: Protocol) -> tuple[Rule, ...]:
    """Return the rules of a destination; none at all when nobody wrote any (default deny)."""
    if intentions is None:
        return ()
    rules: list[Rule] = []
    earlier: tuple[str, ...] = ()
    for number, row in enumerate(intentions.sources, start=1):
        excluded = earlier if row.name == WILDCARD else ()
        rules += _rules_of_row(row, rule_name(intentions, number), excluded, protocol)
        earlier = (*earlier, row.name)
    return tuple(rules)


def _rules_of_row(row: SourceIntention, name: str, excluded: tuple[str, ...], protocol: Protocol) -> Iterator[Rule]:
    """Yield one rule for an action, or one for each permission."""
    if row.action is not None:
        yield Rule(name, row.action, row.name, excluded)
    elif protocol is not Protocol.HTTP:
        yield Rule(name, Action.DENY, row.name, excluded)  # permissions cannot be judged on a byte stream
    else:
        earlier: tuple[HttpMatch, ...] = ()
        for number, permission in enumerate(row.permissions, start=1):
            named = permission_name(name, number)
            yield Rule(named, permission.action, row.name, excluded, permission.http, earlier)
            earlier = (*earlier, permission.http)


def rule_matches(rule: Rule, source: str, request: HttpRequest | None) -> bool:
    """Say whether one rule takes a call; the naive meaning of the list, which translations are tested against."""
    if rule.source != source and (rule.source != WILDCARD or source in rule.excluded_sources):
        return False
    if rule.match is None:
        return True
    if request is None:
        return False
    return matches(rule.match, request) and not any(matches(match, request) for match in rule.excluded_matches)


def allows(rules: tuple[Rule, ...], source: str, request: HttpRequest | None) -> bool:
    """Judge a call as two RBAC filters do: DENY first, then ALLOW, and deny by default."""
    hits = {rule.action for rule in rules if rule_matches(rule, source, request)}
    return Action.DENY not in hits and Action.ALLOW in hits
