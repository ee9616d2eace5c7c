"""The catalog: which services exist, where their instances are, and how each one is.

One writer changes it, one step of the index per change; each step answers with a `CatalogChange`, which names the
services a reader has to look at again. Readers never see a half-made step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network

from mesh.base.errors import IdentityError, LocalProtocolError
from mesh.base.ports import VIRTUAL_RANGE
from mesh.registry.health import CheckStatus, worst
from mesh.registry.vip import require_virtual


@dataclass(frozen=True, slots=True)
class Check:
    """One check as the catalog knows it."""

    id: str
    name: str
    kind: str
    status: CheckStatus = CheckStatus.CRITICAL
    output: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service. `id` is `<host>/<id on that host>`, so no host can take another's."""

    id: str
    service: str
    host: str
    datacenter: str
    address: str
    port: int
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()

    @property
    def status(self) -> CheckStatus:
        """The worst of its checks."""
        return worst([check.status for check in self.checks])

    def with_check(self, check_id: str, status: CheckStatus, output: str) -> Instance:
        """Return the instance with one check's result replaced.

        Raises:
            LocalProtocolError: it has no such check.
        """
        if all(check.id != check_id for check in self.checks):
            raise LocalProtocolError(f"updating a check of {self.id}: it has no check {check_id!r}")
        updated = (
            replace(check, status=status, output=output) if check.id == check_id else check for check in self.checks
        )
        return replace(self, checks=tuple(updated))


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """What one step changed: endpoints of these services, and whether the table of names is another."""

    services: frozenset[str] = frozenset()
    has_new_names: bool = False

    def __or__(self, other: CatalogChange) -> CatalogChange:
        return CatalogChange(self.services | other.services, self.has_new_names or other.has_new_names)


class Catalog:
    """Services, instances and virtual addresses; `index` only grows."""

    def __init__(self) -> None:
        self.index = 0
        self._instances: dict[str, Instance] = {}
        self._by_service: dict[str, dict[str, Instance]] = {}
        self._virtual_ips: dict[str, str] = {}

    def advance(self, index: int) -> None:
        """Take the index of the next step.

        Raises:
            LocalProtocolError: it does not grow.
        """
        if index <= self.index:
            raise LocalProtocolError(f"changing the catalog: index {index} does not follow {self.index}")
        self.index = index

    def put(self, instance: Instance) -> CatalogChange:
        """Add or replace an instance; the change is empty when nothing a proxy sees is different."""
        before = self._instances.get(instance.id)
        if before is not None and before.service != instance.service:
            self.remove(instance.id)
        self._instances[instance.id] = instance
        self._by_service.setdefault(instance.service, {})[instance.id] = instance
        if before is not None and _routing(before) == _routing(instance):
            return CatalogChange()
        return CatalogChange(frozenset({instance.service} | ({before.service} if before else set())))

    def remove(self, instance_id: str) -> CatalogChange:
        """Remove an instance; unknown ones are gone already."""
        instance = self._instances.pop(instance_id, None)
        if instance is None:
            return CatalogChange()
        siblings = self._by_service[instance.service]
        del siblings[instance_id]
        if not siblings:
            del self._by_service[instance.service]
        return CatalogChange(frozenset({instance.service}))

    def set_virtual_ip(self, service: str, address: str) -> CatalogChange:
        """Give a service its virtual address.

        Raises:
            LocalProtocolError: another service has it, or services may not have it.
        """
        require_virtual(address)
        holder = next((name for name, taken in self._virtual_ips.items() if taken == address), service)
        if holder != service:
            raise LocalProtocolError(f"giving {address} to {service}: {holder} has it")
        is_new = self._virtual_ips.get(service) != address
        self._virtual_ips[service] = address
        return CatalogChange(frozenset({service}) if is_new else frozenset(), has_new_names=is_new)

    def free_virtual_ip(self, service: str) -> CatalogChange:
        """Take a service's virtual address back."""
        had_one = self._virtual_ips.pop(service, None) is not None
        return CatalogChange(frozenset({service}) if had_one else frozenset(), has_new_names=had_one)

    def instance(self, instance_id: str) -> Instance | None:
        """Return one instance, None when unknown."""
        return self._instances.get(instance_id)

    def instances(self, service: str | None = None) -> tuple[Instance, ...]:
        """Return the instances of one service, or all, sorted by id."""
        found = self._instances if service is None else self._by_service.get(service, {})
        return tuple(found[key] for key in sorted(found))

    def services(self) -> tuple[str, ...]:
        """Return every service that has a name in the mesh, sorted."""
        return tuple(sorted(self._virtual_ips))

    def virtual_ip(self, service: str) -> str | None:
        """Return a service's virtual address, None when it has none."""
        return self._virtual_ips.get(service)

    def names(self) -> dict[str, str]:
        """Return service to virtual address, whole."""
        return dict(self._virtual_ips)


def require_dialable(address: str, *, allow_loopback: bool = False) -> str:
    """Return `address` when other hosts may be told to dial it.

    A registration must not turn the sidecars of others against loopback services, link-local metadata services or
    the virtual range (CVE-2022-29153 is that class).

    Raises:
        IdentityError: it is one of those.
    """
    parsed = IPv4Address(address)
    forbidden = parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified or parsed in _VIRTUAL
    if forbidden or (parsed.is_loopback and not allow_loopback):
        raise IdentityError(f"registering an instance: {address} is not an address other hosts may dial")
    return address


_VIRTUAL = IPv4Network(VIRTUAL_RANGE)


def _routing(instance: Instance) -> tuple[str, str, str, int, bool]:
    """What a proxy is told of an instance: all but this is for people."""
    is_up = instance.status is not CheckStatus.CRITICAL
    return (instance.service, instance.datacenter, instance.address, instance.port, is_up)
