"""`check { ... }` and `checks`: how an agent asks whether its service is well.

A check is run by the agent, with the agent's network. A target elsewhere would make every agent a tool for reaching
what its author cannot (a cloud's metadata address, another host's admin port). So the target is the loopback, or an
address of the service's own host; names other than `localhost` are refused, because what they mean may change.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from mesh.config.decode.reader import Fields
from mesh.config.decode.report import Report
from mesh.config.entries import CheckDefinition, CheckKind
from mesh.config.hcl.tree import ObjectNode

NOT_IMPLEMENTED = {
    "udp": "http, tcp or ttl",
    "grpc": "http, tcp or ttl",
    "grpc_use_tls": "",
    "h2ping": "http, tcp or ttl",
    "h2ping_use_tls": "",
    "args": "http, tcp or ttl: an agent runs nobody's scripts",
    "script": "http, tcp or ttl: an agent runs nobody's scripts",
    "docker_container_id": "",
    "shell": "",
    "alias_service": "",
    "alias_node": "",
    "os_service": "",
    "service_id": "a check inside the service it belongs to",
    "body": "",
    "tls_skip_verify": "plain http on the loopback",
    "tls_server_name": "plain http on the loopback",
    "tcp_use_tls": "",
    "disable_redirects": "leaving it out: redirects are never followed",
    "output_max_size": "leaving it out: 4 KiB are kept",
    "deregister_critical_service_after": "",
    "notes": "the name of the check",
}
STATUSES = ("passing", "warning", "critical")
_RIGHT_HOST = "localhost, or an address of the service's own host"


def decode_check(
    node: ObjectNode, default_id: str, own_addresses: frozenset[str], report: Report
) -> CheckDefinition | None:
    """Read one check; None when it does not say how to ask.

    Args:
        node: the block.
        default_id: its id and name when it gives none.
        own_addresses: addresses of the service's host, beside the loopback.
        report: where faults go.

    Source: Consul, agent health checks; defaults: 10 s timeout, critical until the first result.
    """
    fields = Fields(node, "a check", report)
    targets = {kind: fields.optional_text(kind) for kind in (CheckKind.HTTP, CheckKind.TCP)}
    ttl_s = fields.duration("ttl", least_s=1.0)
    given = [kind for kind in CheckKind if fields.has(kind)]
    check_id = fields.text("id") or default_id
    kind = given[0] if given else CheckKind.TTL
    target = targets.get(kind) or ""
    interval_s = fields.duration("interval", least_s=0.1)
    check = CheckDefinition(
        id=check_id,
        name=fields.text("name") or check_id,
        kind=kind,
        target=target,
        method=fields.text("method", "GET").upper(),
        headers=_headers(fields, report),
        interval_s=interval_s or 10.0,
        timeout_s=fields.duration("timeout", least_s=0.01, most_s=600.0) or 10.0,
        ttl_s=ttl_s or 0.0,
        initial_status=_initial_status(fields, report),
        success_before_passing=fields.integer("success_before_passing", most=1000) or 0,
        failures_before_warning=fields.integer("failures_before_warning", most=1000) or 0,
        failures_before_critical=fields.integer("failures_before_critical", most=1000) or 0,
    )
    fields.finish(NOT_IMPLEMENTED)
    if not given and any(fields.has(key) for key in NOT_IMPLEMENTED):
        return None  # it asks in a way that was refused by name already
    if len(given) != 1:
        found = " and ".join(given) if given else "none of http, tcp and ttl"
        report.add(f"a check has {found}", node.at, 'exactly one, as in http = "http://localhost:8080/health"')
        return None
    _require_keys_of(kind, fields, report)
    _require_own_target(check, own_addresses, fields, report)
    return check


def _initial_status(fields: Fields, report: Report) -> str:
    status = fields.text("status", "critical")
    if status not in STATUSES:
        report.add(f'status: "{status[:80]}" is not known', fields.place("status"), ", ".join(STATUSES))
    return status


def _require_keys_of(kind: CheckKind, fields: Fields, report: Report) -> None:
    """Refuse keys that say nothing for this kind of check, and require the interval where the agent asks."""
    if kind is CheckKind.TTL:
        idle = [key for key in ("interval", "timeout", "method", "header") if fields.has(key)]
    else:
        idle = [key for key in ("method", "header") if kind is CheckKind.TCP and fields.has(key)]
        if not fields.has("interval"):
            report.add(f"a check by {kind} has no interval", fields.at, 'interval = "10s"')
    for key in idle:
        report.add(f"{key} says nothing in a check by {kind}", fields.place(key), "leaving it out")


def _headers(fields: Fields, report: Report) -> tuple[tuple[str, str], ...]:
    """Read `header { x-team = ["a"] }`: for each name a list of values."""
    node = fields.block("header")
    if node is None:
        return ()
    inside = Fields(node, "the headers of a check", report)
    pairs = [(member.key, value) for member in node.members for value, _ in inside.texts(member.key)]
    for name, value in pairs:
        is_name = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not (is_name and value.isascii() and value.isprintable()):
            report.add(f"the header {name[:80]!r} of a check cannot be sent", node.at, "a name and printable ASCII")
    return tuple(pairs)


def _require_own_target(check: CheckDefinition, own_addresses: frozenset[str], fields: Fields, report: Report) -> None:
    """Report a target that is not on the service's own host."""
    if check.kind is CheckKind.TTL:
        return
    key, at = str(check.kind), fields.place(check.kind)
    right = "http://localhost:8080/health" if check.kind is CheckKind.HTTP else "localhost:8080"
    parts = _split(check.target if check.kind is CheckKind.HTTP else f"//{check.target}")
    is_http = check.kind is CheckKind.HTTP
    if parts is None or (is_http and parts.scheme != "http") or (not is_http and (parts.path or parts.query)):
        report.add(f'{key}: "{check.target[:80]}" is no target', at, f'{key} = "{right}"')
    elif "@" in parts.netloc or parts.fragment:
        report.add(f"{key}: a target carries no user and no fragment", at, f'{key} = "{right}"')
    elif not is_http and parts.port is None:
        report.add(f'{key}: "{check.target[:80]}" has no port', at, f'{key} = "{right}"')
    elif not is_own_host(parts.hostname or "", own_addresses):
        report.add(f'{key}: "{(parts.hostname or "")[:80]}" is not the service\'s own host', at, _RIGHT_HOST)


def _split(target: str) -> SplitResult | None:
    """Take a target apart; None when it cannot be, has no host, or holds what does not belong into a request line."""
    if not target.isascii() or not target.isprintable() or " " in target or "\\" in target:
        return None
    try:
        parts = urlsplit(target)
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number or too large, or brackets that do not close
        return None
    return parts if is_usable else None


def is_own_host(host: str, own_addresses: frozenset[str]) -> bool:
    """Say whether a host as written is the loopback or one of the host's own addresses.

    Only the plain spelling counts: `127.1`, `0x7f.1` and `2130706433` are refused, whatever a resolver makes of them.
    """
    if host == "localhost" or host in own_addresses:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
