"""One list out of two: a destination's own entry, and the one written for the destination `*`.

For a pair of services exactly one row rules: the one with the highest precedence (see `mesh.config.precedence`).
Rows below it are not combined with it.
"""

from __future__ import annotations

from dataclasses import replace

from mesh.base.names import WILDCARD
from mesh.config.entries import ServiceIntentions, SourceIntention
from mesh.config.precedence import precedence_of
from mesh.intentions.evaluate import rule_name


def in_force(
    destination: str, exact: ServiceIntentions | None, wildcard: ServiceIntentions | None
) -> ServiceIntentions | None:
    """Return the rows that rule at `destination`, highest precedence first; None when nobody wrote any.

    Rows of the `*` entry keep the name of the row that was written (`intentions/*#1:order-service`), so that a
    receipt leads to the right file. A row of `*` whose source the exact entry already names can never rule and is
    left out; when the exact entry has a `*` row, that is every one of them.

    Args:
        destination: the service that is called.
        exact: the entry written for it, if any.
        wildcard: the entry written for destination `*`, if any.
    """
    if wildcard is None:
        return exact
    own = exact.sources if exact else ()
    named = {row.name for row in own}
    inherited = tuple(
        _inherit(wildcard, number)
        for number, row in enumerate(wildcard.sources, start=1)
        if row.name not in named and WILDCARD not in named
    )
    if exact is None:
        return replace(wildcard, name=destination, sources=inherited)
    return replace(exact, sources=own + inherited)


def _inherit(wildcard: ServiceIntentions, number: int) -> SourceIntention:
    """Return row `number` of the `*` entry, named after where it was written."""
    row = wildcard.sources[number - 1]
    return replace(row, rule=rule_name(wildcard, number), precedence=precedence_of(WILDCARD, row.name))


def consul_order(intentions: ServiceIntentions) -> tuple[SourceIntention, ...]:
    """Return the rows as Consul stores them: stably sorted by precedence, highest first.

    Source: Consul config_entry_intentions.go, "the order of this list does not matter".
    """
    return tuple(sorted(intentions.sources, key=lambda row: -precedence_of(intentions.name, row.name)))
