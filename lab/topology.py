"""The topology file: one list of hosts in, checked values out. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from mesh.base.durations import parse_duration
from mesh.base.errors import ConfigError, Position
from mesh.base.names import require_label

KNOWN_HOST_KEYS = ("datacenter", "address", "role", "service", "service_dir", "sidecar", "publish")
KNOWN_KEYS = ("trust_domain", "namespace", "datacenters", "sidecar", "hosts", "settings")
DEFAULT_SETTINGS = {"leaf_ttl": "24h", "intermediate_ttl": "8760h", "root_ttl": "87600h"}


class Role(StrEnum):
    """What a host is for."""

    CONTROL_PLANE = "control-plane"
    SERVICE = "service"
    STRANGER = "stranger"


class Sidecar(StrEnum):
    """Which data plane stands beside an application; the control plane and the agent do not know."""

    PYTHON = "python"
    COMPILED = "compiled"  # the same, its data path translated to machine code
    ENVOY = "envoy"


@dataclass(frozen=True, slots=True)
class Publish:
    """A port of this machine's loopback that leads into a host: to its loopback or to its address."""

    local_port: int
    via: str  # "loopback" | "address"
    port: int


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One host as the topology says it. `service_dir` is where its application and its two files are."""

    name: str
    datacenter: str
    address: str
    role: Role
    service: str = ""
    service_dir: str = ""
    publish: tuple[Publish, ...] = ()
    sidecar: Sidecar = Sidecar.PYTHON


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole lab, as written and as resolved."""

    trust_domain: str
    namespace: str
    datacenters: Mapping[str, str]  # name -> IPv4 network
    hosts: Mapping[str, HostSpec]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def control_plane(self) -> HostSpec:
        """Return the one host that runs the control plane."""
        return next(host for host in self.hosts.values() if host.role is Role.CONTROL_PLANE)

    @property
    def services(self) -> tuple[HostSpec, ...]:
        """Return the hosts that run an application, in the order of the file."""
        return tuple(host for host in self.hosts.values() if host.role is Role.SERVICE)

    def gateway(self, datacenter: str) -> str:
        """Return the router's address in a datacenter: the first of its network."""
        return str(next(ipaddress.ip_network(self.datacenters[datacenter]).hosts()))

    def prefix_len(self, datacenter: str) -> int:
        """Return the length of a datacenter's network prefix."""
        return ipaddress.ip_network(self.datacenters[datacenter]).prefixlen

    def with_host(self, host: HostSpec) -> Topology:
        """Return this topology and one host more.

        Raises:
            ConfigError: the name is taken.
        """
        if host.name in self.hosts:
            raise ConfigError(f"adding a host: {host.name!r} exists already", right="another name")
        return replace(self, hosts={**self.hosts, host.name: host})

    def only(self, names: Collection[str]) -> Topology:
        """Return the part of this topology with the given hosts.

        Raises:
            ConfigError: a name is unknown, or the control plane is not among them.
        """
        for name in names:
            if name not in self.hosts:
                raise ConfigError(f"choosing hosts: there is no {name!r}", right=", ".join(self.hosts))
        if self.control_plane.name not in names:
            raise ConfigError(f"choosing hosts: {self.control_plane.name} is not among them", right="add it")
        return replace(self, hosts={name: host for name, host in self.hosts.items() if name in names})

    def has(self, sidecar: Sidecar) -> bool:
        """Say whether a host has this data plane."""
        return any(host.sidecar is sidecar for host in self.services)

    def with_sidecars(self, said: str) -> Topology:
        """Return this topology with other data planes, whatever the file says.

        Args:
            said: `python`, `compiled` or `envoy` for every host, or `HOST=envoy,HOST=python` for some; empty changes
                nothing.

        Raises:
            ConfigError: an unknown data plane, or a host that runs no application.
        """
        if not said:
            return self
        if "=" not in said:
            return self._sidecars_of({host.name: said for host in self.services})
        return self._sidecars_of(dict(_host_and_sidecar(item) for item in said.split(",")))

    def _sidecars_of(self, chosen: Mapping[str, str]) -> Topology:
        known = {host.name for host in self.services}
        for name, sidecar in chosen.items():
            if name not in known:
                raise ConfigError(f"choosing sidecars: {name!r} has none", right=", ".join(sorted(known)))
            if sidecar not in set(Sidecar):
                raise ConfigError(f"choosing sidecars: there is no {sidecar!r}", right=" or ".join(Sidecar))
        changed = {name: replace(self.hosts[name], sidecar=Sidecar(sidecar)) for name, sidecar in chosen.items()}
        return replace(self, hosts={**self.hosts, **changed})

    def free_address(self, datacenter: str) -> str:
        """Return an address of the datacenter that no host has, from .100 upwards."""
        if datacenter not in self.datacenters:
            raise ConfigError(f"adding a host: no datacenter {datacenter!r}", right=" or ".join(self.datacenters))
        taken = {host.address for host in self.hosts.values()}
        network = ipaddress.ip_network(self.datacenters[datacenter])
        candidates = (str(network.network_address + offset) for offset in range(100, network.num_addresses - 1))
        return next(address for address in candidates if address not in taken)


def _host_and_sidecar(item: str) -> tuple[str, str]:
    host, found, sidecar = item.partition("=")
    if not found:
        raise ConfigError(f"choosing sidecars: {item!r} names no data plane", right=f"{item}=envoy")
    return host.strip(), sidecar.strip()


def load(path: Path, settings: Mapping[str, str] | None = None) -> Topology:
    """Read a topology file.

    Args:
        path: the YAML file.
        settings: values that replace those of the file (`--set`).

    Raises:
        ConfigError: the file is not a topology; with file and line.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"reading the topology: no file {path}", right="lab/topology.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"reading the topology: {error}", Position(str(path)), right="a YAML file") from None
    reader = _Reader(str(path), text)
    try:
        raw = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise reader.error_at(str(error.problem), mark.line if mark else 0, mark.column if mark else 0) from None
    except YAMLError as error:
        raise ConfigError(f"reading the topology: {error}", Position(str(path)), right="a YAML file") from None
    return reader.topology(raw, settings or {})


class _Reader:
    """Carries the file's name and lines, so that each complaint shows its place."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()

    def error_at(self, reason: str, line: int, column: int, right: str = "") -> ConfigError:
        """Return a complaint about a place, which counts from 0."""
        shown = self.lines[line] if line < len(self.lines) else ""
        at = Position(self.path, line + 1, column + 1)
        return ConfigError(f"reading the topology: {reason}", at, source_line=shown, right=right)

    def fail(self, reason: str, node: Any, key: Any = None, right: str = "") -> ConfigError:
        mark = getattr(node, "lc", None)
        line, column = (mark.line, mark.col) if mark else (0, 0)
        if mark and key is not None and mark.data and key in mark.data:
            line, column = mark.data[key][0], mark.data[key][1]
        return self.error_at(reason, line, column, right)

    def topology(self, raw: Any, overrides: Mapping[str, str]) -> Topology:
        if not isinstance(raw, dict):
            raise self.fail("the file is no mapping", raw, right=f"keys {', '.join(KNOWN_KEYS)}")
        self.only(raw, KNOWN_KEYS)
        for key in ("trust_domain", "namespace", "datacenters", "hosts"):
            if key not in raw:
                raise self.fail(f"{key} is missing", raw)
        for key in ("datacenters", "hosts", "settings"):
            if not isinstance(raw.get(key) or {}, dict):
                raise self.fail(f"{key} is no mapping", raw, key, right=f"{key}: and below it, one name per line")
        datacenters = {str(name): self.network(raw["datacenters"], name) for name in raw["datacenters"] or {}}
        default = self.sidecar("the topology", raw, Sidecar.PYTHON)
        hosts = {
            str(name): self.host(str(name), node, datacenters, default) for name, node in (raw["hosts"] or {}).items()
        }
        planes = [host for host in hosts.values() if host.role is Role.CONTROL_PLANE]
        if len(planes) != 1:
            raise self.fail(f"{len(planes)} hosts have the role control-plane", raw, "hosts", right="exactly one")
        self.unique(hosts, raw["hosts"])
        settings = {**DEFAULT_SETTINGS, **{str(k): str(v) for k, v in (raw.get("settings") or {}).items()}, **overrides}
        for key, value in settings.items():
            if key not in DEFAULT_SETTINGS:
                raise self.fail(f"no setting {key!r}", raw, "settings", right=", ".join(DEFAULT_SETTINGS))
            parse_duration(value)
        return Topology(str(raw["trust_domain"]), str(raw["namespace"]), datacenters, hosts, settings)

    def host(self, name: str, node: Any, datacenters: Mapping[str, str], default: Sidecar) -> HostSpec:
        require_label(name, "host")
        if not isinstance(node, dict):
            raise self.fail(f"host {name} is no mapping", node)
        self.only(node, KNOWN_HOST_KEYS)
        role = Role(node.get("role", "service")) if node.get("role", "service") in set(Role) else None
        if role is None:
            raise self.fail(f"host {name} has no role {node['role']!r}", node, "role", right=", ".join(Role))
        datacenter = str(node.get("datacenter", ""))
        if datacenter not in datacenters:
            raise self.fail(f"host {name} is in no known datacenter", node, "datacenter", " or ".join(datacenters))
        if not isinstance(node.get("publish") or {}, dict):
            raise self.fail(f"host {name}: publish is no mapping", node, "publish", right='{18080: "loopback:8080"}')
        service = str(node.get("service", ""))
        if (role is Role.SERVICE) != bool(service):
            raise self.fail(f"host {name}: a service host names its service, others do not", node)
        return HostSpec(
            name=name,
            datacenter=datacenter,
            address=self.address(name, node, datacenters[datacenter]),
            role=role,
            service=service,
            service_dir=str(node.get("service_dir", f"demo-services/{service}" if service else "")),
            publish=tuple(self.published(name, node, *item) for item in (node.get("publish") or {}).items()),
            sidecar=self.sidecar(f"host {name}", node, default) if role is Role.SERVICE else Sidecar.PYTHON,
        )

    def sidecar(self, whose: str, node: Any, default: Sidecar) -> Sidecar:
        said = str(node.get("sidecar", default))
        if said not in set(Sidecar):
            raise self.fail(f"{whose} has no sidecar {said!r}", node, "sidecar", right=" or ".join(Sidecar))
        return Sidecar(said)

    def network(self, node: Any, name: Any) -> str:
        try:
            return str(ipaddress.IPv4Network(str(node[name])))
        except ValueError:
            reason = f"datacenter {name} has no IPv4 network: {str(node[name])!r}"
            raise self.fail(reason, node, name, right="such as 10.77.1.0/24") from None

    def address(self, name: str, node: Any, network: str) -> str:
        try:
            address = ipaddress.IPv4Address(str(node.get("address")))
        except ValueError:
            raise self.fail(f"host {name} has no IPv4 address", node, "address", right=f"one of {network}") from None
        if address not in ipaddress.ip_network(network):
            raise self.fail(f"host {name}: {address} is not in its datacenter", node, "address", f"one of {network}")
        return str(address)

    def published(self, name: str, node: Any, local_port: Any, target: Any) -> Publish:
        via, _, port = str(target).partition(":")
        if via not in ("loopback", "address") or not port.isdecimal() or not str(local_port).isdecimal():
            raise self.fail(f"host {name}: publish {target!r}", node, "publish", right='18080: "loopback:8080"')
        return Publish(int(local_port), via, int(port))

    def only(self, node: Any, known: tuple[str, ...]) -> None:
        for key in node:
            if key not in known:
                raise self.fail(f"unknown key {key!r}", node, key, right=", ".join(known))

    def unique(self, hosts: Mapping[str, HostSpec], node: Any) -> None:
        seen: dict[str, str] = {}
        for host in hosts.values():
            if host.address in seen:
                raise self.fail(f"{host.name} and {seen[host.address]} share {host.address}", node, host.name)
            seen[host.address] = host.name


def to_json(topology: Topology) -> dict[str, Any]:
    """Return the resolved topology as JSON values; `from_json` reads it back."""
    return {
        "trust_domain": topology.trust_domain,
        "namespace": topology.namespace,
        "datacenters": dict(topology.datacenters),
        "settings": dict(topology.settings),
        "hosts": [host_to_json(host) for host in topology.hosts.values()],
    }


def host_to_json(host: HostSpec) -> dict[str, Any]:
    """Return one host as JSON values."""
    return {
        "name": host.name,
        "datacenter": host.datacenter,
        "address": host.address,
        "role": str(host.role),
        "service": host.service,
        "service_dir": host.service_dir,
        "publish": [[item.local_port, item.via, item.port] for item in host.publish],
        "sidecar": str(host.sidecar),
    }


def host_from_json(raw: Mapping[str, Any]) -> HostSpec:
    """Read back what `host_to_json` wrote."""
    return HostSpec(
        raw["name"],
        raw["datacenter"],
        raw["address"],
        Role(raw["role"]),
        raw["service"],
        raw["service_dir"],
        tuple(Publish(*item) for item in raw["publish"]),
        Sidecar(raw.get("sidecar", Sidecar.PYTHON)),  # a lab that an earlier version started does not say
    )


def from_json(raw: Mapping[str, Any]) -> Topology:
    """Read back what `to_json` wrote."""
    hosts = [host_from_json(item) for item in raw["hosts"]]
    return Topology(
        raw["trust_domain"], raw["namespace"], raw["datacenters"], {h.name: h for h in hosts}, raw["settings"]
    )
