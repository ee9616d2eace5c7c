"""The answer to `mesh intention check`, in sentences: who, whom, what, the row, the reason, and Consul's reading."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mesh.base.errors import Position
from mesh.config.entries import Protocol, ServiceIntentions
from mesh.intentions.evaluate import Decision, decide, rule_name
from mesh.intentions.match import HttpRequest
from mesh.intentions.precedence import consul_order


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with the place of its row, and the text for a person."""

    decision: Decision
    at: Position | None
    text: str


def explain(
    destination: str,
    intentions: ServiceIntentions | None,
    source: str,
    request: HttpRequest | None,
    *,
    protocol: Protocol,
) -> Explanation:
    """Judge a call and say why.

    Args:
        destination: the service that is called.
        intentions: the rows in force there (`precedence.in_force`), or None.
        source: the calling service.
        request: the request, or None for a connection.
        protocol: what the destination speaks.
    """
    decision = decide(intentions, source, request, protocol=protocol)
    at = _place(intentions, decision)
    asked = f" {request.method} {request.path}" if request else ""
    lines = [
        f"{source} -> {destination}{asked}: {'allowed' if decision.is_allowed else 'denied'}",
        f"  rule:   {decision.rule}",
        f"  reason: {decision.reason}",
    ]
    if at is not None:
        lines.append(f"  file:   {at}")
    lines.append(f"  consul: {_consul_reading(intentions, source, request, protocol, decision)}")
    return Explanation(decision, at, "\n".join(lines))


def _place(intentions: ServiceIntentions | None, decision: Decision) -> Position | None:
    """Return where the deciding row stands; where the entry stands for a default; None without an entry."""
    if intentions is None:
        return None
    for number, row in enumerate(intentions.sources, start=1):
        rule = rule_name(intentions, number)
        if decision.rule == rule:
            return row.at
        for index, permission in enumerate(row.permissions, start=1):
            if decision.rule == f"{rule}/permission {index}":
                return permission.at
    return intentions.at


def _consul_reading(
    intentions: ServiceIntentions | None,
    source: str,
    request: HttpRequest | None,
    protocol: Protocol,
    ours: Decision,
) -> str:
    """Say what Consul, which sorts rows by precedence first, would answer."""
    if intentions is None:
        return "the same"
    theirs = decide(replace(intentions, sources=consul_order(intentions)), source, request, protocol=protocol)
    if theirs.is_allowed == ours.is_allowed:
        return "the same, in its order of precedence"
    return f"{'allowed' if theirs.is_allowed else 'denied'}, because it sorts the rows by precedence first"
