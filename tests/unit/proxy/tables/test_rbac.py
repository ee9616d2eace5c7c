"""The compiled authorizer says what the protobuf says, and what the intentions say."""

from __future__ import annotations

import pytest
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.config.entries import (
    Action,
    HeaderMatch,
    HttpMatch,
    Protocol,
    ServiceIntentions,
    SourceIntention,
)
from mesh.config.entries import (
    Permission as PermissionEntry,
)
from mesh.intentions.evaluate import decide
from mesh.intentions.rows import rows
from mesh.proxy.tables.compile_rbac import UNDERSTOOD, compile_filter
from mesh.proxy.tables.model import Decision, RequestView, Verdict
from mesh.proxy.tables.nack import ConfigNack, Place, require_understood
from mesh.proxy.tables.rbac import ANYBODY, NOBODY, CompiledAuthorizer, Filter, PrincipalSet
from mesh.xds.build.rbac import rbac as build_rbac
from tests.fakes.naive_rbac import evaluate

SERVICES = ("order-service", "payment-service", "ledger-service", "pulse-service")


def spiffe(service: str) -> str:
    return f"spiffe://dominos.internal/ns/production/sa/{service}"


def compiled(*filters: RBAC, is_http: bool = True) -> CompiledAuthorizer:
    made = []
    for rules in filters:
        kind = http_rbac_pb2.RBAC if is_http else network_rbac_pb2.RBAC
        config = kind(rules=rules)
        require_understood(config, UNDERSTOOD, Place("r"))
        one = compile_filter(config, Place("r"), is_http=is_http)
        assert isinstance(one, Filter)
        made.append(one)
    return CompiledAuthorizer(made)


def authenticated(name: str) -> Principal:
    return Principal(authenticated=Principal.Authenticated(principal_name=StringMatcher(exact=name)))


PRINCIPALS = st.recursive(
    st.sampled_from(
        [
            Principal(any=True),
            Principal(authenticated=Principal.Authenticated()),
            *(authenticated(spiffe(service)) for service in SERVICES),
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda one: Principal(not_id=one), inner),
        st.builds(lambda ids: Principal(and_ids=Principal.Set(ids=ids)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda ids: Principal(or_ids=Principal.Set(ids=ids)), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)
PERMISSIONS = st.recursive(
    st.sampled_from(
        [
            Permission(any=True),
            Permission(url_path=PathMatcher(path=StringMatcher(exact="/a"))),
            Permission(url_path=PathMatcher(path=StringMatcher(prefix="/a"))),
            Permission(header=HeaderMatcher(name=":method", string_match=StringMatcher(exact="GET"))),
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda one: Permission(not_rule=one), inner),
        st.builds(lambda one: Permission(and_rules=Permission.Set(rules=one)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: Permission(or_rules=Permission.Set(rules=one)), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=4,
)
POLICIES = st.builds(
    lambda permissions, principals: Policy(permissions=permissions, principals=principals),
    st.lists(PERMISSIONS, min_size=1, max_size=2),
    st.lists(PRINCIPALS, min_size=1, max_size=2),
)
FILTERS = st.builds(
    lambda action, policies: RBAC(action=action, policies=policies),
    st.sampled_from([RBAC.ALLOW, RBAC.DENY]),
    st.dictionaries(st.sampled_from("abcd"), POLICIES, max_size=4),
)
CALLERS = st.sampled_from([None, *(spiffe(service) for service in SERVICES), spiffe("stranger")])
VIEWS = st.builds(
    lambda method, path, caller: RequestView(method, path, "x", {}, caller),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/a", "/ab", "/b"]),
    CALLERS,
)


@settings(max_examples=150)
@pytest.mark.slow
@given(st.lists(FILTERS, max_size=3), st.lists(VIEWS, min_size=1, max_size=5))
def test_compiled_and_naive_agree(filters: list[RBAC], views: list[RequestView]) -> None:
    authorizer = compiled(*filters)
    for view in views:
        is_allowed, rule = evaluate(filters, view)
        decision = authorizer.decide(view)
        assert (decision.verdict is Verdict.ALLOW) == is_allowed
        if rule is not None:
            assert decision.rule == rule


# ------------------------------------------------------------------- intentions -> protobuf -> Authorizer

MATCHES = st.builds(
    HttpMatch,
    path_prefix=st.sampled_from([None, "/a", "/"]),
    headers=st.sampled_from(
        [(), (HeaderMatch("x-tier", exact="gold"),), (HeaderMatch("x-tier", regex="g.*", invert=True),)]
    ),
    methods=st.sampled_from([(), ("GET",), ("GET", "POST")]),
)
PERMISSION_ROWS = st.lists(
    st.builds(PermissionEntry, st.sampled_from(list(Action)), MATCHES), min_size=1, max_size=3
).map(tuple)


@st.composite
def intention_lists(draw: st.DrawFn) -> ServiceIntentions:
    """Draw rows that a write would accept: each source once, `*` last."""
    names = draw(st.lists(st.sampled_from(SERVICES), unique=True, max_size=4))
    sources = []
    for name in names:
        if draw(st.booleans()):
            sources.append(SourceIntention(name, permissions=draw(PERMISSION_ROWS)))
        else:
            sources.append(SourceIntention(name, draw(st.sampled_from(list(Action)))))
    if draw(st.booleans()) or not sources:
        sources.append(SourceIntention("*", draw(st.sampled_from(list(Action))), precedence=8))
    return ServiceIntentions("payment-service", tuple(sources))


def authorizer_for(intentions: ServiceIntentions | None, protocol: Protocol) -> CompiledAuthorizer:
    rules = rows(intentions, protocol)
    filters = [build_rbac(rules, action, "dominos.internal", "production") for action in (Action.DENY, Action.ALLOW)]
    return compiled(*filters, is_http=protocol is Protocol.HTTP)


@settings(max_examples=150)
@pytest.mark.slow
@given(
    intention_lists(),
    st.sampled_from([*SERVICES, "stranger"]),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/a", "/b"]),
    st.sampled_from([{}, {"x-tier": ("gold",)}, {"x-tier": ("tin",)}]),
)
def test_rbac_says_what_the_intentions_say(
    intentions: ServiceIntentions, caller: str, method: str, path: str, headers: dict[str, tuple[str, ...]]
) -> None:
    view = RequestView(method, path, "payment-service", headers, spiffe(caller))
    wanted = decide(intentions, caller, view, protocol=Protocol.HTTP)
    decision = authorizer_for(intentions, Protocol.HTTP).decide(view)
    assert (decision.verdict is Verdict.ALLOW) == wanted.is_allowed
    if wanted.rule != "default deny":
        assert decision.rule == wanted.rule
    on_tcp = decide(intentions, caller, None, protocol=Protocol.TCP)
    cut = authorizer_for(intentions, Protocol.TCP).decide_connection(spiffe(caller))
    assert (cut.verdict is Verdict.ALLOW) == on_tcp.is_allowed


def test_without_intentions_nobody_passes_and_the_refusal_names_the_caller() -> None:
    decision = authorizer_for(None, Protocol.HTTP).decide_connection(spiffe("order-service"))
    assert decision == Decision(Verdict.DENY, f"default deny: no intention allows {spiffe('order-service')}")


# --------------------------------------------------------------------------------------------------- cost


def test_a_decision_does_not_cost_more_because_others_have_rules() -> None:
    many = tuple(
        SourceIntention(
            f"service-{number}",
            permissions=(PermissionEntry(Action.ALLOW, HttpMatch(path_prefix="/a")),),
        )
        for number in range(200)
    )
    authorizer = authorizer_for(
        ServiceIntentions("payment-service", (*many, SourceIntention("*", Action.DENY, precedence=8))), Protocol.HTTP
    )
    assert authorizer.candidates_of(spiffe("service-7")) == 1
    assert authorizer.candidates_of(spiffe("stranger")) == 1
    assert authorizer.candidates_of(None) == 1


SETS = st.builds(PrincipalSet, st.frozensets(st.sampled_from(["a", "b", "c", None])), st.booleans())


@given(SETS, SETS, st.sampled_from(["a", "b", "c", "d", None]))
def test_sets_of_principals_are_sets(one: PrincipalSet, other: PrincipalSet, caller: str | None) -> None:
    assert (caller in (one & other)) == (caller in one and caller in other)
    assert (caller in (one | other)) == (caller in one or caller in other)
    assert (caller in ~one) == (caller not in one)
    assert caller in ANYBODY
    assert caller not in NOBODY


# ------------------------------------------------------------------------------------------------ refusals


def rules(permission: Permission | None = None, principal: Principal | None = None, **more: object) -> RBAC:
    policy = Policy(permissions=[permission or Permission(any=True)], principals=[principal or Principal(any=True)])
    return RBAC(**{"action": RBAC.ALLOW, "policies": {"p": policy}, **more})


@pytest.mark.parametrize(
    ("config", "is_http", "path"),
    [
        pytest.param(rules(action=RBAC.LOG), True, "rules.action", id="the action LOG"),
        pytest.param(rules(Permission()), True, "rules.policies['p'].permissions[0]", id="a permission without rule"),
        pytest.param(rules(None, Principal()), True, "rules.policies['p'].principals[0]", id="nobody in particular"),
        pytest.param(RBAC(policies={"p": Policy()}), True, "rules.policies['p']", id="an empty policy"),
        pytest.param(
            rules(None, Principal(authenticated={"principal_name": {"prefix": "spiffe://"}})),
            True,
            "rules.policies['p'].principals[0].authenticated.principal_name",
            id="a principal by prefix",
        ),
        pytest.param(
            rules(None, Principal(source_ip={"address_prefix": "10.0.0.0"})),
            True,
            "rules.policies['p'].principals[0].source_ip",
            id="a principal by address",
        ),
        pytest.param(
            rules(Permission(destination_port=80)),
            True,
            "rules.policies['p'].permissions[0].destination_port",
            id="port",
        ),
        pytest.param(
            rules(Permission(url_path={"path": {"exact": "/a"}})),
            False,
            "rules.policies['p'].permissions[0].url_path",
            id="a path on a TCP connection",
        ),
    ],
)
def test_what_is_refused(config: RBAC, is_http: bool, path: str) -> None:
    with pytest.raises(ConfigNack) as caught:
        compiled(config, is_http=is_http)
    assert caught.value.path == path


def test_a_filter_without_rules_lets_everything_through() -> None:
    assert compile_filter(http_rbac_pb2.RBAC(), Place("r"), is_http=True) is None
    assert CompiledAuthorizer([]).decide_connection(None).verdict is Verdict.ALLOW
