"""Who gets which certificate: never what is asked for, always what is proven."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from mesh.base.errors import IdentityError
from mesh.ca.authority import Authority, make_intermediate, make_root, new_key
from mesh.ca.csr import make_csr
from mesh.controlplane import commands
from mesh.controlplane.callers import Caller
from mesh.controlplane.issuing import Issuer, JoinAsk
from mesh.controlplane.state import MeshState
from mesh.spiffe.id import SpiffeId
from mesh.spiffe.verify import verify_peer
from tests.fakes.mesh_state import StateDriver

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAYMENT = SpiffeId.for_service("t.internal", "production", "payment-service")


@cache
def issuer() -> Issuer:
    root = make_root("t.internal", now=NOW, ttl=timedelta(days=100))
    dcs = {dc: make_intermediate(root, dc, now=NOW, ttl=timedelta(days=10)) for dc in ("east", "west")}
    authority = Authority("t.internal", root, dcs)
    return Issuer(lambda state: (state.rotation.current, authority), "production", timedelta(hours=24), "east")


def ask(driver: StateDriver, *, datacenter: str = "", csr: bytes | None = None) -> JoinAsk:
    text, _ = driver.run(
        lambda state: commands.create_token(
            state,
            service="payment-service",
            host="payment-1",
            datacenter="",
            ttl=timedelta(hours=1),
            now=NOW,
            secret=bytes(32),
        )
    )
    return JoinAsk(text, "payment-1", "payment-service", csr or make_csr(new_key()), datacenter)


def test_a_token_becomes_a_certificate_of_the_hosts_datacenter() -> None:
    driver = StateDriver()
    issued = driver.run(issuer().join(ask(driver, datacenter="west"), now=NOW))
    peer = verify_peer(issued.chain_der, issuer().signer(MeshState())[1].bundle, now=NOW)
    assert peer.spiffe_id == PAYMENT
    assert issued.chain_der[1] == issuer().signer(MeshState())[1].intermediates["west"].certificate_der()
    known = driver.state.issued[peer.serial]
    assert (known.host, known.service, known.datacenter) == ("payment-1", "payment-service", "west")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"csr_der": b"rubbish"}, "CSR", id="a csr that is none"),
        pytest.param(
            {"csr_der": make_csr(new_key(), SpiffeId.for_service("t.internal", "production", "ledger"))},
            "asks for",
            id="a csr for another service",
        ),
        pytest.param({"datacenter": "mars"}, "mars", id="a datacenter that nobody runs"),
        pytest.param({"host": "payment-2"}, "host", id="another host"),
        pytest.param({"host": "../etc"}, "DNS label", id="a host that is no name"),
        pytest.param({"token": "meshjoin-guess"}, "unknown token", id="a guessed token"),
    ],
)
def test_a_refused_join_does_not_use_the_token_up(change: dict[str, object], words: str) -> None:
    driver = StateDriver()
    good = ask(driver)
    fields = {name: getattr(good, name) for name in ("token", "host", "service", "csr_der", "datacenter")}
    with pytest.raises(IdentityError, match=words):
        driver.run(issuer().join(JoinAsk(**{**fields, **change}), now=NOW))  # type: ignore[arg-type]
    assert driver.run(issuer().join(good, now=NOW)).spiffe_id == str(PAYMENT)


def test_a_renewal_is_for_the_caller_and_nobody_else() -> None:
    driver = StateDriver()
    caller = Caller(str(PAYMENT), "payment-service", "payment-1", "west", "10.0.0.1", NOW)
    issued = driver.run(issuer().renew(make_csr(new_key(), PAYMENT), caller, now=NOW)).issued
    assert issued.spiffe_id == str(PAYMENT)
    other = make_csr(new_key(), SpiffeId.for_service("t.internal", "production", "ledger-service"))
    with pytest.raises(IdentityError, match="asks for"):
        driver.run(issuer().renew(other, caller, now=NOW))
