"""Envoy RBAC protobuf -> policies of `mesh.proxy.tables.rbac`."""

from __future__ import annotations

from typing import Any

from envoy.config.rbac.v3 import rbac_pb2

from mesh.proxy.tables import match
from mesh.proxy.tables.nack import Place, fields
from mesh.proxy.tables.rbac import ANYBODY, NOBODY, Action, Filter, Policy, PrincipalSet

UNDERSTOOD = {
    "envoy.extensions.filters.http.rbac.v3.RBAC": fields("rules rules_stat_prefix"),
    "envoy.extensions.filters.network.rbac.v3.RBAC": fields("rules stat_prefix"),
    "envoy.config.rbac.v3.RBAC": fields("action policies"),
    "envoy.config.rbac.v3.Policy": fields("permissions principals"),
    "envoy.config.rbac.v3.Permission": fields("and_rules or_rules any header url_path not_rule"),
    "envoy.config.rbac.v3.Permission.Set": fields("rules"),
    "envoy.config.rbac.v3.Principal": fields("and_ids or_ids any authenticated not_id"),
    "envoy.config.rbac.v3.Principal.Set": fields("ids"),
    "envoy.config.rbac.v3.Principal.Authenticated": fields("principal_name"),
    **match.UNDERSTOOD,
}

_ACTIONS = {rbac_pb2.RBAC.ALLOW: Action.ALLOW, rbac_pb2.RBAC.DENY: Action.DENY}


def compile_filter(config: Any, at: Place, *, is_http: bool) -> Filter | None:
    """Compile one RBAC filter; without rules it lets everything through (None).

    Args:
        config: the HTTP or the network filter's message.
        is_http: a network filter knows only the peer: conditions on a request in it are refused.

    Raises:
        ConfigNack: an action, permission or principal that is not implemented.
    """
    if not config.HasField("rules"):
        return None
    rules, at = config.rules, at.field("rules")
    if rules.action not in _ACTIONS:
        raise at.field("action").not_implemented(f"the action {rules.action}")
    policies = [
        _policy(name, rules.policies[name], at.field("policies", repr(name)), is_http=is_http)
        for name in sorted(rules.policies)  # Envoy looks at policies in the order of their names
    ]
    return Filter(_ACTIONS[rules.action], tuple(policies))


def _policy(name: str, policy: Any, at: Place, *, is_http: bool) -> Policy:
    if not policy.permissions or not policy.principals:
        raise at.nack("a policy needs at least one permission and one principal")
    permissions = [_permission(one, where, is_http) for one, where in at.each("permissions", policy.permissions)]
    principals = NOBODY
    for one, where in at.each("principals", policy.principals):
        principals = principals | _principal(one, where)
    is_always = match.always in permissions
    return Policy(name, principals, match.always if is_always else match.any_of(permissions))


def _permission(permission: Any, at: Place, is_http: bool) -> match.Predicate:
    kind = permission.WhichOneof("rule")
    if kind == "any":
        return match.always
    if kind == "and_rules":
        rules = permission.and_rules.rules
        parts = [_permission(one, where, is_http) for one, where in at.field(kind).each("rules", rules)]
        return match.all_of([part for part in parts if part is not match.always])
    if kind == "or_rules":
        rules = permission.or_rules.rules
        parts = [_permission(one, where, is_http) for one, where in at.field(kind).each("rules", rules)]
        return match.always if match.always in parts else match.any_of(parts)
    if kind == "not_rule":
        return match.not_(_permission(permission.not_rule, at.field(kind), is_http))
    if kind in ("header", "url_path") and not is_http:
        raise at.field(kind).nack("a condition on an HTTP request in a filter of TCP connections can never be met")
    if kind == "header":
        return match.header_matcher(permission.header, at.field(kind))
    if kind == "url_path":
        return match.path_string(permission.url_path, at.field(kind))
    raise at.nack("a permission without a rule")


def _principal(principal: Any, at: Place) -> PrincipalSet:
    kind = principal.WhichOneof("identifier")
    if kind == "any":
        return ANYBODY
    if kind == "authenticated":
        return _authenticated(principal.authenticated, at.field(kind))
    if kind == "not_id":
        return ~_principal(principal.not_id, at.field(kind))
    if kind == "and_ids":
        together = ANYBODY
        for one, where in at.field(kind).each("ids", principal.and_ids.ids):
            together = together & _principal(one, where)
        return together
    if kind == "or_ids":
        either = NOBODY
        for one, where in at.field(kind).each("ids", principal.or_ids.ids):
            either = either | _principal(one, where)
        return either
    raise at.nack("a principal without an identifier")


def _authenticated(authenticated: Any, at: Place) -> PrincipalSet:
    """Only exact names: then the set of callers of any policy is a finite set or what is outside of one."""
    if not authenticated.HasField("principal_name"):
        return PrincipalSet(frozenset({None}), is_complement=True)  # whoever proved anything
    name = authenticated.principal_name
    if name.WhichOneof("match_pattern") != "exact" or name.ignore_case:
        raise at.field("principal_name").not_implemented("matching a principal other than by its exact name")
    return PrincipalSet(frozenset({name.exact}))
