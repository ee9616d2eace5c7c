"""What both data planes are asked: one row each, with the same configuration, the same upstreams and the same bytes.

A scenario has an upstream service to itself, or a service beside the sidecar that it calls, so that all of them live in
one configuration and none sees another's breakers or ejections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mesh.config.entries import Limits, PassiveHealthCheck


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that the two data planes do not agree on, and why that is right.

    Args:
        where: its place in the outcome, as `answers.0.status`.
        python, envoy: what it is with each.
        why: for people; docs/reference/sidecar-parity.md has it, too.
        follows: places whose differences follow from this one.
    """

    where: str
    python: Any
    envoy: Any
    why: str
    follows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row.

    Args:
        id: a sentence.
        requests: raw requests, in order; those of one connection are one item. `{host}` is the service's name.
        router: the body of a service-router in HCL (`Routes = [...]`); empty for none.
        instances: what each instance of the upstream does.
        limits, passive: how the caller treats this upstream.
        intentions: the body of a service-intentions in HCL: then the sidecar is *called*, by `caller`.
        local_timeout_s: of the application beside it.
        is_at_once: all connections at the same time.
        is_any_instance: which instance serves is not compared.
        differs: known differences.
    """

    id: str
    requests: tuple[bytes | tuple[bytes, ...], ...]
    router: str = ""
    instances: tuple[str, ...] = ("ok",)
    limits: Limits = Limits()
    passive: PassiveHealthCheck | None = None
    connect_timeout_s: float = 5.0
    intentions: str = ""
    caller: str = "pulse-service"
    local_timeout_s: float | None = None
    is_at_once: bool = False
    is_any_instance: bool = False
    differs: tuple[Difference, ...] = field(default=())

    @property
    def is_called(self) -> bool:
        """Say whether the sidecar is the one who is called."""
        return bool(self.intentions)


def request(method: str = "GET", target: str = "/", *headers: str, body: bytes | None = None) -> bytes:
    """Return a request as a well-behaved client sends it."""
    lines = [f"{method} {target} HTTP/1.1", "host: {host}", *headers]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


HEAD = b" / HTTP/1.1\r\nhost: {host}\r\n"
CHUNKED = b"POST" + HEAD + b"transfer-encoding: chunked\r\n"


def every(destination: str) -> str:
    """Return a router with one route for everything."""
    return f'Routes = [{{ Match {{ HTTP {{ PathPrefix = "/" }} }} Destination {{ {destination} }} }}]'


def by_header(*conditions: str) -> str:
    """Return a router with a route for each condition on a header."""
    rows = [
        f"{{ Match {{ HTTP {{ Header = [{{ {one} }}] }} }} Destination {{ NumRetries = 1 }} }}," for one in conditions
    ]
    return f"Routes = [{' '.join(rows)}]"


GET, POST = request(), request("POST", "/charge", body=b"a card")
KEYED = request("POST", "/charge", "idempotency-key: 1", body=b"a card")
