"""Intentions as Envoy's RBAC: who may call the service beside this proxy.

RBAC has no "first match wins" over a list; it has two filters, DENY before ALLOW, each a set of policies. The rows of
`mesh.intentions.rows` are made for that: they do not overlap, because what an earlier row takes is excluded from the
later ones. So at most one policy matches a request, and its name says which row decided. What no policy of the ALLOW
filter matches is refused: default deny is the absence of a rule.

Source: Envoy `config/rbac/v3/rbac.proto`; Consul `agent/xds/rbac.go` compiles precedence to AND NOT in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.type.matcher.v3 import path_pb2, string_pb2

from mesh.base.names import WILDCARD
from mesh.config.entries import Action, HttpMatch
from mesh.intentions.rows import Rule
from mesh.spiffe.id import SpiffeId
from mesh.xds.build.matching import header_matcher, method_matcher, regex
from mesh.xds.build.pack import packed

HTTP_FILTER = "envoy.filters.http.rbac"
NETWORK_FILTER = "envoy.filters.network.rbac"


def http_filters(rules: tuple[Rule, ...], trust_domain: str, namespace: str) -> list[HttpFilter]:
    """Return the DENY filter and the ALLOW filter of an HTTP connection manager, in that order."""
    return [
        HttpFilter(
            name=f"{HTTP_FILTER}.{action}",
            typed_config=packed(
                http_rbac_pb2.RBAC(
                    rules=rbac(rules, action, trust_domain, namespace), rules_stat_prefix=f"intentions_{action}."
                )
            ),
        )
        for action in (Action.DENY, Action.ALLOW)
    ]


def network_filters(rules: tuple[Rule, ...], trust_domain: str, namespace: str, stat_prefix: str) -> list[Filter]:
    """Return the same two filters for a chain of opaque bytes; only the caller's identity is known there."""
    return [
        Filter(
            name=f"{NETWORK_FILTER}.{action}",
            typed_config=packed(
                network_rbac_pb2.RBAC(
                    rules=rbac(rules, action, trust_domain, namespace), stat_prefix=f"{stat_prefix}_{action}."
                )
            ),
        )
        for action in (Action.DENY, Action.ALLOW)
    ]


def only_identity(identity: str, name: str) -> HttpFilter:
    """Return an ALLOW filter with one policy: this SPIFFE ID and nobody else."""
    policy = Policy(permissions=[Permission(any=True)], principals=[_identity(identity)])
    rules = RBAC(action=RBAC.ALLOW, policies={name: policy})
    return HttpFilter(name=f"{HTTP_FILTER}.{Action.ALLOW}", typed_config=packed(http_rbac_pb2.RBAC(rules=rules)))


def rbac(rules: Iterable[Rule], action: Action, trust_domain: str, namespace: str) -> RBAC:
    """Return the policies of one action.

    Args:
        rules: non-overlapping rows, as `mesh.intentions.rows.rows` gives them.
        action: which of them this filter holds.
        trust_domain: of every caller; with `namespace` it makes a service's name a SPIFFE ID.
    """

    def principal_of(service: str) -> Principal:
        return _identity(str(SpiffeId.for_service(trust_domain, namespace, service)))

    made = RBAC(action=RBAC.ALLOW if action is Action.ALLOW else RBAC.DENY)
    for rule in rules:
        if rule.action is action:
            made.policies[rule.name].CopyFrom(
                Policy(permissions=[_permission(rule)], principals=[_principal(rule, principal_of)])
            )
    return made


def _principal(rule: Rule, principal_of: Callable[[str], Principal]) -> Principal:
    """Return the callers a rule speaks for: one service, or everybody but those that earlier rows name."""
    if rule.source != WILDCARD:
        return principal_of(rule.source)
    if not rule.excluded_sources:
        return Principal(any=True)
    others = [Principal(not_id=principal_of(source)) for source in rule.excluded_sources]
    return Principal(and_ids=Principal.Set(ids=[Principal(any=True), *others]))


def _identity(spiffe_id: str) -> Principal:
    """Return "the peer's certificate proved exactly this SPIFFE ID"."""
    name = string_pb2.StringMatcher(exact=spiffe_id)
    return Principal(authenticated=Principal.Authenticated(principal_name=name))


def _permission(rule: Rule) -> Permission:
    """Return what a request must show: the rule's own match, and none of the earlier permissions of its row."""
    if rule.match is None:
        return Permission(any=True)
    earlier = [Permission(not_rule=_request(match)) for match in rule.excluded_matches]
    return _all_of([_request(rule.match), *earlier])


def _request(match: HttpMatch) -> Permission:
    """Return one written match: path, headers and methods, all of which must hold."""
    parts = [Permission(url_path=path_pb2.PathMatcher(path=path)) for path in _path(match)]
    parts += [Permission(header=header_matcher(header)) for header in match.headers]
    if match.methods:
        parts.append(Permission(header=method_matcher(match.methods)))
    return _all_of(parts or [Permission(any=True)])


def _path(match: HttpMatch) -> list[string_pb2.StringMatcher]:
    """Return the condition on the path without its query; an empty list when there is none."""
    if match.path_exact is not None:
        return [string_pb2.StringMatcher(exact=match.path_exact)]
    if match.path_prefix is not None:
        return [string_pb2.StringMatcher(prefix=match.path_prefix)]
    if match.path_regex is not None:
        return [string_pb2.StringMatcher(safe_regex=regex(match.path_regex))]
    return []


def _all_of(parts: list[Permission]) -> Permission:
    """Return the conjunction, without a wrapper around a single part."""
    return parts[0] if len(parts) == 1 else Permission(and_rules=Permission.Set(rules=parts))
