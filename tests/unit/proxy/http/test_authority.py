"""Authorities: one strict syntax, one canonical form."""

from __future__ import annotations

import pytest

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.authority import Authority, parse_authority


@pytest.mark.parametrize(
    ("text", "authority", "shown"),
    [
        pytest.param("payment-service", Authority("payment-service", 80), "payment-service", id="a name"),
        pytest.param("Payment.Service.", Authority("payment.service", 80), "payment.service", id="case and last dot"),
        pytest.param("a:80", Authority("a", 80), "a", id="the default port is no port"),
        pytest.param("a.:8080", Authority("a", 8080), "a:8080", id="a port"),
        pytest.param("10.0.0.1", Authority("10.0.0.1", 80), "10.0.0.1", id="IPv4"),
        pytest.param("[2001:DB8:0::1]:81", Authority("[2001:db8::1]", 81), "[2001:db8::1]:81", id="IPv6 is compressed"),
    ],
)
def test_canonical(text: str, authority: Authority, shown: str) -> None:
    assert parse_authority(text) == authority
    assert str(authority) == shown
    assert parse_authority(shown) == authority


@pytest.mark.parametrize(
    "text",
    [
        *["", " a", "a ", "a,b", "u@a", "a/", "a%41", "a:", "a:0", "a:65536", "a:99999", "a:+1", "a:\u0661", "a\n"],
        *["[1.2.3.4]", "[fe80::1%1]", "[::1", "::1", "[]", "a:1:2", "..", "a..", ".a", "a..b", "caf\xe9", "a\x00"],
        "a" * 256,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_authority(text)
    assert caught.value.status == 400
