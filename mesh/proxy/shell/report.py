"""What is told about traffic: access log records and metrics, made when something has ended.

On the data path only a tuple is kept; `AccessLog` turns tuples into lines in batches.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from mesh.proxy.connection.state import StreamEnding
from mesh.proxy.filters.exchange import ConnectionFacts, Ending, Request
from mesh.proxy.policy.flags import join_flags
from mesh.proxy.policy.outlier import Verdict
from mesh.proxy.shell.allowance import Allowance
from mesh.proxy.tables.model import HttpChain, TcpChain
from mesh.telemetry.metrics import Histogram, Metrics, Value

log = logging.getLogger("mesh.sidecar")

SOURCE, DESTINATION = "source", "destination"
RecordMaker = Callable[[], dict[str, Any]]


class Report:
    """The recorder of one proxy (see `connection.state.Recorder`).

    Args:
        node: the xDS node id.
        service: the service beside this proxy.
        metrics: where it is counted.
        write: takes a function that makes the record later; must not block.
    """

    def __init__(self, node: str, service: str, metrics: Metrics, write: Callable[[RecordMaker], None]) -> None:
        self._node = node
        self._service = service
        self._metrics = metrics
        self._write = write
        self._counters: dict[tuple[bool, str, str, int, tuple[Any, ...]], Value] = {}
        self._hops: dict[tuple[bool, str, str], tuple[Histogram, Value, Value]] = {}
        self._refusals: dict[str, Allowance] = {}

    def request(self, request: Request, ending: Ending) -> None:
        """Count a request and note it in the access log."""
        is_inbound = request.chain.is_inbound
        if is_inbound:
            source, destination = request.facts.peer_service or "unknown", self._service
        else:
            source, destination = self._service, request.cluster or "unknown"
        key = (is_inbound, source, destination, ending.status, ending.flags)
        counter = self._counters.get(key) or self._counter(key)
        counter.value += 1
        hop = self._hops.get(key[:3]) or self._hop(key[:3])
        hop[0].observe(ending.duration_s)
        hop[1].value += ending.bytes_received
        hop[2].value += ending.bytes_sent
        for attempt in request.attempts[1:]:
            self._metrics.counter("mesh_upstream_retries_total", request.cluster, attempt.outcome).value += 1
        if request.rule and is_inbound:
            verdict = "deny" if ending.status == 403 and not request.cluster else "allow"
            self._metrics.counter("mesh_rbac_decisions_total", destination, verdict, request.rule).value += 1
        ended_at = time.time()
        self._write(lambda: self._request_record(request, ending, ended_at))

    def malformed(self, facts: ConnectionFacts, chain: HttpChain | None, ending: Ending) -> None:
        """Note what never became a request."""
        is_inbound = chain is not None and chain.is_inbound
        source = (facts.peer_service or "unknown") if is_inbound else self._service
        key = (is_inbound, source, self._service if is_inbound else "unknown", ending.status, ending.flags)
        (self._counters.get(key) or self._counter(key)).value += 1
        ended_at = time.time()
        self._write(
            lambda: {
                "start_time": _time(ended_at),
                "protocol": "HTTP/1.1",
                "response_code": ending.status,
                "response_flags": join_flags(ending.flags),
                "response_code_details": ending.details,
                "bytes_received": ending.bytes_received,
                "bytes_sent": ending.bytes_sent,
                "attempt_count": 0,
                **self._connection(facts, is_inbound),
            }
        )

    def stream(self, chain: TcpChain, facts: ConnectionFacts, ending: StreamEnding) -> None:
        """Count a TCP stream and note it."""
        hop = self._names(chain.is_inbound, facts, ending.cluster)
        if ending.upstream_host:
            self._metrics.counter("mesh_tcp_connections_opened_total", *hop).value += 1
        self._metrics.counter("mesh_tcp_connections_closed_total", *hop, ending.flag or "-").value += 1
        self._metrics.counter("mesh_tcp_received_bytes_total", *hop).value += ending.bytes_received
        self._metrics.counter("mesh_tcp_sent_bytes_total", *hop).value += ending.bytes_sent
        ended_at = time.time()
        self._write(lambda: self._stream_record(chain, facts, ending, ended_at))

    def refused(self, listener: str, reason: str, said: str) -> None:
        """Count a connection that was closed before any request; log it, as long as nobody floods us."""
        self._metrics.counter("mesh_downstream_refused_total", listener, reason).value += 1
        now = time.monotonic()
        left_out = self._refusals.setdefault(reason, Allowance(now)).take(now)
        if left_out is not None:
            facts = {"listener": listener, "reason": reason, "said": said, "left_out": left_out}
            log.warning("connection refused", extra=facts)

    def ejection(self, cluster: str, verdict: Verdict) -> None:
        """Say what outlier detection did, or why it did not."""
        where = f"{verdict.endpoint[0]}:{verdict.endpoint[1]}"
        log.warning("outlier detection", extra={"cluster": cluster, "endpoint": where, "verdict": verdict.reason})
        if verdict.is_ejected:
            self._metrics.counter("mesh_upstream_ejections_total", cluster).value += 1

    # ------------------------------------------------------------------------------- inside

    def _counter(self, key: tuple[bool, str, str, int, tuple[Any, ...]]) -> Value:
        is_inbound, source, destination, status, flags = key
        reporter = DESTINATION if is_inbound else SOURCE
        counter = self._metrics.counter(
            "mesh_requests_total", reporter, source, destination, str(status), join_flags(flags)
        )
        if len(self._counters) < 1000:
            self._counters[key] = counter
        return counter

    def _hop(self, key: tuple[bool, str, str]) -> tuple[Histogram, Value, Value]:
        labels = (DESTINATION if key[0] else SOURCE, key[1], key[2])
        hop = self._hops[key] = (
            self._metrics.histogram("mesh_request_duration_seconds", *labels),
            self._metrics.counter("mesh_request_bytes_total", *labels),
            self._metrics.counter("mesh_response_bytes_total", *labels),
        )
        return hop

    def _names(self, is_inbound: bool, facts: ConnectionFacts, cluster: str) -> tuple[str, str, str]:
        if is_inbound:
            return DESTINATION, facts.peer_service or "unknown", self._service
        return SOURCE, self._service, cluster or "unknown"

    def _connection(self, facts: ConnectionFacts, is_inbound: bool) -> dict[str, Any]:
        return {
            "downstream_peer": facts.peer,
            "downstream_local": facts.local_id if is_inbound else None,
            "downstream_remote_address": facts.remote_address,
            "original_destination": facts.original_destination,
            "reporter": DESTINATION if is_inbound else SOURCE,
            "node": self._node,
        }

    def _request_record(self, request: Request, ending: Ending, ended_at: float) -> dict[str, Any]:
        head, trace = request.head, request.trace
        is_inbound = request.chain.is_inbound
        endpoint = request.endpoint
        return {
            "start_time": _time(ended_at - ending.duration_s),
            "protocol": head.version,
            "method": head.method,
            "path": head.target,
            "authority": str(head.authority),
            "response_code": ending.status,
            "response_flags": join_flags(ending.flags),
            "response_code_details": ending.details,
            "bytes_received": ending.bytes_received,
            "bytes_sent": ending.bytes_sent,
            "duration_ms": round(ending.duration_s * 1000, 3),
            "upstream_host": None if endpoint is None else f"{endpoint.address}:{endpoint.port}",
            "upstream_cluster": request.cluster or None,
            "upstream_peer": request.upstream_peer or None,
            "upstream_local": request.facts.local_id if request.upstream_peer else None,
            "route_name": request.route or None,
            "request_id": request.request_id,
            "traceparent": None if trace is None else trace.traceparent,
            "x_b3_traceid": None if trace is None else trace.trace_id,
            "x_b3_spanid": None if trace is None else trace.span_id,
            "attempt_count": len(request.attempts),
            "user_agent": head.first("user-agent"),
            "rule": request.rule or None,
            "attempts": [
                {"n": a.number, "host": a.host or a.address, "outcome": a.outcome, "wait_ms": round(a.wait_s * 1000, 3)}
                for a in request.attempts
            ],
            **self._connection(request.facts, is_inbound),
        }

    def _stream_record(
        self, chain: TcpChain, facts: ConnectionFacts, ending: StreamEnding, ended_at: float
    ) -> dict[str, Any]:
        return {
            "start_time": _time(ended_at - ending.duration_s),
            "protocol": "TCP",
            "response_code": 0,
            "response_flags": ending.flag or "-",
            "response_code_details": ending.details or None,
            "bytes_received": ending.bytes_received,
            "bytes_sent": ending.bytes_sent,
            "duration_ms": round(ending.duration_s * 1000, 3),
            "upstream_host": ending.upstream_host or None,
            "upstream_cluster": ending.cluster or None,
            "upstream_peer": ending.upstream_peer or None,
            "upstream_local": facts.local_id if ending.upstream_peer else None,
            "rule": ending.rule or None,
            **self._connection(facts, chain.is_inbound),
        }


def _time(epoch_s: float) -> str:
    """Write a moment as RFC 3339 with milliseconds."""
    milliseconds = int(epoch_s * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=16)
def _second(epoch_s: int) -> str:
    """Write a second without its fraction; many records are of the same."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat().removesuffix("+00:00")
