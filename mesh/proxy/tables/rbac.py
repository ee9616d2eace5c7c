"""Authorization at the speed of a dict: who may do what, compiled so that other callers' rules cost nothing.

A chain of RBAC filters is asked in order: a DENY filter refuses when one of its policies matches, an ALLOW filter
refuses when none does. A policy is a set of principals and a condition on the request.

The set of principals of a policy is always either finite or the complement of a finite set (`PrincipalSet`), because
principals are matched by exact SPIFFE ID and combined by and, or, not. So all callers that any policy names are known
when the tables are compiled. For each of them, and once for "everybody else", the policies that concern him are
chosen in advance; a request looks up its caller in one dict and tries only those conditions.

Source: Envoy `rbac.proto`, `source/extensions/filters/common/rbac/engine_impl.cc` (policies in the order of names).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from mesh.proxy.tables.match import Predicate, always
from mesh.proxy.tables.model import Authorizer, Decision, RequestView, Verdict


@dataclass(frozen=True, slots=True)
class PrincipalSet:
    """A finite set of principals, or all but a finite set. None is the caller who proved nothing."""

    names: frozenset[str | None]
    is_complement: bool = False

    def __contains__(self, principal: str | None) -> bool:
        return (principal in self.names) != self.is_complement

    def __invert__(self) -> PrincipalSet:
        return PrincipalSet(self.names, not self.is_complement)

    def __and__(self, other: PrincipalSet) -> PrincipalSet:
        if not self.is_complement and not other.is_complement:
            return PrincipalSet(self.names & other.names)
        if self.is_complement and other.is_complement:
            return PrincipalSet(self.names | other.names, True)
        inside, outside = (other, self) if self.is_complement else (self, other)
        return PrincipalSet(inside.names - outside.names)

    def __or__(self, other: PrincipalSet) -> PrincipalSet:
        return ~(~self & ~other)


NOBODY = PrincipalSet(frozenset())
ANYBODY = PrincipalSet(frozenset(), is_complement=True)


class Action(Enum):
    """What it means that a policy of a filter matches."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Policy:
    """One named rule: these callers, when the request is like this."""

    name: str
    principals: PrincipalSet
    permits: Predicate


@dataclass(frozen=True, slots=True)
class Filter:
    """One RBAC filter; policies in the order of their names."""

    action: Action
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """One filter as one caller meets it: conditions that concern him, and what to say of each."""

    action: Action
    candidates: tuple[tuple[Predicate, Decision], ...]

    def first_match(self, request: RequestView) -> Decision | None:
        """Return what the first policy that matches says."""
        for permits, said in self.candidates:
            if permits(request):
                return said
        return None


_LET_THROUGH = Decision(Verdict.ALLOW, "no rule of this listener says otherwise")


class CompiledAuthorizer(Authorizer):
    """A chain of RBAC filters, sorted by caller when it was compiled."""

    __slots__ = ("_by_principal", "_others")

    def __init__(self, filters: Sequence[Filter]) -> None:
        named = {name for one in filters for policy in one.policies for name in policy.principals.names}
        self._by_principal = {name: tuple(_step(one, name) for one in filters) for name in named}
        self._by_principal.setdefault(None, tuple(_step(one, None) for one in filters))
        self._others = tuple(_steps_of_others(one) for one in filters)

    def decide(self, request: RequestView) -> Decision:
        """Say whether this request may pass, and which rule said so."""
        decision = _LET_THROUGH
        for step in self._by_principal.get(request.principal, self._others):
            said = step.first_match(request)
            if step.action is Action.ALLOW:
                if said is None:
                    return Decision(Verdict.DENY, default_deny(request.principal))
                decision = said
            elif said is not None:
                return said
        return decision

    def decide_connection(self, principal: str | None) -> Decision:
        """The same for a TCP connection: only the peer's identity is known."""
        return self.decide(RequestView("", "", "", {}, principal))

    def candidates_of(self, principal: str | None) -> int:
        """Return how many conditions a request of this caller may have to try; what its decision costs."""
        return sum(len(step.candidates) for step in self._by_principal.get(principal, self._others))


def default_deny(principal: str | None) -> str:
    """Say that no rule matched, in words that name the caller."""
    return f"default deny: no intention allows {principal or 'a caller without identity'}"


def _step(one: Filter, principal: str | None) -> _Step:
    return _make_step(one.action, [policy for policy in one.policies if principal in policy.principals])


def _steps_of_others(one: Filter) -> _Step:
    """A caller that no policy names is in exactly the complements."""
    return _make_step(one.action, [policy for policy in one.policies if policy.principals.is_complement])


def _make_step(action: Action, policies: list[Policy]) -> _Step:
    """Keep the policies up to the first that always matches: those behind it are never reached."""
    verdict = Verdict.ALLOW if action is Action.ALLOW else Verdict.DENY
    candidates: list[tuple[Predicate, Decision]] = []
    for policy in policies:
        candidates.append((policy.permits, Decision(verdict, policy.name)))
        if policy.permits is always:
            break
    return _Step(action, tuple(candidates))
