"""May the next step of a root's rotation be taken, and if not, who has not come along? Pure answers from the state.

A *member* is a host that holds a certificate which has not expired: it may be cut off at this moment, and will be back.
That is why a member counts whether it is connected or not.

- *activate* waits until every member has acknowledged the bundle that holds the prepared root. Whoever has not would
  refuse the first peer that comes with a certificate below it.
- *retire* waits until every certificate below the old root has expired or its host uses a newer one. Whoever has not
  renewed would be refused by everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from mesh.ca.rotation import Event
from mesh.controlplane.acknowledgements import Acknowledged, Acknowledgements
from mesh.controlplane.errors import NotYetError
from mesh.controlplane.records import IssuedCertificate

MAX_NAMED = 20  # laggards that an error names one by one
RENEWALS_PER_S = 20.0  # how many certificates per second a rotation asks of the authority
PUSHES_PER_S = 50.0  # how many hosts per second are told of new roots; each opens its connections to us anew then
SPREAD_MIN_S = 5.0
SPREAD_FRACTION = 0.25  # of a leaf's life: who renews that early is still far from its ordinary moment


@dataclass(frozen=True, slots=True)
class Laggard:
    """A host that has not come along, and what is known of it."""

    host: str
    service: str
    reason: str

    def __str__(self) -> str:
        return f"{self.host}: {self.reason}"


def behind_bundle(
    issued: Iterable[IssuedCertificate],
    said: Acknowledgements,
    proxies: Collection[str],
    digest: str,
    *,
    now: datetime,
) -> tuple[Laggard, ...]:
    """Return the members that have not acknowledged a bundle.

    Args:
        issued: every certificate that was given out.
        said: what the hosts acknowledged.
        proxies: hosts whose sidecar is connected.
        digest: of the bundle in force.
        now: aware.
    """
    found = []
    for host, newest in sorted(_members(issued, now).items()):
        reason = _fault(said.of(host), host in proxies, digest, newest)
        if reason:
            found.append(Laggard(host, newest.service, reason))
    return tuple(found)


def below_old_root(
    issued: Iterable[IssuedCertificate],
    said: Acknowledgements,
    proxies: Collection[str],
    old: int,
    *,
    now: datetime,
) -> tuple[Laggard, ...]:
    """Return the hosts with a valid certificate of the old generation that they have not replaced.

    Args:
        issued: every certificate that was given out.
        said: what the hosts acknowledged.
        proxies: hosts whose sidecar is connected.
        old: number of the generation that is to go.
        now: aware.
    """
    everything = list(issued)
    generations = {one.serial: one.generation for one in everything}
    found = []
    for host, last in sorted(_members((one for one in everything if one.generation == old), now).items()):
        word = said.of(host)
        if generations.get(word.serial, old) != old and not _lag(word, host in proxies):
            continue
        found.append(Laggard(host, last.service, _why_not_replaced(word, host in proxies, generations, old, last)))
    return tuple(found)


def require_nobody_behind(event: Event, laggards: tuple[Laggard, ...]) -> None:
    """Check that a step leaves nobody behind.

    Raises:
        NotYetError: it would; names who, and what can be done.
    """
    if not laggards:
        return
    named = "; ".join(str(one) for one in laggards[:MAX_NAMED])
    more = f"; and {len(laggards) - MAX_NAMED} more" if len(laggards) > MAX_NAMED else ""
    verb = event.value
    raise NotYetError(
        f"taking the step {verb!r}: {len(laggards)} would be left behind: {named}{more}; right would be: "
        f"mesh ca root {verb} --wait, or --force when they are gone for good"
    )


def spread_s(members: int, leaf_ttl_s: float) -> float:
    """Return within how many seconds hosts are to renew after the switch, each at a moment of its own.

    Args:
        members: how many hosts there are.
        leaf_ttl_s: life of a leaf.
    """
    return min(max(members / RENEWALS_PER_S, SPREAD_MIN_S), leaf_ttl_s * SPREAD_FRACTION)


def count_members(issued: Iterable[IssuedCertificate], *, now: datetime) -> int:
    """Return how many hosts hold a certificate that is valid."""
    return len(_members(issued, now))


def _members(issued: Iterable[IssuedCertificate], now: datetime) -> dict[str, IssuedCertificate]:
    """Return, for each host with a valid certificate, the one that lasts longest."""
    newest: dict[str, IssuedCertificate] = {}
    for one in issued:
        if one.not_after >= now and (one.host not in newest or one.not_after > newest[one.host].not_after):
            newest[one.host] = one
    return newest


def _fault(said: Acknowledged, has_proxy: bool, digest: str, newest: IssuedCertificate) -> str:
    until = f"its certificate is valid until {_short(newest.not_after)}"
    if said.digest != digest:
        if not said.streams:
            return f"is not connected and has not acknowledged the present roots; {until}"
        return "is connected and has not acknowledged the present roots"
    return _lag(said, has_proxy)


def _lag(said: Acknowledged, has_proxy: bool) -> str:
    if said.behind:
        return f"its agent has the present roots and certificate, {said.behind} of its sidecars not yet"
    if has_proxy and not said.holders:
        return "its sidecar is connected and has not acknowledged its secrets to the agent"
    return ""


def _why_not_replaced(
    said: Acknowledged, has_proxy: bool, generations: dict[int, int], old: int, last: IssuedCertificate
) -> str:
    if generations.get(said.serial, old) != old:
        return _lag(said, has_proxy)
    connected = "has not renewed yet" if said.streams else "is not connected"
    return f"{connected}; its certificate {last.serial:x} below the old root is valid until {_short(last.not_after)}"


def _short(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
