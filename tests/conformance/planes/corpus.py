"""Many policies and many requests, made from a seed: what both data planes, and the rule itself, must agree on. Pure.

A policy is the intentions of one service. Its requests are drawn from the same few words as its conditions, so that
they meet them, nearly meet them, or meet them in another spelling.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh.base.errors import RemoteProtocolError
from mesh.base.names import WILDCARD
from mesh.config.entries import (
    Action,
    HeaderMatch,
    HttpMatch,
    Permission,
    Protocol,
    ServiceIntentions,
    SourceIntention,
)
from mesh.config.precedence import precedence_of
from mesh.intentions.evaluate import DEFAULT_DENY, decide
from mesh.intentions.match import Request
from mesh.proxy.http.path import normalise_path

SEED = 40_500
POLICIES, REQUESTS = 264, 8  # for each caller
REFUSED_UNREAD = "refused before anybody asked"

# A row may name the first three; the fourth no row names; the last has a name that rows know, in another namespace.
CALLERS = (
    ("order-service", "production"),
    ("pulse-service", "production"),
    ("ledger-service", "production"),
    ("nobody-service", "production"),
    ("order-service", "staging"),
)
NAMED = tuple(service for service, namespace in CALLERS[:3] if namespace == "production")
METHODS = ("GET", "POST", "DELETE", "PUT", "HEAD")
PATHS = ("/", "/charge", "/charge/1", "/charge/x", "/admin", "/admin/users", "/a.b", "/ADMIN")
PREFIXES = ("/", "/charge", "/charge/", "/adm", "/a.")
PATH_REGEXES = ("/charge/[0-9]+", "/(charge|admin)", "/a.b", "/.*", "(?i)/admin", r"/charge/\w", "/charge/?1?")
# Other spellings of paths, with and without a query: all but the last become one of the above.
SPELLINGS = (
    *("/charge?x=1", "//charge", "/./charge", "/x/../admin", "/%61dmin", "/admin/%2e/users", "/charge/1?/admin"),
    *("/charge/..", "/admin/", "/admin;x=1", "/charge/%31", "/admin%2fusers"),
)
HEADERS = ("x-team", "x-kind")
VALUES = ("a", "b", "ab", "A", "", "a,b", "ab ab")
VALUE_REGEXES = ("[ab]+", "a|b", "a.*", "(?i)AB", "^a$")
WAYS = ("exact", "prefix", "suffix", "contains")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a policy; `headers` as they are sent, a name may come twice."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def raw(self, host: str) -> bytes:
        """Return it as bytes."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += ["content-length: 0"] if self.method in ("POST", "PUT") else []
        return "\r\n".join([*lines, "", ""]).encode()


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy and what is asked of it: by index of `CALLERS`, requests in order."""

    intentions: ServiceIntentions
    asked: tuple[tuple[Asked, ...], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one request; `rule` is empty when it was let through."""

    status: int
    rule: str = ""


def policies(name_of: Mapping[int, str]) -> Iterator[tuple[int, Policy]]:
    """Yield the corpus.

    Args:
        name_of: number of a policy -> the name of its service.
    """
    for number, name in name_of.items():
        draw = random.Random(SEED + number)
        yield (
            number,
            Policy(
                _intentions(draw, name),
                tuple(tuple(_request(draw) for _ in range(REQUESTS)) for _ in CALLERS),
            ),
        )


def expected(intentions: ServiceIntentions, caller: int, asked: Asked) -> Verdict:
    """Return what the rule itself says, by the plain list from the top."""
    service, namespace = CALLERS[caller]
    try:
        path = normalise_path(asked.target.partition("?")[0])
    except RemoteProtocolError:
        return Verdict(400, REFUSED_UNREAD)
    headers: dict[str, tuple[str, ...]] = {}
    for header, value in asked.headers:
        headers[header] = (*headers.get(header, ()), value)
    source = service if namespace == "production" else f"{service} of {namespace}"
    decision = decide(intentions, source, Request(asked.method, path, headers), protocol=Protocol.HTTP)
    return Verdict(200) if decision.is_allowed else Verdict(403, decision.rule)


def rule_of(told: str) -> str:
    """Return the rule that `x-mesh-decision` names, in the words of either data plane."""
    policy = told.removeprefix("rbac_access_denied_matched_policy[").removesuffix("]")
    if policy == "none" or policy.startswith(f"{DEFAULT_DENY}:"):
        return DEFAULT_DENY
    return policy.replace("/permission_", "/permission ")


def _intentions(draw: random.Random, name: str) -> ServiceIntentions:
    named = draw.sample(NAMED, draw.randint(0, len(NAMED)))
    if not named or draw.random() < 0.5:
        named = [*named, WILDCARD]
    return ServiceIntentions(name, tuple(_row(draw, name, source) for source in named))


def _row(draw: random.Random, destination: str, source: str) -> SourceIntention:
    rank = precedence_of(destination, source)
    if draw.random() < 0.2:
        return SourceIntention(source, _action(draw), precedence=rank)
    some = tuple(Permission(_action(draw), _match(draw)) for _ in range(draw.randint(1, 3)))
    return SourceIntention(source, permissions=some, precedence=rank)


def _action(draw: random.Random) -> Action:
    return draw.choice((Action.ALLOW, Action.ALLOW, Action.DENY))


def _match(draw: random.Random) -> HttpMatch:
    path: dict[str, str] = draw.choice(
        (
            {},
            {"path_exact": draw.choice(PATHS)},
            {"path_prefix": draw.choice(PREFIXES)},
            {"path_regex": draw.choice(PATH_REGEXES)},
        )
    )
    headers = tuple(_header(draw) for _ in range(draw.choice((0, 0, 1, 1, 2))))
    methods = tuple(draw.sample(METHODS, draw.choice((0, 0, 1, 2))))
    if not (path or headers or methods):
        methods = ("GET",)
    return HttpMatch(headers=headers, methods=methods, **path)


def _header(draw: random.Random) -> HeaderMatch:
    name, invert = draw.choice(HEADERS), draw.random() < 0.3
    kind = draw.random()
    if kind < 0.2:
        return HeaderMatch(name, present=draw.random() < 0.5, invert=invert)
    if kind < 0.4:
        return HeaderMatch(name, regex=draw.choice(VALUE_REGEXES), invert=invert)
    condition = {draw.choice(WAYS): draw.choice(tuple(filter(None, VALUES)))}
    return HeaderMatch(name, invert=invert, ignore_case=draw.random() < 0.3, **condition)


def _request(draw: random.Random) -> Asked:
    target = draw.choice(SPELLINGS) if draw.random() < 0.4 else draw.choice(PATHS)
    headers = tuple((draw.choice(HEADERS), draw.choice(VALUES)) for _ in range(draw.choice((0, 1, 1, 2, 2, 3))))
    return Asked(draw.choice(METHODS), target, headers)
