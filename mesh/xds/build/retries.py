"""Retry policy: how hard to try, without ever charging twice.

A request may be repeated freely when repeating it does no harm: its method is safe to repeat, or the caller sent an
`idempotency-key`. Every other request is tried again only when it provably never reached the application: no
connection, a stream refused, a reset before the head was sent, or the other sidecar's word (`x-mesh-undelivered`)
that it could not deliver. What a service-router asks for beyond that is narrowed for such requests, not refused.

Source: Envoy `router_filter.rst`, x-envoy-retry-on; Istio's default of 2 retries, previous_hosts, 5 attempts at
choosing another host.
"""

from __future__ import annotations

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from mesh.config.entries import RouteDestination
from mesh.xds.build.matching import header_present
from mesh.xds.build.pack import duration, packed, uint32

IDEMPOTENCY_KEY = "idempotency-key"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")

# The far sidecar adds it to its own answer when no byte of the request reached the application.
UNDELIVERED = "x-mesh-undelivered"

NUM_RETRIES = 2
BASE_INTERVAL_S = 0.025
MAX_INTERVAL_S = 0.25
HOST_SELECTION_ATTEMPTS = 5

DEFAULT_RETRY_ON = ("connect-failure", "refused-stream", "reset", "retriable-status-codes", "retriable-headers")
DEFAULT_STATUS_CODES = (503,)
# Conditions under which the application saw nothing, in the order in which they are written.
NEVER_REACHED = ("connect-failure", "refused-stream", "reset-before-request", "retriable-headers")
# A broad condition contains the narrow ones; a narrowed policy keeps what it contained.
_CONTAINS = {"5xx": NEVER_REACHED, "gateway-error": NEVER_REACHED, "reset": NEVER_REACHED}


def retry_policy(destination: RouteDestination, *, is_repeatable: bool) -> route_components_pb2.RetryPolicy | None:
    """Return the policy of one route, None when it must not retry at all.

    Args:
        destination: what the router says; what it leaves open takes the mesh's default.
        is_repeatable: the route only takes requests that do no harm when repeated.
    """
    conditions = _conditions(destination, is_repeatable=is_repeatable)
    retries = NUM_RETRIES if destination.num_retries is None else destination.num_retries
    if not conditions or not retries:
        return None
    policy = route_components_pb2.RetryPolicy(
        retry_on=",".join(conditions),
        num_retries=uint32(retries),
        retry_back_off=route_components_pb2.RetryPolicy.RetryBackOff(
            base_interval=duration(BASE_INTERVAL_S), max_interval=duration(MAX_INTERVAL_S)
        ),
        retry_host_predicate=[_another_host()],
        host_selection_retry_max_attempts=HOST_SELECTION_ATTEMPTS,
    )
    if destination.per_try_timeout_s is not None:
        policy.per_try_timeout.CopyFrom(duration(destination.per_try_timeout_s))
    if "retriable-status-codes" in conditions:
        policy.retriable_status_codes.extend(destination.retry_on_status_codes or DEFAULT_STATUS_CODES)
    if "retriable-headers" in conditions:
        policy.retriable_headers.append(header_present(UNDELIVERED))
    return policy


def _conditions(destination: RouteDestination, *, is_repeatable: bool) -> tuple[str, ...]:
    """Return the retry_on conditions, each once."""
    asked = dict.fromkeys(_asked(destination))
    if "connect-failure" in asked:
        asked["retriable-headers"] = None  # "could not connect" holds for the last metre to the application too
    if is_repeatable:
        return tuple(asked)
    contained = {narrow for wide in asked for narrow in (wide, *_CONTAINS.get(wide, ()))}
    return tuple(name for name in NEVER_REACHED if name in contained)


def _asked(destination: RouteDestination) -> list[str]:
    """Return the conditions somebody wrote, or the defaults when nobody wrote any."""
    asked = list(destination.retry_on or ())
    if destination.retry_on_connect_failure:
        asked.append("connect-failure")
    if destination.retry_on_status_codes:
        asked.append("retriable-status-codes")
    is_written = bool(asked) or destination.retry_on is not None
    return asked if is_written else list(DEFAULT_RETRY_ON)


def _another_host() -> route_components_pb2.RetryPolicy.RetryHostPredicate:
    """Return "not the host that has just failed"; without it the balancer may choose the same one again."""
    return route_components_pb2.RetryPolicy.RetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
    )
