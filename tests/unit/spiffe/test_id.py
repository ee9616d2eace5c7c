"""The rules of SPIFFE IDs, one row each, and what must hold for all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.base.errors import IdentityError
from mesh.spiffe.id import SpiffeId

LOWER = "abcdefghijklmnopqrstuvwxyz0123456789.-_"
TRUST_DOMAINS = st.text(LOWER, min_size=1, max_size=40)
SEGMENTS = st.text(LOWER + LOWER.upper(), min_size=1, max_size=20).filter(lambda text: text not in (".", ".."))
PATHS = st.lists(SEGMENTS, max_size=6).map(lambda parts: "".join("/" + part for part in parts))


@pytest.mark.parametrize(
    ("text", "trust_domain", "path"),
    [
        pytest.param("spiffe://a.b/ns/x/sa/y", "a.b", "/ns/x/sa/y", id="a service"),
        pytest.param("SPIFFE://A.b/X", "a.b", "/X", id="scheme and trust domain in any case, the path as it is"),
        pytest.param("spiffe://a", "a", "", id="a trust domain"),
        pytest.param("spiffe://a_b-c.d/-._", "a_b-c.d", "/-._", id="all the marks"),
        pytest.param("spiffe://a/...", "a", "/...", id="three dots are a name"),
        pytest.param("spiffe://1.2.3.4/x", "1.2.3.4", "/x", id="digits only"),
        pytest.param("spiffe://" + "a" * 255 + "/x", "a" * 255, "/x", id="a trust domain of 255"),
        pytest.param("spiffe://a/" + "b" * 2037, "a", "/" + "b" * 2037, id="2048 in all"),
    ],
)
def test_read(text: str, trust_domain: str, path: str) -> None:
    assert SpiffeId.parse(text) == SpiffeId(trust_domain, path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("", "does not begin with", id="nothing"),
        pytest.param("spiffe:/a/b", "does not begin with", id="one slash"),
        pytest.param("https://a/b", "does not begin with", id="another scheme"),
        pytest.param(" spiffe://a/b", "does not begin with", id="a blank first"),
        pytest.param("\u017fpiffe://a/b", "does not begin with", id="a long s is no s"),
        pytest.param("spiffe://", "trust domain is empty", id="no trust domain"),
        pytest.param("spiffe:///b", "trust domain is empty", id="only a path"),
        pytest.param("spiffe://a:1/b", "port", id="port"),
        pytest.param("spiffe://u@a/b", "user info", id="user info"),
        pytest.param("spiffe://u:p@a/b", "user info", id="user and password"),
        pytest.param("spiffe://%61/b", "percent-encoding", id="escape in the trust domain"),
        pytest.param("spiffe://[::1]/b", "port", id="IPv6"),
        pytest.param("spiffe://\u212a/b", "more than a-z", id="the Kelvin sign does not become k"),
        pytest.param("spiffe://ä/b", "more than a-z", id="not ASCII"),
        pytest.param("spiffe://a /b", "more than a-z", id="blank in the trust domain"),
        pytest.param("spiffe://" + "a" * 256 + "/x", "at most 255", id="a trust domain of 256"),
        pytest.param("spiffe://a/" + "b" * 2038, "at most 2048", id="2049 in all"),
        pytest.param("spiffe://a/", "ends with a slash", id="root path"),
        pytest.param("spiffe://a/b/", "ends with a slash", id="trailing slash"),
        pytest.param("spiffe://a//b", "empty segment", id="double slash"),
        pytest.param("spiffe://a/./b", "dot segment", id="dot"),
        pytest.param("spiffe://a/../b", "dot segment", id="dots"),
        pytest.param("spiffe://a/b/..", "dot segment", id="dots at the end"),
        pytest.param("spiffe://a/%2e", "percent-encoding", id="escape in the path"),
        pytest.param("spiffe://a/b?c", "query", id="query"),
        pytest.param("spiffe://a?c", "query", id="query without a path"),
        pytest.param("spiffe://a/b#c", "fragment", id="fragment"),
        pytest.param("spiffe://a/b\n", "more than a-z", id="line feed at the end"),
        pytest.param("spiffe://a\n", "more than a-z", id="line feed after the trust domain"),
        pytest.param("spiffe://a/b\x00", "more than a-z", id="NUL"),
        pytest.param("spiffe://a/*", "more than a-z", id="wildcard"),
        pytest.param("spiffe://a/ö", "more than a-z", id="not ASCII in the path"),
    ],
)
def test_refused(text: str, fault: str) -> None:
    with pytest.raises(IdentityError, match=fault):
        SpiffeId.parse(text)


def test_the_constructor_checks_too() -> None:
    with pytest.raises(IdentityError, match="does not begin with a slash"):
        SpiffeId("a", "b")
    with pytest.raises(IdentityError, match="more than a-z"):
        SpiffeId("A", "/b")
    with pytest.raises(IdentityError, match="at most 2048"):
        SpiffeId("a", "/" + "b" * 2038)


def test_a_long_text_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(IdentityError, match="10000 bytes, at most 2048") as refusal:
        SpiffeId.parse("x" * 10_000)
    assert len(str(refusal.value)) < 100


def test_service_and_namespace() -> None:
    identity = SpiffeId.for_service("dominos.internal", "production", "order-service")
    assert str(identity) == "spiffe://dominos.internal/ns/production/sa/order-service"
    assert (identity.namespace, identity.service) == ("production", "order-service")


@pytest.mark.parametrize(
    "path", ["", "/order-service", "/ns/x/sa/y/z", "/x/ns/y/sa/z", "/ns/x/dc/y/svc/z", "/NS/x/sa/y"]
)
def test_another_shape_has_no_service(path: str) -> None:
    with pytest.raises(IdentityError, match="not /ns/"):
        _ = SpiffeId("a", path).service


@settings(max_examples=50)
@given(TRUST_DOMAINS, PATHS)
def test_what_is_written_is_read_again(trust_domain: str, path: str) -> None:
    identity = SpiffeId(trust_domain, path)
    assert SpiffeId.parse(str(identity)) == identity
    assert SpiffeId.parse(str(identity).replace("spiffe", "sPiFfE")) == identity


@settings(max_examples=100)
@given(st.one_of(st.text(max_size=60), st.text(alphabet="aA.:/%@?#*-_\n\0é", max_size=40).map("spiffe://".__add__)))
def test_any_text_is_an_id_in_its_only_spelling_or_refused(text: str) -> None:
    try:
        identity = SpiffeId.parse(text)
    except IdentityError:
        return
    assert str(identity) == "spiffe://" + text[9:].partition("/")[0].lower() + identity.path
    assert str(identity).isascii()
    assert not set(str(identity)[9:]) & set("%@:?#*\n\0")
