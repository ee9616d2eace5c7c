"""The JSON of the HTTP API: each value's shape in one place, and each error's, both ways.

    {"error": {"kind": "config", "message": "...", "path": "intentions.hcl", "line": 3, "column": 5,
               "source_line": "...", "right": "...", "errors": [...]}}

`kind` says whose fault it is: `config` (the author of a file), `identity` (refused), `not_found`, `conflict`, `request`
(the call itself is malformed), `storage` (the disk), `internal` (us).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mesh.base.errors import ConfigError, ConfigErrors, Position, RemoteProtocolError
from mesh.config.entries import KIND_OF, ConfigEntry, ServiceIntentions
from mesh.config.stored import to_json
from mesh.registry.catalog import Catalog, Instance
from mesh.registry.health import CheckStatus

Json = dict[str, Any]
MAX_DEPTH = 32
MAX_BODY_BYTES = 1024 * 1024


def error_shape(kind: str, error: Exception) -> Json:
    """Return an error's JSON; a ConfigError keeps place, line and what would be right."""
    body: Json = {"kind": kind, "message": str(error)}
    if isinstance(error, ConfigError):
        body |= {"message": error.reason, "right": error.right, "source_line": error.source_line}
        if error.at is not None:
            body |= {"path": error.at.path, "line": error.at.line, "column": error.at.column}
    if isinstance(error, ConfigErrors):
        body["errors"] = [error_shape(kind, each)["error"] for each in error.errors]
    return {"error": body}


def config_error(body: Mapping[str, Any]) -> ConfigError:
    """Read a `config` error back, so that the command line shows it as if it had found it itself."""
    if body.get("errors"):
        return ConfigErrors(tuple(config_error({**each, "errors": None}) for each in body["errors"]))
    at = Position(str(body["path"]), int(body["line"]), int(body["column"])) if body.get("path") else None
    return ConfigError(
        str(body.get("message", "")),
        at,
        source_line=str(body.get("source_line", "")),
        right=str(body.get("right", "")),
    )


def entry_shape(entry: ConfigEntry, index: int) -> Json:
    """Return a config entry in force."""
    return {
        "kind": KIND_OF[type(entry)],
        "name": entry.name,
        "index": index,
        "file": entry.at.path,
        "entry": to_json(entry),
    }


def written_shape(entry: ConfigEntry, index: int) -> Json:
    """Return the receipt of one written entry."""
    return {"kind": KIND_OF[type(entry)], "name": entry.name, "index": index}


def intention_shapes(intentions: ServiceIntentions) -> list[Json]:
    """Return the rows of one destination, in order."""
    return [
        {
            "destination": intentions.name,
            "row": number,
            "source": row.name,
            "action": row.action.value if row.action else None,
            "permissions": len(row.permissions),
            "precedence": row.precedence,
            "description": row.description,
            "file": str(row.at),
        }
        for number, row in enumerate(intentions.sources, start=1)
    ]


def service_shape(catalog: Catalog, service: str, protocol: str) -> Json:
    """Return one service: its address, and how many of its instances are how."""
    instances = catalog.instances(service)
    count = {status.value: sum(one.status is status for one in instances) for status in CheckStatus}
    return {
        "name": service,
        "virtual_ip": catalog.virtual_ip(service),
        "protocol": protocol,
        "instances": len(instances),
        **count,
    }


def instance_shape(instance: Instance) -> Json:
    """Return one instance with its checks."""
    return {
        "id": instance.id,
        "service": instance.service,
        "host": instance.host,
        "datacenter": instance.datacenter,
        "address": instance.address,
        "port": instance.port,
        "status": instance.status.value,
        "tags": list(instance.tags),
        "meta": dict(instance.meta),
        "checks": [
            {"id": one.id, "name": one.name, "kind": one.kind, "status": one.status.value, "output": one.output}
            for one in instance.checks
        ],
    }


def read_json_object(text: str) -> Json:
    """Read a request's JSON object; depth is bounded before the parser recurses.

    Raises:
        RemoteProtocolError: too deep, not JSON, or not an object.
    """
    depth = 0
    for character in text:  # brackets inside strings count too: that only makes the bound stricter
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_DEPTH:
            raise RemoteProtocolError(f"reading a request body: it nests deeper than {MAX_DEPTH}")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise RemoteProtocolError(f"reading a request body: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise RemoteProtocolError("reading a request body: it is not a JSON object")
    return found
