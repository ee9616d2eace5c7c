"""`service { ... }`: one service as its own host announces it, in the words of Consul's agent files."""

from __future__ import annotations

from collections import Counter

from mesh.config.decode.checks import decode_check
from mesh.config.decode.reader import Fields
from mesh.config.decode.report import Report
from mesh.config.entries import CheckDefinition, ServiceDefinition
from mesh.config.hcl.tree import ObjectNode

NOT_IMPLEMENTED = {
    "address": "leaving it out: an instance has the address its host proved",
    "tagged_addresses": "leaving it out: the virtual address is given by the control plane",
    "socket_path": "",
    "enable_tag_override": "",
    "weights": "",
    "token": "leaving it out: the host's certificate is its proof",
    "kind": "",
    "proxy": "connect { sidecar_service {} }",
    "namespace": "",
    "partition": "",
    "locality": "the datacenter in the agent's own config",
    "ports": 'one "port"',
}
SIDECAR_NOT_IMPLEMENTED = {
    "port": "leaving it out: the sidecar's ports are fixed",
    "proxy": "leaving it out: upstreams are not declared, an application dials a service by its name",
    "checks": "checks of the service itself",
    "check": "checks of the service itself",
}


def decode_service(node: ObjectNode, own_addresses: frozenset[str], report: Report) -> ServiceDefinition:
    """Read one service; what it may not say here is refused with the place where Meshyard keeps it."""
    fields = Fields(node, "a service", report)
    name = fields.name("name", "service")
    port = fields.integer("port", least=1, most=65535)
    if not fields.has("port"):
        report.add("a service has no port", node.at, "port = 8080, where the application listens on the loopback")
    service_id = fields.text("id")
    service = ServiceDefinition(
        name=name,
        port=port or 1,
        id=service_id,
        tags=tuple(tag for tag, _ in fields.texts("tags")),
        meta=fields.mapping("meta"),
        checks=_decode_checks(fields, service_id or name, own_addresses, report),
        has_sidecar=_decode_connect(fields, report),
        at=node.at,
    )
    fields.finish(NOT_IMPLEMENTED)
    return service


def _decode_checks(
    fields: Fields, service_id: str, own_addresses: frozenset[str], report: Report
) -> tuple[CheckDefinition, ...]:
    """Read `check` and `checks`; ids not given are Consul's: `service:<id>`, numbered when there are several."""
    nodes = (*fields.blocks("check"), *fields.blocks("checks"))
    checks = []
    for number, node in enumerate(nodes, start=1):
        default_id = f"service:{service_id}" + (f":{number}" if len(nodes) > 1 else "")
        check = decode_check(node, default_id, own_addresses, report)
        if check is not None:
            checks.append(check)
    for check_id, count in Counter(check.id for check in checks).items():
        if count > 1:
            report.add(f'{count} checks have the id "{check_id[:80]}"', fields.at, "an id for each")
    return tuple(checks)


def _decode_connect(fields: Fields, report: Report) -> bool:
    """Read `connect { sidecar_service {} }`; say whether the service has a sidecar."""
    node = fields.block("connect")
    if node is None:
        return False
    connect = Fields(node, "connect", report)
    sidecar = connect.block("sidecar_service")
    connect.finish({"native": "a sidecar: connect { sidecar_service {} }"})
    if sidecar is not None:
        Fields(sidecar, "sidecar_service", report).finish(SIDECAR_NOT_IMPLEMENTED)
    return sidecar is not None
