"""agent.json as checked values: where this host is, where the control plane is, which files and ports are used."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mesh.base import ports
from mesh.base.errors import ConfigError, Position

_PORT = Field(ge=1, le=65535)
MAX_RESOLVERS = 3  # as in resolv.conf(5)


class _Strict(BaseModel):
    """An unknown key is a misspelt one: refuse it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ControlPlane(_Strict):
    """Where the control plane listens, and the name its certificate proves."""

    address: IPv4Address
    grpc_port: int = ports.CONTROL_GRPC
    join_port: int = ports.CONTROL_JOIN
    server_name: str = "control-plane.mesh"

    @property
    def grpc_target(self) -> str:
        """Return `address:port` of the mutual TLS port."""
        return f"{self.address}:{self.grpc_port}"

    @property
    def join_target(self) -> str:
        """Return `address:port` of the port where a token buys the first certificate."""
        return f"{self.address}:{self.join_port}"


class ListenAddress(_Strict):
    """An address and port to listen on or to dial."""

    address: IPv4Address
    port: int = _PORT


class Dns(ListenAddress):
    """Where names are answered, and which resolvers are asked for those that are not of the mesh."""

    forward_to: tuple[IPv4Address, ...] = Field(default=(), max_length=MAX_RESOLVERS)


class ProbeTarget(_Strict):
    """What `mesh probe` dials, and as which user."""

    address: IPv4Address = IPv4Address(ports.PROBE_VIP)
    port: int = ports.PROBE
    uid: int = ports.UID_APP


class AgentSettings(_Strict):
    """One host's agent. Paths have defaults; what names the host does not."""

    host: str
    address: IPv4Address
    datacenter: str
    namespace: str = "production"
    trust_domain: str = "dominos.internal"
    control_plane: ControlPlane
    service_file: Path = Path("/etc/mesh/service.hcl")
    roots_file: Path = Path("/etc/mesh/roots.pem")
    token_file: Path = Path("/etc/mesh/join-token")
    socket: Path = Path("/run/mesh/agent.sock")
    bootstrap_file: Path = Path("/run/mesh/bootstrap.json")
    released_file: Path = Path("/run/mesh/released")
    state_dir: Path = Path("/var/lib/mesh")
    dns: Dns = Dns(address=IPv4Address("127.0.0.1"), port=ports.AGENT_DNS)
    http: ListenAddress = ListenAddress(address=IPv4Address("0.0.0.0"), port=ports.AGENT_HTTP)  # noqa: S104 health is read from outside
    sidecar_admin: ListenAddress = ListenAddress(address=IPv4Address("127.0.0.1"), port=ports.SIDECAR_ADMIN)
    probe: ProbeTarget = ProbeTarget()
    resolver_address: IPv4Address = IPv4Address("127.0.0.1")
    excluded_inbound_ports: tuple[Annotated[int, _PORT], ...] = ()
    operator_networks: tuple[IPv4Network, ...] = ()
    management_interfaces: tuple[str, ...] = ()
    socket_group: int = ports.GID_WORKLOAD
    leave_on_stop: bool = False  # deregister on SIGTERM: for a host that goes, not for one that restarts


def read_settings(path: Path) -> AgentSettings:
    """Read agent.json.

    Raises:
        ConfigError: the file is missing, is not JSON, or a key is unknown, missing or wrong; the path is named.
    """
    try:
        return AgentSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"reading the agent's configuration: {error.strerror}", Position(str(path))) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{where}: {first['msg'].lower()}", Position(str(path))) from error


def to_json(settings: AgentSettings) -> str:
    """Write settings as agent.json; `read_settings` reads the same back."""
    return json.dumps(settings.model_dump(mode="json"), indent=2) + "\n"
