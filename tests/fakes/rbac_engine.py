"""Envoy's RBAC, evaluated as its protos document it: slow, plain, and only for comparison."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mesh.base.regex import compile_regex
from mesh.intentions.match import HttpRequest


def engine_allows(filters: Iterable[Any], principal: str, request: HttpRequest | None) -> bool:
    """Say whether a request passes all RBAC filters of a chain, in order.

    Args:
        filters: RBAC messages; one that is DENY refuses on a match, one that is ALLOW on no match.
        principal: the caller's SPIFFE ID.
        request: None on a chain of opaque bytes.
    """
    for rbac in filters:
        is_matched = bool(matching_policies(rbac, principal, request))
        if is_matched == (rbac.action == rbac.DENY):
            return False
    return True


def matching_policies(rbac: Any, principal: str, request: HttpRequest | None) -> list[str]:
    """Return the names of all policies that match; a policy needs one principal and one permission."""
    return [
        name
        for name, policy in rbac.policies.items()
        if any(_principal(one, principal) for one in policy.principals)
        and any(_permission(one, request) for one in policy.permissions)
    ]


def _principal(rule: Any, principal: str) -> bool:
    kind = rule.WhichOneof("identifier")
    if kind == "any":
        return bool(rule.any)
    if kind == "authenticated":
        return _string(rule.authenticated.principal_name, principal)
    if kind == "not_id":
        return not _principal(rule.not_id, principal)
    assert kind == "and_ids"
    return all(_principal(one, principal) for one in rule.and_ids.ids)


def _permission(rule: Any, request: HttpRequest | None) -> bool:
    kind = rule.WhichOneof("rule")
    if kind == "any":
        return bool(rule.any)
    if kind == "not_rule":
        return not _permission(rule.not_rule, request)
    if kind == "and_rules":
        return all(_permission(one, request) for one in rule.and_rules.rules)
    assert request is not None, "an HTTP rule on a chain of opaque bytes"
    if kind == "url_path":
        return _string(rule.url_path.path, request.path)
    assert kind == "header"
    return header_matches(rule.header, request)


def header_matches(matcher: Any, request: HttpRequest) -> bool:
    """Judge a HeaderMatcher; `:method` is a header here. A missing header fails all but a presence match."""
    values = (request.method,) if matcher.name == ":method" else request.headers.get(matcher.name)
    if matcher.WhichOneof("header_match_specifier") == "present_match":
        return bool(((values is not None) == matcher.present_match) != matcher.invert_match)
    if values is None:
        return False
    return any(_string(matcher.string_match, value) for value in values) != bool(matcher.invert_match)


def _string(matcher: Any, value: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return compile_regex(matcher.safe_regex.regex).fullmatch(value)
    wanted = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    answers: dict[str, bool] = {
        "exact": value == wanted,
        "prefix": value.startswith(wanted),
        "suffix": value.endswith(wanted),
        "contains": wanted in value,
    }
    return answers[kind]
