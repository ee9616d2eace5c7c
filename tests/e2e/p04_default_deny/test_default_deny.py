"""Promise 4: nobody may call anybody until an intention says so, and it holds for open connections, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.kit import Lab, eventually, intentions

LAB_HOSTS = ("cp-1", "order-1", "payment-1", "payment-2", "ledger-1", "makeline-1", "pulse-1")
CHARGE = "http://payment-service:8080/charge"
WITHIN_S = 1.0  # an intention holds, or stops to hold, within this
DRAINED_S = 2.0  # docs/reference/sidecar-parity.md: an open connection to Envoy keeps what it began with a while longer


def charge(lab: Lab, host: str) -> int:
    body = '{"order_id": "deny", "amount_cents": 1, "card": "4000"}'
    return lab.http(host, "POST", CHARGE, body=body, headers={"content-type": "application/json"}).status


def shuts_within_s(lab: Lab, *hosts: str) -> float:
    """Return within what time an intention that is withdrawn holds at these hosts, for open connections as well."""
    return WITHIN_S + (DRAINED_S if any(lab.has_envoy(host) for host in hosts) else 0.0)


def payments_accepted(lab: Lab) -> int:
    return lab.accepted("payment-1") + lab.accepted("payment-2")


def test_01_without_an_intention_the_call_is_refused_and_the_application_sees_nothing(lab: Lab) -> None:
    before = payments_accepted(lab)
    answer = lab.http("pulse-1", "POST", CHARGE, body="{}")
    assert answer.status == 403, answer
    assert "intentions/payment-service" in answer.body, "the caller learns which rule decided"
    assert payments_accepted(lab) == before
    record = eventually(
        lambda: (
            lab.access_log("payment-1", response_code=403, reporter="destination")
            or lab.access_log("payment-2", response_code=403, reporter="destination")
        ),
        what="the destination to log the refusal",
    )[-1]
    assert record["downstream_peer"].endswith("/sa/pulse-service")
    assert "rbac_access_denied" in record["response_code_details"]


def test_02_writing_the_intention_opens_within_a_second_and_removing_it_shuts(lab: Lab, tmp_path: Path) -> None:
    original = Path("demo-services/payment-service/intentions.hcl").read_text()
    try:
        assert charge(lab, "pulse-1") == 403
        allowing = intentions("payment-service", ("order-service", "allow"), ("pulse-service", "allow"), ("*", "deny"))
        assert lab.write_config(allowing, tmp_path).exit_code == 0
        eventually(lambda: charge(lab, "pulse-1") == 201, within_s=WITHIN_S, what="the intention to open the way")
    finally:
        assert lab.write_config(original, tmp_path).exit_code == 0
    eventually(
        lambda: {charge(lab, "pulse-1") for _ in range(2)} == {403},  # one for each replica
        within_s=shuts_within_s(lab, "payment-1", "payment-2"),
        what="the way to shut again",
    )
    before = payments_accepted(lab)
    assert charge(lab, "pulse-1") == 403
    assert payments_accepted(lab) == before


def test_03_with_no_entry_at_all_the_default_is_deny(lab: Lab, tmp_path: Path) -> None:
    original = Path("demo-services/makeline-service/intentions.hcl").read_text()
    url = "http://makeline-service:8080/tickets"
    assert lab.http("order-1", "GET", url).status == 200
    try:
        assert lab.mesh("config", "delete", "service-intentions", "makeline-service").exit_code == 0
        eventually(
            lambda: lab.http("order-1", "GET", url).status == 403,
            within_s=shuts_within_s(lab, "makeline-1"),
            what="the default to hold",
        )
        answer = lab.http("order-1", "GET", url)
        assert ("matched_policy[none]" if lab.has_envoy("makeline-1") else "default deny") in answer.body
    finally:
        assert lab.write_config(original, tmp_path).exit_code == 0
    eventually(lambda: lab.http("order-1", "GET", url).status == 200, within_s=WITHIN_S, what="the way to open again")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        pytest.param("GET", "/entries", 200, id="a permission allows this method and path"),
        pytest.param("DELETE", "/entries", 403, id="another method is refused"),
        pytest.param("GET", "/debug/connections", 403, id="another path is refused"),
        pytest.param("GET", "/entries/", 403, id="an exact path is exact"),
        pytest.param("GET", "/x/../entries", 200, id="policy and application see one normal form"),
    ],
)
def test_04_permissions_decide_by_method_and_path(lab: Lab, method: str, path: str, expected: int) -> None:
    assert lab.http("payment-1", method, f"http://ledger-service:8080{path}").status == expected


def test_05_a_wildcard_before_an_exact_source_is_refused_with_its_line(lab: Lab, tmp_path: Path) -> None:
    wrong = intentions("payment-service", ("*", "deny"), ("order-service", "allow"))
    done = lab.write_config(wrong, tmp_path, "wrong.hcl")
    assert done.exit_code == 1
    assert "wrong.hcl:5:3: " in done.stderr, "the row that can never match has its place"
    assert "in line 4" in done.stderr, "and so has the wildcard above it"
    assert "^" in done.stderr
    assert charge(lab, "order-1") == 201, "the old entry stays in force"


def test_06_the_check_command_says_the_same(lab: Lab) -> None:
    allowed = lab.mesh("intention", "check", "order-service", "payment-service")
    denied = lab.mesh("intention", "check", "pulse-service", "payment-service")
    assert (allowed.exit_code, denied.exit_code) == (0, 1)
    assert "intentions/payment-service" in denied.stdout + denied.stderr
