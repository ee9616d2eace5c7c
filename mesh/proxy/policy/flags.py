"""Response flags in words, and what a caller is told when no answer of the upstream can be passed on.

One failure, one row: the flag that the access log shows, the status and body that the caller gets, the detail for the
access log, and the status that outlier detection counts. Bodies and details are Envoy's, so that a person who knows
Envoy recognises them.

Source: Envoy `docs/root/configuration/observability/access_log/usage.rst` (response flags),
`source/common/router/router.cc` (local replies), `source/common/http/utility.cc` (reset reasons).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Flag(StrEnum):
    """One response flag of the access log; the value is how Envoy writes it."""

    UH = "UH"
    UF = "UF"
    UO = "UO"
    NR = "NR"
    URX = "URX"
    NC = "NC"
    DT = "DT"
    DC = "DC"
    LH = "LH"
    UT = "UT"
    LR = "LR"
    UR = "UR"
    UC = "UC"
    DI = "DI"
    FI = "FI"
    RL = "RL"
    UAEX = "UAEX"
    RLSE = "RLSE"
    IH = "IH"
    SI = "SI"
    DPE = "DPE"
    UPE = "UPE"
    UMSDR = "UMSDR"
    OM = "OM"
    DF = "DF"


WORDS: dict[Flag, str] = {
    Flag.UH: "no healthy upstream: every endpoint of the cluster is unhealthy, ejected or absent",
    Flag.UF: "upstream connection failure: connecting or the TLS handshake failed, no request byte was sent",
    Flag.UO: "upstream overflow: a circuit breaker of the cluster was full",
    Flag.NR: "no route: no route matched the request, or no filter chain the connection",
    Flag.URX: "upstream retry limit exceeded: it would have been retried once more, but num_retries was used up",
    Flag.NC: "no cluster: the route names a cluster that this proxy does not have",
    Flag.DT: "duration: the connection or stream reached its maximum duration",
    Flag.DC: "downstream connection termination: the caller went away before the answer was complete",
    Flag.LH: "local health check: the local service failed its health check",
    Flag.UT: "upstream request timeout: the time for all tries, or for one try, was over",
    Flag.LR: "local reset: this proxy reset the stream",
    Flag.UR: "upstream remote reset: the upstream reset the stream",
    Flag.UC: "upstream connection termination: the upstream closed the connection before the answer was complete",
    Flag.DI: "delay injected: the answer was delayed on purpose",
    Flag.FI: "fault injected: the request was aborted on purpose",
    Flag.RL: "rate limited: refused by the local rate limit",
    Flag.UAEX: "unauthorized by an external authorizer; a refusal by RBAC carries no flag but the rule's name",
    Flag.RLSE: "rate limit service error",
    Flag.IH: "invalid header: the request carried a value that is not allowed in a strictly checked header",
    Flag.SI: "stream idle timeout: nothing moved on the stream for too long",
    Flag.DPE: "downstream protocol error: the caller sent what HTTP does not allow",
    Flag.UPE: "upstream protocol error: the upstream answered what HTTP does not allow",
    Flag.UMSDR: "upstream maximum stream duration reached",
    Flag.OM: "overload manager: refused because this proxy protects itself",
    Flag.DF: "DNS failure: the name of the upstream could not be resolved",
}


class Failure(Enum):
    """Why there is no answer of the upstream to pass on."""

    NO_ROUTE = "no route"
    NO_CLUSTER = "no cluster"
    NO_HEALTHY_UPSTREAM = "no healthy upstream"
    OVERFLOW = "overflow"
    CONNECT_FAILURE = "connect failure"
    CONNECT_TIMEOUT = "connect timeout"
    RESET_BEFORE_REQUEST = "reset before request"
    REFUSED_STREAM = "refused stream"
    UPSTREAM_CLOSED = "upstream closed"
    UPSTREAM_RESET = "upstream reset"
    LOCAL_RESET = "local reset"
    UPSTREAM_PROTOCOL_ERROR = "upstream protocol error"
    PER_TRY_TIMEOUT = "per try timeout"
    TIMEOUT = "timeout"
    DOWNSTREAM_PROTOCOL_ERROR = "downstream protocol error"
    DOWNSTREAM_CLOSED = "downstream closed"


@dataclass(frozen=True, slots=True)
class LocalReply:
    """What the proxy itself answers. Status 0: nobody is left to answer to."""

    status: int
    body: bytes
    flag: Flag
    details: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Row:
    """One failure; `reset_reason` set means the body is Envoy's sentence about a reset."""

    status: int
    flag: Flag
    body: str = ""
    details: str = ""
    reset_reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()


DECISION_HEADER = "x-mesh-decision"  # tells a refused caller which rule decided
OVERLOADED = ("x-envoy-overloaded", "true")

_ROWS: dict[Failure, _Row] = {
    Failure.NO_ROUTE: _Row(404, Flag.NR, details="route_not_found"),
    Failure.NO_CLUSTER: _Row(503, Flag.NC, details="cluster_not_found"),
    Failure.NO_HEALTHY_UPSTREAM: _Row(503, Flag.UH, "no healthy upstream", "no_healthy_upstream"),
    Failure.OVERFLOW: _Row(503, Flag.UO, reset_reason="overflow", headers=(OVERLOADED,)),
    Failure.CONNECT_FAILURE: _Row(503, Flag.UF, reset_reason="remote connection failure"),
    Failure.CONNECT_TIMEOUT: _Row(503, Flag.UF, reset_reason="connection timeout"),
    Failure.RESET_BEFORE_REQUEST: _Row(503, Flag.UC, reset_reason="connection termination"),
    Failure.REFUSED_STREAM: _Row(503, Flag.UR, reset_reason="remote refused stream reset"),
    Failure.UPSTREAM_CLOSED: _Row(503, Flag.UC, reset_reason="connection termination"),
    Failure.UPSTREAM_RESET: _Row(503, Flag.UR, reset_reason="remote reset"),
    Failure.LOCAL_RESET: _Row(503, Flag.LR, reset_reason="local reset"),
    Failure.UPSTREAM_PROTOCOL_ERROR: _Row(502, Flag.UPE, reset_reason="protocol error"),
    Failure.PER_TRY_TIMEOUT: _Row(504, Flag.UT, "upstream request timeout", "upstream_per_try_timeout"),
    Failure.TIMEOUT: _Row(504, Flag.UT, "upstream request timeout", "response_timeout"),
    Failure.DOWNSTREAM_PROTOCOL_ERROR: _Row(400, Flag.DPE, "Bad Request", "http1.codec_error"),
    Failure.DOWNSTREAM_CLOSED: _Row(0, Flag.DC, details="downstream_remote_disconnect"),
}


def local_reply(failure: Failure, *, transport_failure: str = "", is_retry: bool = False) -> LocalReply:
    """Say what the caller is told about a failure.

    Args:
        transport_failure: what the socket or the TLS handshake said, for a connection that failed.
        is_retry: the failed try was not the first; Envoy says so in the body.
    """
    row = _ROWS[failure]
    if not row.reset_reason:
        return LocalReply(row.status, row.body.encode(), row.flag, row.details, row.headers)
    retried = "retried and the latest " if is_retry else ""
    why = f", transport failure reason: {transport_failure}" if transport_failure else ""
    body = f"upstream connect error or disconnect/reset before headers. {retried}reset reason: {row.reset_reason}{why}"
    name = row.reset_reason.replace(" ", "_")
    suffix = f"|{transport_failure.replace(' ', '_')}" if transport_failure else ""
    details = f"upstream_reset_before_response_started{{{name}{suffix}}}"
    return LocalReply(row.status, body.encode(), row.flag, details, row.headers)


def denied(rule: str, *, matched: bool) -> tuple[int, bytes, str]:
    """Say what RBAC answers: status, body with the rule, detail for the access log.

    Envoy's body is "RBAC: access denied"; ours goes on with the rule, so that the caller learns what decided.
    """
    details = f"rbac_access_denied_matched_policy[{rule if matched else 'none'}]"
    return 403, f"RBAC: access denied: {rule}".encode(), details


# What outlier detection counts for a failure, with local and external errors not told apart (the default):
# a failed connect is a 503, a timeout a 504, a reset a 500. A failure that is not the endpoint's is not in the table.
OUTLIER_STATUS: dict[Failure, int] = {
    Failure.CONNECT_FAILURE: 503,
    Failure.CONNECT_TIMEOUT: 503,
    Failure.RESET_BEFORE_REQUEST: 500,
    Failure.REFUSED_STREAM: 500,
    Failure.UPSTREAM_CLOSED: 500,
    Failure.UPSTREAM_RESET: 500,
    Failure.UPSTREAM_PROTOCOL_ERROR: 500,
    Failure.PER_TRY_TIMEOUT: 504,
    Failure.TIMEOUT: 504,
}


def join_flags(flags: tuple[Flag, ...]) -> str:
    """Write flags as the access log does: comma separated, "-" for none."""
    return ",".join(flags) or "-"
