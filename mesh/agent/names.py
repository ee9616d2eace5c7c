"""What the mesh's names mean: from a question to an answer, pure. `mesh.agent.dns` moves the bytes.

A service has one virtual address that never changes while the service exists, and several names:

    payment-service                                 as applications write it
    payment-service.production                      with its namespace
    payment-service.virtual.consul                  as Consul calls its virtual address
    payment-service.service.consul                  as Consul calls its instances; here the virtual address too
    payment-service.production.dominos.internal     written out

A name that looks like one of these and is not a service does not exist (NXDOMAIN). Any other name is not ours to
answer (REFUSED); nothing is ever forwarded, because an application inside the mesh reaches nothing outside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from mesh.base.errors import ConfigError, RemoteProtocolError
from mesh.base.names import require_label

MAX_NAMES = 10_000
CONSUL_KINDS = frozenset({"virtual", "service", "connect"})


class Outcome(StrEnum):
    """What a question gets."""

    ADDRESS = "address"
    EMPTY = "empty"  # the name exists, and has no record of that type: NOERROR without an answer
    UNKNOWN = "unknown"  # NXDOMAIN
    REFUSED = "refused"
    NOT_YET = "not-yet"  # SERVFAIL: the agent has no table yet; "does not exist" would be a lie that is cached


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome, with the address when there is one."""

    outcome: Outcome
    address: str = ""


@dataclass(frozen=True, slots=True)
class NameTable:
    """All services and their virtual addresses, as the control plane last told them."""

    index: int = 0
    addresses: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.addresses) > MAX_NAMES:
            raise RemoteProtocolError(f"reading names: {len(self.addresses)} of them, at most {MAX_NAMES}")
        for name, address in self.addresses.items():
            try:
                require_label(name, "service")
                IPv4Address(address)
            except (ConfigError, ValueError) as error:
                raise RemoteProtocolError(f"reading names: {name!r} at {address!r}: {error}") from error


@dataclass(frozen=True, slots=True)
class Zone:
    """The suffixes under which this host's services are known."""

    namespace: str
    trust_domain: str
    datacenter: str

    def service_in(self, name: str) -> str | None:
        """Return the service that `name` speaks of; None when the name is not of the mesh.

        Args:
            name: lower case, without the final dot.
        """
        labels = name.split(".")
        head, rest = labels[0], tuple(labels[1:])
        if rest in self._suffixes():
            return head
        if rest and (rest[-1] == "consul" or name.endswith(f".{self.trust_domain}")):
            return name  # looks like the mesh and is no service: it does not exist
        return None

    def _suffixes(self) -> frozenset[tuple[str, ...]]:
        consul = {
            tail
            for kind in CONSUL_KINDS
            for tail in (
                (kind, "consul"),
                (kind, self.datacenter, "consul"),
                (self.namespace, kind, "consul"),
            )
        }
        written_out = (self.namespace, *self.trust_domain.split("."))
        return frozenset({(), (self.namespace,), written_out, *consul})


def answer(table: NameTable | None, zone: Zone, name: str, *, is_a: bool) -> Answer:
    """Answer one question.

    Args:
        table: None before the first table.
        zone: this host's suffixes.
        name: the question, any case, with or without the final dot.
        is_a: whether an IPv4 address was asked for; AAAA and all other types exist without records.
    """
    service = zone.service_in(name.rstrip(".").lower())
    if service is None:
        return Answer(Outcome.REFUSED)
    if table is None:
        return Answer(Outcome.NOT_YET)
    address = table.addresses.get(service)
    if address is None:
        return Answer(Outcome.UNKNOWN)
    return Answer(Outcome.ADDRESS, address) if is_a else Answer(Outcome.EMPTY)


def to_text(table: NameTable) -> str:
    """Write a table for the state directory."""
    return json.dumps({"index": table.index, "names": dict(sorted(table.addresses.items()))}, indent=1) + "\n"


def from_text(text: str) -> NameTable:
    """Read a table back.

    Raises:
        RemoteProtocolError: it is not what `to_text` writes.
    """
    try:
        document = json.loads(text)
        return NameTable(int(document["index"]), {str(name): str(each) for name, each in document["names"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RemoteProtocolError(f"reading the names kept on disk: {error}") from error
