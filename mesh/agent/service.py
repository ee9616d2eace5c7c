"""The service beside this agent: the one definition that service.hcl holds."""

from __future__ import annotations

from pathlib import Path

from mesh.base.errors import ConfigError, Position
from mesh.config.entries import ServiceDefinition
from mesh.config.load import load_text


def read_service(path: Path, *, own_address: str | None = None) -> ServiceDefinition:
    """Read the file that a team writes for its service.

    Args:
        path: HCL or JSON.
        own_address: the host's own address, which checks may name beside the loopback.

    Raises:
        ConfigError: no such file, a fault in it (with its place), or not exactly one service.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"reading the service's definition: {error}", Position(str(path))) from error
    own = frozenset({own_address}) if own_address else frozenset()
    services = load_text(text, str(path), own_addresses=own).services
    if len(services) != 1:
        raise ConfigError(
            f"reading the service's definition: {len(services)} services",
            Position(str(path)),
            right="one service { ... } per host: the host's certificate is issued to one service",
        )
    return services[0]
