"""What one request may cost: the route's retries and timeouts, with what the local application asks for in headers.

`x-envoy-*` request headers are honoured only from the application beside this proxy and are never passed on; from
anybody else they are only removed. The caller of `plan_for` removes `CONSUMED_HEADERS` in both cases.

An application may ask for more retries than its route has, but not for a second charge: what it adds for a request
that is not idempotent (method outside GET, HEAD, OPTIONS, TRACE, PUT, DELETE, and no `idempotency-key`) is narrowed
to the cases in which no byte of the request reached the application. `is_narrowing=False` switches to Envoy's rule.

Source: Envoy router filter docs, "HTTP headers (consumed)".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mesh.proxy.tables.model import ClusterAction, RetryPolicy

RETRY_ON = "x-envoy-retry-on"
RETRY_GRPC_ON = "x-envoy-retry-grpc-on"
MAX_RETRIES = "x-envoy-max-retries"
STATUS_CODES = "x-envoy-retriable-status-codes"
HEADER_NAMES = "x-envoy-retriable-header-names"
TIMEOUT_MS = "x-envoy-upstream-rq-timeout-ms"
PER_TRY_TIMEOUT_MS = "x-envoy-upstream-rq-per-try-timeout-ms"
TIMEOUT_ALT_RESPONSE = "x-envoy-upstream-rq-timeout-alt-response"
HEDGE = "x-envoy-hedge-on-per-try-timeout"  # removed, without effect: this proxy does not hedge

CONSUMED_HEADERS = frozenset(
    {
        RETRY_ON,
        RETRY_GRPC_ON,
        MAX_RETRIES,
        STATUS_CODES,
        HEADER_NAMES,
        TIMEOUT_MS,
        PER_TRY_TIMEOUT_MS,
        TIMEOUT_ALT_RESPONSE,
        HEDGE,
    }
)

GRPC_STATUS_OF = {
    "1": "cancelled",
    "4": "deadline-exceeded",
    "8": "resource-exhausted",
    "13": "internal",
    "14": "unavailable",
}
GRPC_TOKENS = frozenset(GRPC_STATUS_OF.values())
HTTP_TOKENS = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "refused-stream",
        "retriable-4xx",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
    }
)
KNOWN_TOKENS = HTTP_TOKENS | GRPC_TOKENS
NOTHING_REACHED = frozenset({"connect-failure", "refused-stream", "reset-before-request"})
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


@dataclass(slots=True)  # not frozen: made for each request
class Plan:
    """The limits of one request. None is "no limit" for times and "never retried" for the policy. Nobody changes it."""

    policy: RetryPolicy | None
    timeout_s: float | None
    per_try_timeout_s: float | None
    timeout_status: int = 504


def plan_for(
    action: ClusterAction,
    method: str,
    headers: Mapping[str, tuple[str, ...]],
    *,
    is_from_local_app: bool,
    is_narrowing: bool = True,
) -> Plan:
    """Return the limits of a request.

    Args:
        action: what the route says.
        headers: the request's, names lower case.
        is_from_local_app: the request came through the outbound listener from this host's application.
        is_narrowing: narrow what the application adds for a request that is not idempotent (see above).
    """
    if not is_from_local_app or CONSUMED_HEADERS.isdisjoint(headers):
        return _plan(action.retry, action.timeout_s, action.retry.per_try_timeout_s if action.retry else None)
    policy = _asked_policy(action.retry, headers, may_widen=not is_narrowing or is_idempotent(method, headers))
    timeout_s = action.timeout_s
    asked_ms = _number(headers, TIMEOUT_MS)
    if asked_ms is not None:
        timeout_s = asked_ms / 1000 or None
    per_try_s = action.retry.per_try_timeout_s if action.retry else None
    asked_ms = _number(headers, PER_TRY_TIMEOUT_MS)
    if asked_ms is not None:
        per_try_s = asked_ms / 1000 or None
    return _plan(policy, timeout_s, per_try_s, 204 if TIMEOUT_ALT_RESPONSE in headers else 504)


def is_idempotent(method: str, headers: Mapping[str, tuple[str, ...]]) -> bool:
    """Say whether the same request may arrive twice without harm: by its method, or because it carries a key."""
    return method in IDEMPOTENT_METHODS or "idempotency-key" in headers


def _plan(
    policy: RetryPolicy | None, timeout_s: float | None, per_try_s: float | None, timeout_status: int = 504
) -> Plan:
    """A time for one try that is not shorter than that for all tries says nothing: it is dropped, as in Envoy."""
    if per_try_s is not None and timeout_s is not None and per_try_s >= timeout_s:
        per_try_s = None
    return Plan(policy, timeout_s, per_try_s, timeout_status)


def _asked_policy(
    policy: RetryPolicy | None, headers: Mapping[str, tuple[str, ...]], *, may_widen: bool
) -> RetryPolicy | None:
    """Add to the route's policy what the headers ask for; an unknown token contributes nothing, as in Envoy."""
    asked = frozenset(_words(headers, RETRY_ON)) & HTTP_TOKENS
    asked |= frozenset(_words(headers, RETRY_GRPC_ON)) & GRPC_TOKENS
    if not may_widen:
        asked &= NOTHING_REACHED
    base = policy or RetryPolicy()
    tokens = base.retry_on | asked
    if not tokens:
        return None
    retries = _number(headers, MAX_RETRIES)
    codes = frozenset(int(word) for word in _words(headers, STATUS_CODES) if word.isascii() and word.isdigit())
    names = tuple(word.lower() for word in _words(headers, HEADER_NAMES))
    return replace(
        base,
        retry_on=tokens,
        num_retries=base.num_retries if retries is None else retries,
        retriable_status_codes=base.retriable_status_codes | (codes if may_widen else frozenset()),
        retriable_headers=base.retriable_headers + (names if may_widen else ()),
    )


def _words(headers: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
    """The comma-separated words of all values of a header, blanks trimmed."""
    words = (word.strip() for value in headers.get(name, ()) for word in value.split(","))
    return tuple(word for word in words if word)


def _number(headers: Mapping[str, tuple[str, ...]], name: str) -> int | None:
    """A whole number of at most nine digits; anything else counts as not said, as in Envoy."""
    value = headers.get(name, ("",))[0]
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 9 else None
