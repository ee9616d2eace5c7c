"""RouteConfiguration -> `RouteTable`."""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2

from mesh.proxy.http.trusted import is_trusted_name
from mesh.proxy.policy.request_plan import KNOWN_TOKENS
from mesh.proxy.tables import match
from mesh.proxy.tables.model import ClusterAction, DirectResponse, PathKind, RetryPolicy, Route, Routes, RouteTable
from mesh.proxy.tables.nack import Place, fields, open_resource, open_typed, require_understood
from mesh.proxy.tables.routes import laid_out
from mesh.proxy.tables.steps import Steps, at_once
from mesh.proxy.tables.values import seconds

_ROUTE = "envoy.config.route.v3."
UNDERSTOOD = {
    _ROUTE + "RouteConfiguration": fields(
        "name virtual_hosts response_headers_to_remove request_headers_to_remove validate_clusters"
    ),
    _ROUTE + "VirtualHost": fields(
        "name domains routes include_request_attempt_count response_headers_to_remove request_headers_to_remove"
    ),
    _ROUTE + "Route": fields("name match route direct_response response_headers_to_remove request_headers_to_remove"),
    _ROUTE + "RouteMatch": fields("prefix path safe_regex headers"),
    _ROUTE + "RouteAction": fields("cluster timeout retry_policy"),
    _ROUTE + "DirectResponseAction": fields("status body"),
    "envoy.config.core.v3.DataSource": fields("inline_string inline_bytes"),
    _ROUTE + "RetryPolicy": fields(
        "retry_on num_retries per_try_timeout retry_host_predicate host_selection_retry_max_attempts"
        " retriable_status_codes retriable_headers retry_back_off"
    ),
    _ROUTE + "RetryPolicy.RetryBackOff": fields("base_interval max_interval"),
    _ROUTE + "RetryPolicy.RetryHostPredicate": fields("name typed_config"),
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate": fields(""),
    **match.UNDERSTOOD,
}

DEFAULT_TIMEOUT_S = 15.0  # Envoy's for a route that says nothing


def compile_routes(name: str, body: bytes) -> RouteTable:
    """Compile one RDS resource.

    Raises:
        ConfigNack: a field or a value that is not implemented.
    """
    return at_once(compile_routes_steps(name, body, None))


def compile_routes_steps(name: str, body: bytes, _: RouteTable | None) -> Steps[RouteTable]:
    """Compile one RDS resource, with a pause before each route.

    Raises:
        ConfigNack: a field or a value that is not implemented.
    """
    at = Place(name)
    message = open_resource(body, route_pb2.RouteConfiguration, UNDERSTOOD, at)
    require_understood(message, UNDERSTOOD, at, besides="virtual_hosts")
    if message.name != name:
        raise at.field("name").nack(f"it says {message.name!r}, the resource is {name!r}")
    for host, where in at.each("virtual_hosts", message.virtual_hosts):
        require_understood(host, UNDERSTOOD, where, besides="routes")
        for route, place in where.each("routes", host.routes):
            yield
            require_understood(route, UNDERSTOOD, place)
    return (yield from _routes_steps(message, at))


def routes_of(message: Any, at: Place) -> RouteTable:
    """Compile a RouteConfiguration that is written into a connection manager, and was walked with it."""
    return at_once(_routes_steps(message, at))


def _routes_steps(message: Any, at: Place) -> Steps[RouteTable]:
    if message.validate_clusters.value:
        raise at.field("validate_clusters").not_implemented("refusing a route to an unknown cluster (it answers NC)")
    by_domain: dict[str, Routes] = {}
    for host, where in at.each("virtual_hosts", message.virtual_hosts):
        compiled = []
        for route, place in where.each("routes", host.routes):
            yield
            compiled.append(_route(route, host, message, place))
        routes = laid_out(compiled)
        if not host.domains:
            raise where.field("domains").nack("a virtual host needs at least one domain")
        for domain, place in where.each("domains", host.domains):
            _require_plain(domain, place)
            if domain.lower() in by_domain:
                raise place.nack(f"a second virtual host for {domain!r}")
            by_domain[domain.lower()] = routes
    return RouteTable(message.name, by_domain)


def _require_plain(domain: str, at: Place) -> None:
    if domain != "*" and (not domain or "*" in domain):
        raise at.not_implemented(f"a domain with a wildcard inside, {domain!r},")


def _route(route: Any, host: Any, table: Any, at: Place) -> Route:
    levels = (route, host, table)  # all three say what to remove, and all of it is removed
    path_kind, path = _path(route.match, at.field("match"))
    return Route(
        name=route.name,
        matches=_match(route.match, at.field("match")),
        action=_action(route, at),
        response_headers_to_remove=_names(name for level in levels for name in level.response_headers_to_remove),
        request_headers_to_remove=_names(name for level in levels for name in level.request_headers_to_remove),
        is_counting_attempts=host.include_request_attempt_count,
        path_kind=path_kind,
        path=path,
    )


def _names(names: Any) -> tuple[str, ...]:
    """Return names to remove, without those that never pass anyway: what is left costs every request a look."""
    lower = (name.lower() for name in names)
    return tuple(dict.fromkeys(name for name in lower if not is_trusted_name(name)))


def _path(message: Any, at: Place) -> tuple[PathKind, str]:
    """Return what a route wants of the path."""
    kind = message.WhichOneof("path_specifier")
    if kind is None:
        raise at.nack("a route needs a condition on the path; every path is prefix '/'")
    if kind == "safe_regex":
        return PathKind.REGEX, message.safe_regex.regex
    return (PathKind.PREFIX, message.prefix) if kind == "prefix" else (PathKind.EXACT, message.path)


def _match(message: Any, at: Place) -> match.Predicate:
    kind, path = _path(message, at)
    headers = [match.header_matcher(one, where) for one, where in at.each("headers", message.headers)]
    if kind is PathKind.REGEX:
        return match.all_of([_regex(message, at), *headers])
    return match.all_of([_has_path(kind, path), *headers])


def _starts_with_slash(view: Any) -> bool:
    return bool(view.path[:1] == "/")


def _has_path(kind: PathKind, path: str) -> match.Predicate:
    if kind is PathKind.EXACT:
        return lambda view: view.path == path
    if path == "/":  # every path begins so, but `*` of OPTIONS does not
        return _starts_with_slash
    return lambda view: view.path.startswith(path)


def _regex(message: Any, at: Place) -> match.Predicate:
    test = match.regex_matcher(message.safe_regex, at.field("safe_regex"))
    return lambda view: test(view.path)


def _action(route: Any, at: Place) -> ClusterAction | DirectResponse:
    kind = route.WhichOneof("action")
    if kind == "direct_response":
        return _direct(route.direct_response, at.field(kind))
    if kind != "route":
        raise at.nack("a route needs an action")
    action, at = route.route, at.field(kind)
    if not action.cluster:
        raise at.field("cluster").nack("a route needs the name of a cluster")
    timeout_s = DEFAULT_TIMEOUT_S
    if action.HasField("timeout"):
        timeout_s = seconds(action.timeout, at.field("timeout"))
    retry = _retry(action.retry_policy, at.field("retry_policy")) if action.HasField("retry_policy") else None
    return ClusterAction(action.cluster, timeout_s or None, retry)


def _direct(message: Any, at: Place) -> DirectResponse:
    if not 200 <= message.status <= 599:
        raise at.field("status").nack(f"200 to 599 is right, found {message.status}")
    body = message.body.inline_bytes or message.body.inline_string.encode()
    return DirectResponse(message.status, body)


def _retry(message: Any, at: Place) -> RetryPolicy:
    tokens = frozenset(token.strip() for token in message.retry_on.split(",") if token.strip())
    if tokens - KNOWN_TOKENS:  # Envoy ignores an unknown condition: a typing error would switch retries off unseen
        raise at.field("retry_on").not_implemented(f"the condition {min(tokens - KNOWN_TOKENS)!r}")
    base_s, max_s = _back_off(message, at.field("retry_back_off"))
    per_try_s = seconds(message.per_try_timeout, at.field("per_try_timeout"))
    return RetryPolicy(
        retry_on=tokens,
        num_retries=message.num_retries.value if message.HasField("num_retries") else 1,
        per_try_timeout_s=per_try_s or None,
        base_interval_s=base_s,
        max_interval_s=max_s,
        retriable_status_codes=frozenset(message.retriable_status_codes),
        retriable_headers=tuple(
            _header(one, where) for one, where in at.each("retriable_headers", message.retriable_headers)
        ),
        is_avoiding_previous_hosts=_is_avoiding(message, at),
        host_selection_attempts=message.host_selection_retry_max_attempts or 1,
    )


def _headers(matchers: Any, at: Place) -> tuple[str, ...]:
    return tuple(_header(one, where) for one, where in at.each("retriable_headers", matchers))


def _header(message: Any, at: Place) -> str:
    if message.WhichOneof("header_match_specifier") != "present_match" or not message.present_match:
        raise at.not_implemented("a retriable header matched other than by its presence")
    if message.invert_match or message.treat_missing_header_as_empty:
        raise at.not_implemented("an inverted retriable header")
    name: str = message.name.lower()
    return name


def _back_off(message: Any, at: Place) -> tuple[float, float]:
    """Return base and maximum in seconds; a maximum that is not written is ten times the base."""
    if not message.HasField("retry_back_off"):
        return 0.025, 0.25
    back_off = message.retry_back_off
    base_s = seconds(back_off.base_interval, at.field("base_interval"))
    if base_s <= 0:
        raise at.field("base_interval").nack("a time above 0 is right")
    max_s = seconds(back_off.max_interval, at.field("max_interval")) or base_s * 10
    if max_s < base_s:
        raise at.field("max_interval").nack(f"{max_s:g} s is less than base_interval, {base_s:g} s")
    return base_s, max_s


def _is_avoiding(message: Any, at: Place) -> bool:
    for predicate, where in at.each("retry_host_predicate", message.retry_host_predicate):
        open_typed(predicate.typed_config, previous_hosts_pb2.PreviousHostsPredicate, where.field("typed_config"))
    return bool(message.retry_host_predicate)
