"""What the mesh's names mean: from a question to an answer, pure. `mesh.agent.dns` moves the bytes.

A service has one virtual address that never changes while the service exists, and several names:

    payment-service                                 as applications write it
    payment-service.production                      with its namespace
    payment-service.virtual.consul                  as Consul calls its virtual address
    payment-service.service.consul                  as Consul calls its instances; here the virtual address too
    payment-service.production.dominos.internal     written out

A name that looks like one of these and is not a service does not exist (NXDOMAIN). Any other name is not ours to
answer: REFUSED, or FOREIGN where the host has resolvers to forward it to. What is the mesh's is never forwarded: no
name under our suffixes, and none that begins with a service's, as a `search` line in resolv.conf would make them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from mesh.base import ports
from mesh.base.errors import ConfigError, RemoteProtocolError
from mesh.base.names import require_label

MAX_NAMES = 10_000
PRIVATE = frozenset({"mesh", "consul"})
FIRST_VIRTUAL = IPv4Network(ports.VIRTUAL_RANGE).network_address.packed[0]
CONSUL_KINDS = frozenset({"virtual", "service", "connect"})


class Outcome(StrEnum):
    """What a question gets."""

    ADDRESS = "address"
    EMPTY = "empty"  # the name exists, and has no record of that type: NOERROR without an answer
    UNKNOWN = "unknown"  # NXDOMAIN
    REFUSED = "refused"
    FOREIGN = "foreign"  # for the host's resolvers to answer
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

    def is_private(self, name: str) -> bool:
        """Say whether `name`, which no service has, is none to tell others: ours, the root, or a virtual address."""
        labels = name.split(".")
        if labels[-1] in PRIVATE or name in ("", self.trust_domain):
            return True
        return name.endswith(".in-addr.arpa") and labels[-3].isdecimal() and int(labels[-3][:3]) >= FIRST_VIRTUAL

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


def answer(table: NameTable | None, zone: Zone, name: str, *, is_a: bool, forwards: bool = False) -> Answer:
    """Answer one question.

    Args:
        table: None before the first table.
        zone: this host's suffixes.
        name: the question, any case, with or without the final dot.
        is_a: whether an IPv4 address was asked for; AAAA and all other types exist without records.
        forwards: whether this host has resolvers for the names of others.
    """
    name = name.rstrip(".").lower()
    service = zone.service_in(name)
    if service is None:
        return _of_others(table, zone, name) if forwards else Answer(Outcome.REFUSED)
    if table is None:
        return Answer(Outcome.NOT_YET)
    address = table.addresses.get(service)
    if address is None:
        # One label without a service may be a neighbour that is no host of the mesh, such as a container's name.
        is_foreign = forwards and "." not in name and not zone.is_private(name)
        return Answer(Outcome.FOREIGN if is_foreign else Outcome.UNKNOWN)
    return Answer(Outcome.ADDRESS, address) if is_a else Answer(Outcome.EMPTY)


def _of_others(table: NameTable | None, zone: Zone, name: str) -> Answer:
    if zone.is_private(name):
        return Answer(Outcome.REFUSED)
    if table is not None and name.split(".", 1)[0] in table.addresses:
        return Answer(Outcome.UNKNOWN)  # and not REFUSED, at which glibc would stop searching
    return Answer(Outcome.FOREIGN)


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
