"""Envoy's RBAC evaluated as its protobuf reads, slowly; what the compiled authorizer is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.rbac.v3.rbac_pb2 import RBAC

from mesh.proxy.tables.model import RequestView


def principal_matches(principal: Any, caller: str | None) -> bool:
    """Say whether a Principal takes a caller; None proved nothing."""
    kind = principal.WhichOneof("identifier")
    if kind == "any":
        return True
    if kind == "not_id":
        return not principal_matches(principal.not_id, caller)
    if kind == "and_ids":
        return all(principal_matches(one, caller) for one in principal.and_ids.ids)
    if kind == "or_ids":
        return any(principal_matches(one, caller) for one in principal.or_ids.ids)
    if not principal.authenticated.HasField("principal_name"):
        return caller is not None
    return bool(caller == principal.authenticated.principal_name.exact)


def permission_matches(permission: Any, view: RequestView) -> bool:
    """Say whether a Permission takes a request."""
    kind = permission.WhichOneof("rule")
    if kind == "any":
        return True
    if kind == "not_rule":
        return not permission_matches(permission.not_rule, view)
    if kind == "and_rules":
        return all(permission_matches(one, view) for one in permission.and_rules.rules)
    if kind == "or_rules":
        return any(permission_matches(one, view) for one in permission.or_rules.rules)
    if kind == "url_path":
        path = permission.url_path.path
        return (
            view.path == path.exact
            if path.WhichOneof("match_pattern") == "exact"
            else view.path.startswith(path.prefix)
        )
    return bool(view.method == permission.header.string_match.exact)


def evaluate(filters: Sequence[Any], view: RequestView) -> tuple[bool, str | None]:
    """Walk every policy of every filter in the order of names; say whether it passes and which policy decided."""
    said: str | None = None
    for rules in filters:
        hit = None
        for name in sorted(rules.policies):
            policy = rules.policies[name]
            if any(principal_matches(one, view.principal) for one in policy.principals) and any(
                permission_matches(one, view) for one in policy.permissions
            ):
                hit = name
                break
        if rules.action == RBAC.DENY and hit:
            return False, hit
        if rules.action == RBAC.ALLOW:
            if not hit:
                return False, None
            said = hit
    return True, said
