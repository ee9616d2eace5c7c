"""The rule itself, as plainly as it can be said: from the top, the first row that names the caller decides.

Everything else in the mesh that answers "may A call B" (the RBAC filters of both data planes, the checks of the
command line) is tested against `decide`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.base.names import WILDCARD
from mesh.config.entries import Action, Protocol, ServiceIntentions, SourceIntention
from mesh.intentions.match import HttpRequest, matches

DEFAULT_DENY = "default deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer, the name of the rule that gave it, and the reason as a sentence for a person."""

    is_allowed: bool
    rule: str
    reason: str


def decide(
    intentions: ServiceIntentions | None, source: str, request: HttpRequest | None, *, protocol: Protocol
) -> Decision:
    """Say whether `source` may call the destination of `intentions`.

    Args:
        intentions: the rows in force at the destination; None when nobody wrote any. A `*` destination is merged in
            before (`mesh.intentions.precedence.in_force`).
        source: the calling service, from its certificate.
        request: the request, or None when only the connection is known; then permissions answer "denied".
        protocol: what the destination speaks.
    """
    if intentions is None:
        return Decision(False, DEFAULT_DENY, "no intentions are written for this destination, and the default is deny")
    for number, row in enumerate(intentions.sources, start=1):
        if row.name in (source, WILDCARD):
            return _decide_row(row, rule_name(intentions, number), request, protocol)
    return Decision(False, DEFAULT_DENY, f"no row of {intentions.name} names {source} or '*', and the default is deny")


def _decide_row(row: SourceIntention, rule: str, request: HttpRequest | None, protocol: Protocol) -> Decision:
    """Let one row answer: by its action, or by the first of its permissions that matches; else the default."""
    if row.action is not None:
        return Decision(row.action is Action.ALLOW, rule, f"the row of {row.name} says {row.action}")
    if protocol is not Protocol.HTTP:
        return Decision(False, rule, f"the row of {row.name} has permissions, and on {protocol} those mean deny")
    for number, permission in enumerate(row.permissions, start=1):
        if request is not None and matches(permission.http, request):
            reason = f"permission {number} of the row of {row.name} says {permission.action}"
            return Decision(permission.action is Action.ALLOW, permission_name(rule, number), reason)
    return Decision(False, DEFAULT_DENY, f"no permission of the row of {row.name} matches, and the default is deny")


def rule_name(intentions: ServiceIntentions, number: int) -> str:
    """Name row `number` (from 1) for people: `intentions/payment-service#2:order-service`."""
    row = intentions.sources[number - 1]
    return row.rule or f"intentions/{intentions.name}#{number}:{row.name}"


def permission_name(rule: str, number: int) -> str:
    """Name permission `number` (from 1) of a row."""
    return f"{rule}/permission {number}"
