"""A join token buys one certificate, for one service, on one host, in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import IdentityError, LocalProtocolError
from mesh.ca.tokens import JoinToken, make_token, redeem, token_digest
from mesh.telemetry.logs import redact_text

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TTL = timedelta(minutes=10)
SECRET = bytes(range(32))
TEXT, RECORD = make_token("payment-service", "payment-1", now=NOW, ttl=TTL, secret=SECRET)
OTHER_TEXT, OTHER = make_token("ledger-service", "ledger-1", now=NOW, ttl=TTL, secret=bytes(32))


def test_redeemed_once() -> None:
    used = redeem(TEXT, RECORD, service="payment-service", host="payment-1", now=NOW)
    assert (used.service, used.host, used.used_at) == ("payment-service", "payment-1", NOW)
    with pytest.raises(IdentityError, match="it was used at 2026-03-01T12:00:00"):
        redeem(TEXT, used, service="payment-service", host="payment-1", now=NOW)


@pytest.mark.parametrize(
    ("text", "record", "service", "host", "after", "fault"),
    [
        pytest.param(TEXT, None, "payment-service", "payment-1", 0, "unknown token", id="nobody made it"),
        pytest.param(OTHER_TEXT, RECORD, "payment-service", "payment-1", 0, "unknown token", id="another's secret"),
        pytest.param("", RECORD, "payment-service", "payment-1", 0, "unknown token", id="nothing"),
        pytest.param(TEXT + "x", RECORD, "payment-service", "payment-1", 0, "unknown token", id="a character more"),
        pytest.param(TEXT.upper(), RECORD, "payment-service", "payment-1", 0, "unknown token", id="another case"),
        pytest.param("x" * 10**6, RECORD, "payment-service", "payment-1", 0, "unknown token", id="a megabyte"),
        pytest.param("\udc80", RECORD, "payment-service", "payment-1", 0, "unknown token", id="no Unicode text"),
        pytest.param(TEXT, RECORD, "payment-service", "payment-1", 600, "it expired at", id="in the second it expires"),
        pytest.param(
            TEXT, RECORD, "ledger-service", "payment-1", 0, "for service 'payment-service'", id="other service"
        ),
        pytest.param(TEXT, RECORD, "payment-service", "stranger-1", 0, "for host 'payment-1'", id="other host"),
    ],
)
def test_refused(text: str, record: JoinToken | None, service: str, host: str, after: int, fault: str) -> None:
    with pytest.raises(IdentityError, match=fault):
        redeem(text, record, service=service, host=host, now=NOW + timedelta(seconds=after))


def test_a_digest_is_no_token() -> None:
    with pytest.raises(IdentityError, match="unknown token"):
        redeem(RECORD.digest, RECORD, service="payment-service", host="payment-1", now=NOW)


def test_a_long_text_with_a_known_beginning_is_unknown() -> None:
    text = "y" * 128
    with pytest.raises(IdentityError, match="unknown token"):
        redeem(
            text + "z", replace(RECORD, digest=token_digest(text)), service="payment-service", host="payment-1", now=NOW
        )


def test_the_record_holds_no_secret() -> None:
    assert TEXT not in repr(RECORD)
    assert SECRET.hex() not in repr(RECORD)
    assert redact_text(f"joining with {TEXT} now") == "joining with [redacted] now"


def test_a_poor_token_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="31 random bytes"):
        make_token("s", "h", now=NOW, ttl=TTL, secret=bytes(31))
    with pytest.raises(LocalProtocolError, match="a life of"):
        make_token("s", "h", now=NOW, ttl=timedelta(0), secret=bytes(32))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_token_redeems_its_own_record_only(one: bytes, two: bytes) -> None:
    text, record = make_token("s", "h", now=NOW, ttl=TTL, secret=one)
    _, other = make_token("s", "h", now=NOW, ttl=TTL, secret=two)
    assert redeem(text, record, service="s", host="h", now=NOW).used_at == NOW
    if one != two:
        with pytest.raises(IdentityError, match="unknown token"):
            redeem(text, other, service="s", host="h", now=NOW)
