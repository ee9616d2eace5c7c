"""A rejoin secret is good once, in time, from its own address; a copy does not go unnoticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import LocalProtocolError, RemoteProtocolError
from mesh.ca.rejoin import MAX_USED, Found, RejoinLine, digest_of, look, make_secret, require_digest
from mesh.telemetry.logs import redact_text

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TTL = timedelta(hours=168)
FIRST, SECOND, THIRD = (make_secret(bytes([each]) * 32) for each in (1, 2, 3))
LINE = RejoinLine("payment-service", "payment-1", "east", "10.77.1.12", digest_of(FIRST), NOW + TTL)
ROLLED = LINE.rolled(digest_of(SECOND), now=NOW, ttl=TTL)
HERE = "10.77.1.12"


@pytest.mark.parametrize(
    ("secret", "line", "address", "after", "found"),
    [
        pytest.param(FIRST, LINE, HERE, 0, Found.GOOD, id="the one in force"),
        pytest.param(SECOND, ROLLED, HERE, 0, Found.GOOD, id="the next, once it is in force"),
        pytest.param(FIRST, ROLLED, HERE, 0, Found.SECOND, id="one presented twice: somebody has a copy"),
        pytest.param(SECOND, LINE, HERE, 0, Found.UNKNOWN, id="one that never arrived"),
        pytest.param(THIRD, ROLLED, HERE, 0, Found.UNKNOWN, id="another host's"),
        pytest.param(FIRST, None, HERE, 0, Found.UNKNOWN, id="of a host that has no line"),
        pytest.param("", LINE, HERE, 0, Found.UNKNOWN, id="nothing"),
        pytest.param(FIRST + "x", LINE, HERE, 0, Found.UNKNOWN, id="a character more"),
        pytest.param(LINE.digest, LINE, HERE, 0, Found.UNKNOWN, id="the digest, which the store knows"),
        pytest.param("x" * 10**6, LINE, HERE, 0, Found.UNKNOWN, id="a megabyte"),
        pytest.param("\udc80", LINE, HERE, 0, Found.UNKNOWN, id="no Unicode text"),
        pytest.param(FIRST, LINE, "10.77.1.66", 0, Found.ELSEWHERE, id="from another address"),
        pytest.param(FIRST, ROLLED, "10.77.1.66", 0, Found.ELSEWHERE, id="a used one from another address"),
        pytest.param(FIRST, LINE, HERE, 168, Found.EXPIRED, id="in the second it expires"),
        pytest.param(FIRST, LINE.revoked(now=NOW), HERE, 0, Found.REVOKED, id="of a line that was ended"),
        pytest.param(FIRST, ROLLED.revoked(now=NOW), HERE, 0, Found.REVOKED, id="a used one of such a line"),
    ],
)
def test_what_a_secret_is_worth(secret: str, line: RejoinLine | None, address: str, after: int, found: Found) -> None:
    assert look(secret, line, address=address, now=NOW + timedelta(hours=after)) is found


def test_a_line_that_is_bound_to_no_address_is_good_from_anywhere() -> None:
    free = RejoinLine("s", "h", "", "", digest_of(FIRST), NOW + TTL)
    assert look(FIRST, free, address="10.9.9.9", now=NOW) is Found.GOOD


def test_rolling_gives_it_a_new_life_and_remembers_what_was() -> None:
    later = NOW + timedelta(hours=100)
    rolled = LINE.rolled(digest_of(SECOND), now=later, ttl=TTL)
    assert (rolled.used, rolled.expires_at) == ((LINE.digest,), later + TTL)
    assert LINE.revoked(now=NOW).revoked(now=later).revoked_at == NOW


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=3 * MAX_USED, unique=True))
def test_of_a_line_only_the_last_is_good_and_what_it_remembers_is_bounded(secrets: list[bytes]) -> None:
    texts = [make_secret(each) for each in secrets]
    line = RejoinLine("s", "h", "", "", digest_of(texts[0]), NOW + TTL)
    for text in texts[1:]:
        line = line.rolled(digest_of(text), now=NOW, ttl=TTL)
    found = [look(text, line, address="", now=NOW) for text in texts]
    assert found[-1] is Found.GOOD
    assert set(found[:-1]) <= {Found.SECOND, Found.UNKNOWN}
    assert found[-2] is Found.SECOND
    assert len(line.used) <= MAX_USED


def test_what_is_kept_and_logged_holds_no_secret() -> None:
    assert FIRST not in repr(LINE)
    assert redact_text(f"coming back with {FIRST} now") == "coming back with [redacted] now"
    with pytest.raises(LocalProtocolError, match="31 random bytes"):
        make_secret(bytes(31))


@pytest.mark.parametrize("text", ["x", "A" * 64, "0" * 63, "0" * 65, "0" * 63 + "\n"])
def test_a_digest_has_one_spelling(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="no SHA-256"):
        require_digest(text)
    assert require_digest("") == ""
    assert require_digest("0" * 64) == "0" * 64
