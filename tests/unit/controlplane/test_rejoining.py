"""A host comes back once with each secret; whoever comes second ends the line, on disk and not only in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from mesh.base.errors import IdentityError, RemoteProtocolError
from mesh.ca.csr import make_csr
from mesh.ca.rejoin import Found, digest_of, make_secret
from mesh.controlplane import commands, rejoining
from mesh.controlplane import records as r
from mesh.controlplane.callers import Caller
from mesh.controlplane.errors import NotFoundError
from mesh.controlplane.issuing import IssuedChain, JoinAsk
from mesh.controlplane.rejoining import Refused
from mesh.controlplane.writer import Plan
from tests.fakes.mesh_state import StateDriver
from tests.unit.controlplane.test_issuing import issuer, new_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, SECOND, THIRD, FOURTH = (make_secret(bytes([each]) * 32) for each in (1, 2, 3, 4))
HERE = "10.77.1.12"
SERVICE, HOST = "payment-service", "payment-1"


def token(driver: StateDriver, *, seed: int = 0, address: str = HERE) -> str:
    text, _ = driver.run(
        lambda state: commands.create_token(
            state, service=SERVICE, host=HOST, datacenter="west", ttl=timedelta(hours=1), now=NOW,
            secret=bytes([seed]) * 32, address=address,
        )
    )  # fmt: skip
    return text


def ask(secret: str = "", following: str = "", **fields: str) -> JoinAsk:
    said = {"token": "", "host": HOST, "service": SERVICE, "address": HERE, **fields}
    digest = digest_of(following) if following else ""
    return JoinAsk(csr_der=make_csr(new_key()), rejoin_secret=secret, next_digest=digest, **said)


def joined() -> StateDriver:
    """A host that joined with a token and named the digest of FIRST."""
    driver = StateDriver()
    driver.run(issuer().join(ask(following=FIRST, token=token(driver)), now=NOW))
    return driver


def rejoin(driver: StateDriver, secret: str, following: str, *, hours: float = 0, **fields: str) -> str:
    """Present a secret; say what became of it."""
    outcome = driver.run(issuer().rejoin(ask(secret, following, **fields), now=NOW + timedelta(hours=hours)))
    return "joined" if isinstance(outcome, IssuedChain) else outcome.found


def caller(driver: StateDriver, serial: int = 0) -> Caller:
    serial = serial or max(driver.state.issued)
    return Caller("", SERVICE, HOST, "west", HERE, NOW, serial)


def serial_of(issued: IssuedChain) -> int:
    return x509.load_der_x509_certificate(issued.chain_der[0]).serial_number


def test_a_host_comes_back_again_and_again_each_time_with_the_next() -> None:
    driver = joined()
    assert rejoin(driver, FIRST, SECOND) == "joined"
    assert rejoin(driver, SECOND, THIRD, hours=110) == "joined"
    assert rejoin(driver, THIRD, FOURTH, hours=220) == "joined", "each gives the line a life of 168 hours"
    assert {one.datacenter for one in driver.state.issued.values()} == {"west"}, "where the token had put it"


def test_of_two_with_one_secret_the_second_is_refused_and_the_line_ends_for_both() -> None:
    driver = joined()
    assert rejoin(driver, FIRST, SECOND) == "joined"
    assert rejoin(driver, FIRST, THIRD) is Found.SECOND
    assert rejoin(driver, SECOND, THIRD) is Found.REVOKED, "whoever came first cannot go on either"
    driver.run(issuer().join(ask(following=FOURTH, token=token(driver, seed=1)), now=NOW))
    assert rejoin(driver, FOURTH, THIRD) == "joined", "until an operator grants a token"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        pytest.param({"host": "payment-2"}, Found.UNKNOWN, id="as another host"),
        pytest.param({"service": "ledger-service"}, Found.UNKNOWN, id="as another service"),
        pytest.param({"address": "10.77.1.66"}, Found.ELSEWHERE, id="from another address"),
    ],
)
def test_a_secret_elsewhere_is_worth_nothing_and_its_owner_can_still_use_it(said: dict[str, str], found: Found) -> None:
    driver = joined()
    assert rejoin(driver, FIRST, SECOND, **said) is found
    assert rejoin(driver, FIRST, SECOND) == "joined"


@pytest.mark.parametrize(
    ("following", "error"),
    [
        pytest.param("", IdentityError, id="no next one"),
        pytest.param(FIRST, IdentityError, id="the same one again"),
    ],
)
def test_a_line_goes_on_with_a_new_secret_or_not_at_all(following: str, error: type[Exception]) -> None:
    driver = joined()
    with pytest.raises(error):
        rejoin(driver, FIRST, following)
    assert rejoin(driver, FIRST, SECOND) == "joined", "what was refused did not use it up"


def test_a_secret_past_is_never_installed_again() -> None:
    driver = joined()
    rejoin(driver, FIRST, SECOND)
    with pytest.raises(IdentityError, match="was there before"):
        rejoin(driver, SECOND, FIRST)


def test_a_refused_csr_and_a_strange_digest_do_not_use_the_secret_up() -> None:
    driver = joined()
    for csr, digest, error in ((b"rubbish", digest_of(SECOND), IdentityError), (None, "x" * 64, RemoteProtocolError)):
        bad = JoinAsk("", HOST, SERVICE, csr or make_csr(new_key()), "", HERE, FIRST, digest)
        with pytest.raises(error):
            driver.run(issuer().rejoin(bad, now=NOW))
    assert rejoin(driver, FIRST, SECOND) == "joined"


def test_one_that_was_away_too_long_needs_a_token() -> None:
    assert rejoin(joined(), FIRST, SECOND, hours=168) is Found.EXPIRED


def test_a_renewal_rolls_the_line_and_gives_it_a_new_life() -> None:
    driver = joined()
    later = NOW + timedelta(hours=100)
    driver.run(issuer().renew(make_csr(new_key()), caller(driver), now=later, next_digest=digest_of(SECOND)))
    assert rejoin(driver, SECOND, THIRD, hours=200) == "joined"
    assert rejoin(driver, FIRST, FOURTH, hours=200) is Found.SECOND, "a copy from before the renewal is a copy"


def test_the_living_owner_finds_out_that_somebody_else_has_come_back_in_its_place() -> None:
    driver = joined()
    owner = max(driver.state.issued)
    assert not driver.run(issuer().renew(make_csr(new_key()), caller(driver, owner), now=NOW)).lives_twice
    assert rejoin(driver, FIRST, SECOND) == "joined"  # the thief
    renewed = driver.run(
        issuer().renew(make_csr(new_key()), caller(driver, owner), now=NOW, next_digest=digest_of(THIRD))
    )
    assert renewed.lives_twice
    again = driver.run(issuer().renew(make_csr(new_key()), caller(driver, serial_of(renewed.issued)), now=NOW))
    assert again.lives_twice, "and each renewal says so again"
    assert rejoin(driver, THIRD, FOURTH) is Found.UNKNOWN


def test_renewals_that_overtake_each_other_raise_no_alarm() -> None:
    driver = joined()
    first = max(driver.state.issued)
    for following in (SECOND, THIRD, SECOND):
        renewed = driver.run(
            issuer().renew(make_csr(new_key()), caller(driver, first), now=NOW, next_digest=digest_of(following))
        )
        assert not renewed.lives_twice
    assert rejoin(driver, THIRD, FOURTH) == "joined"


def test_a_new_token_replaces_the_line_and_a_host_that_names_none_has_none() -> None:
    driver = joined()
    driver.run(issuer().join(ask(following=SECOND, token=token(driver, seed=1)), now=NOW))
    assert rejoin(driver, FIRST, THIRD) is Found.UNKNOWN
    driver.run(issuer().join(ask(token=token(driver, seed=2)), now=NOW))
    assert driver.state.rejoin == {}


def test_lines_of_hosts_that_are_long_gone_are_dropped_on_the_way() -> None:
    driver = joined()
    [line] = driver.state.rejoin.values()
    for days, is_kept in ((30, True), (31, False)):
        now = line.expires_at + timedelta(days=days)
        fresh = replace(line, host="payment-2", digest=digest_of(SECOND), expires_at=now)
        driver.run(lambda state, now=now, fresh=fresh: Plan(rejoining.begin(state, fresh, now=now), None))
        assert (r.rejoin_key(SERVICE, HOST) in driver.state.rejoin) is is_kept


def test_a_token_refused_begins_no_line() -> None:
    driver = joined()
    with pytest.raises(IdentityError):
        driver.run(issuer().join(ask(following=SECOND, token="meshjoin-guess"), now=NOW))
    assert rejoin(driver, FIRST, THIRD) == "joined"


def test_a_host_that_leaves_and_a_host_that_is_revoked_come_back_by_a_token_only() -> None:
    for end in (
        lambda state: commands.leave(state, f"{HOST}/{SERVICE}", SERVICE, HOST),
        lambda state: rejoining.revoke(state, SERVICE, HOST),
    ):
        driver = joined()
        driver.run(end)
        assert rejoin(driver, FIRST, SECOND) is Found.UNKNOWN


def test_revoking_takes_tokens_and_certificates_too_and_nobody_elses() -> None:
    driver = joined()
    unused = token(driver, seed=9)
    revoked = driver.run(lambda state: rejoining.revoke(state, SERVICE, HOST))
    assert (revoked.tokens, revoked.rejoin_lines, revoked.certificates) == (2, 1, 1)
    assert (driver.state.tokens, driver.state.rejoin, driver.state.issued) == ({}, {}, {})
    with pytest.raises(IdentityError, match="unknown token"):
        driver.run(issuer().join(ask(token=unused), now=NOW))
    with pytest.raises(NotFoundError):
        driver.run(lambda state: rejoining.revoke(state, SERVICE, "payment-2"))


def test_what_is_kept_is_read_back_and_holds_no_secret() -> None:
    driver = joined()
    rejoin(driver, FIRST, SECOND)
    rejoin(driver, FIRST, THIRD)
    [line] = driver.state.rejoin.values()
    record = r.rejoin_record(line)
    assert r.rejoin_from(record.value or "") == line
    assert FIRST not in (record.value or "")
    assert line.revoked_at == NOW


def test_what_a_caller_is_told_lets_it_try_another_secret_only_where_this_one_is_unknown() -> None:
    for found in Found:
        told = Refused(found, SERVICE, HOST).error
        assert isinstance(told, NotFoundError) is (found is Found.UNKNOWN)
