"""The RBAC that is sent says what the intentions say."""

from __future__ import annotations

import pytest
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from hypothesis import given
from hypothesis import strategies as st

from mesh.config.entries import Action, HeaderMatch, HttpMatch, Permission, Protocol, ServiceIntentions, SourceIntention
from mesh.intentions.evaluate import DEFAULT_DENY, decide
from mesh.intentions.match import Request
from mesh.intentions.rows import rows
from mesh.xds.build.rbac import http_filters, only_identity, rbac
from tests.fakes.rbac_engine import engine_allows, matching_policies
from tests.fakes.sample_mesh import NAMESPACE, PAYMENT_INTENTIONS, TRUST_DOMAIN, spiffe_id

CALLERS = st.sampled_from(["order-service", "pulse-service", "ledger-service", "stranger-service"])
ACTIONS = st.sampled_from(list(Action))
PATHS = ["/", "/charge", "/charge/admin", "/report"]
METHODS = ["GET", "POST", "PUT"]
HEADERS = st.one_of(
    st.builds(HeaderMatch, st.just("x-tier"), present=st.booleans(), invert=st.booleans()),
    st.builds(HeaderMatch, st.just("x-tier"), exact=st.sampled_from(["gold", "GOLD"]), ignore_case=st.booleans()),
    st.builds(HeaderMatch, st.just("x-tier"), prefix=st.just("go"), invert=st.booleans()),
    st.builds(HeaderMatch, st.just("x-tier"), regex=st.just("g.*|silver")),
    st.builds(HeaderMatch, st.just("x-tier"), contains=st.just("ol")),
    st.builds(HeaderMatch, st.just("x-tier"), suffix=st.just("ld")),
)
PATH_CONDITIONS = st.sampled_from(
    [{}, {"path_exact": "/charge"}, {"path_prefix": "/charge"}, {"path_regex": "/(charge|report).*"}]
)


@st.composite
def matches(draw: st.DrawFn) -> HttpMatch:
    methods = tuple(draw(st.lists(st.sampled_from(METHODS), unique=True, max_size=2)))
    return HttpMatch(**draw(PATH_CONDITIONS), headers=tuple(draw(st.lists(HEADERS, max_size=2))), methods=methods)


@st.composite
def sources(draw: st.DrawFn, name: str) -> SourceIntention:
    if name == "*" or draw(st.booleans()):
        return SourceIntention(name, action=draw(ACTIONS))
    permissions = st.lists(st.builds(Permission, ACTIONS, matches()), min_size=1, max_size=3)
    return SourceIntention(name, permissions=tuple(draw(permissions)))


@st.composite
def intention_lists(draw: st.DrawFn) -> ServiceIntentions:
    names = draw(st.lists(CALLERS, unique=True, min_size=1, max_size=3))
    if draw(st.booleans()):
        names.append("*")
    return ServiceIntentions("payment-service", tuple(draw(sources(name)) for name in names))


REQUESTS = st.builds(
    Request,
    st.sampled_from(METHODS),
    st.sampled_from(PATHS),
    st.sampled_from([{}, {"x-tier": ("gold",)}, {"x-tier": ("GOLD",)}, {"x-tier": ("silver", "gold")}]),
)


@given(intention_lists(), CALLERS, REQUESTS)
def test_an_http_chain_decides_as_the_intentions_do(written: ServiceIntentions, caller: str, request: Request) -> None:
    rules = rows(written, Protocol.HTTP)
    filters = [rbac(rules, action, TRUST_DOMAIN, NAMESPACE) for action in (Action.DENY, Action.ALLOW)]
    decision = decide(written, caller, request, protocol=Protocol.HTTP)
    assert engine_allows(filters, spiffe_id(caller), request) == decision.is_allowed
    named = [name for one in filters for name in matching_policies(one, spiffe_id(caller), request)]
    assert named == ([] if decision.rule == DEFAULT_DENY else [decision.rule]), "the policy's name is the deciding rule"


@given(intention_lists(), CALLERS)
def test_a_tcp_chain_decides_as_the_intentions_do(written: ServiceIntentions, caller: str) -> None:
    rules = rows(written, Protocol.TCP)
    filters = [rbac(rules, action, TRUST_DOMAIN, NAMESPACE) for action in (Action.DENY, Action.ALLOW)]
    assert (
        engine_allows(filters, spiffe_id(caller), None)
        == decide(written, caller, None, protocol=Protocol.TCP).is_allowed
    )


def test_nobody_wrote_anything_is_an_allow_filter_without_policies() -> None:
    deny, allow = (HttpRbac.FromString(one.typed_config.value) for one in http_filters((), TRUST_DOMAIN, NAMESPACE))
    assert deny.rules.action == deny.rules.DENY
    assert allow.rules.action == allow.rules.ALLOW
    assert allow.HasField("rules"), "a filter without rules would allow everything"
    assert not engine_allows([deny.rules, allow.rules], spiffe_id("order-service"), Request())


@pytest.mark.parametrize(
    "caller",
    [
        pytest.param("spiffe://other.domain/ns/production/sa/order-service", id="of another trust domain"),
        pytest.param("spiffe://dominos.internal/ns/staging/sa/order-service", id="of another namespace"),
        pytest.param("spiffe://dominos.internal/ns/production/sa/order-service-2", id="with a longer name"),
    ],
)
def test_a_like_named_caller_is_somebody_else(caller: str) -> None:
    rules = rows(PAYMENT_INTENTIONS, Protocol.HTTP)
    allow = rbac(rules, Action.ALLOW, TRUST_DOMAIN, NAMESPACE)
    request = Request("POST", "/charge")
    assert engine_allows([allow], spiffe_id("order-service"), request)
    assert not engine_allows([allow], caller, request)


def test_the_probe_is_answered_to_one_identity() -> None:
    read = HttpRbac.FromString(only_identity(spiffe_id("order-service"), "probe").typed_config.value)
    assert engine_allows([read.rules], spiffe_id("order-service"), Request())
    assert not engine_allows([read.rules], spiffe_id("payment-service"), Request())
