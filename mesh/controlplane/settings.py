"""What the control plane is told at its start: one JSON file, checked before anything is opened."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mesh.base.durations import parse_duration
from mesh.base.errors import ConfigError, IdentityError, Position
from mesh.base.names import require_label
from mesh.base.ports import CONTROL_GRPC, CONTROL_HTTP, CONTROL_JOIN
from mesh.spiffe.id import SpiffeId


def _label(text: str) -> str:
    try:
        return require_label(text, "setting")
    except ConfigError as error:
        raise ValueError(error.reason) from error


def _duration(text: str) -> str:
    try:
        seconds = parse_duration(text)
    except ConfigError as error:
        raise ValueError(error.reason) from error
    if seconds < 1:
        raise ValueError(f"{text} is shorter than a second")
    return text


def _trust_domain(text: str) -> str:
    try:
        return SpiffeId(text).trust_domain
    except IdentityError as error:
        raise ValueError(str(error)) from error


Label = Annotated[str, AfterValidator(_label)]
DurationText = Annotated[str, AfterValidator(_duration)]
PortNumber = Annotated[int, Field(ge=0, le=65535)]  # 0: any free one, for tests


class ControlPlaneSettings(BaseModel):
    """The settings file, field by field. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    datacenter: Label
    datacenters: tuple[Label, ...] = ()
    trust_domain: Annotated[str, AfterValidator(_trust_domain)] = "dominos.internal"
    namespace: Label = "production"
    address: IPv4Address
    http_port: PortNumber = CONTROL_HTTP
    grpc_port: PortNumber = CONTROL_GRPC
    join_port: PortNumber = CONTROL_JOIN
    socket: Path = Path("/run/mesh/control-plane.sock")
    data_dir: Path = Path("/var/lib/mesh/control-plane")
    socket_group: Annotated[int, Field(ge=0)] | None = None  # who else may open the socket; None leaves it as made
    leaf_ttl: DurationText = "24h"
    intermediate_ttl: DurationText = "8760h"  # a year, Consul's default
    root_ttl: DurationText = "87600h"  # ten years, Consul's default
    rejoin_ttl: DurationText = "168h"  # how long a host may be away and come back by itself
    access_log_path: str = "/var/log/mesh/access.log"
    management_token_file: Path | None = None
    allow_loopback_instances: bool = False  # for trying the control plane on one machine without a lab

    @model_validator(mode="after")
    def _lives_outlast_each_other(self) -> ControlPlaneSettings:
        if not self.leaf_ttl_s < self.intermediate_ttl_s < self.root_ttl_s:
            raise ValueError("leaf_ttl < intermediate_ttl < root_ttl must hold: nothing outlives its issuer")
        return self

    @property
    def leaf_ttl_s(self) -> float:
        """Life of a leaf in seconds."""
        return parse_duration(self.leaf_ttl)

    @property
    def intermediate_ttl_s(self) -> float:
        """Life of an intermediate in seconds."""
        return parse_duration(self.intermediate_ttl)

    @property
    def root_ttl_s(self) -> float:
        """Life of the root in seconds."""
        return parse_duration(self.root_ttl)

    @property
    def rejoin_ttl_s(self) -> float:
        """Life of a rejoin secret in seconds, from the last certificate on."""
        return parse_duration(self.rejoin_ttl)

    @property
    def all_datacenters(self) -> tuple[str, ...]:
        """Every datacenter that gets an intermediate, our own first."""
        return tuple(dict.fromkeys((self.datacenter, *self.datacenters)))

    @property
    def token_file(self) -> Path:
        """Where the management token is kept."""
        return self.management_token_file or self.data_dir / "management-token"

    @property
    def identity(self) -> SpiffeId:
        """The control plane's own SPIFFE ID."""
        return SpiffeId(self.trust_domain, "/ns/mesh/sa/control-plane")


def load_settings(path: Path) -> ControlPlaneSettings:
    """Read and check the settings file.

    Raises:
        ConfigError: it cannot be read, is not JSON, or a field is wrong; the error names the file and the field.
    """
    at = Position(str(path))
    try:
        return ControlPlaneSettings.model_validate(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"reading the settings: {error.strerror}", at) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"reading the settings: {field}: {first['msg']}", at) from error
    except ValueError as error:
        raise ConfigError(f"reading the settings: not JSON: {error}", at) from error
