"""Promise 6: an instance that resets its connections costs a try and no order, and is left out when the caps allow."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kit import CARD, Answer, Lab, eventually
from tests.e2e.pages import Endpoint

LAB_HOSTS = ("cp-1", "order-1", "payment-1", "payment-2", "ledger-1", "makeline-1", "inventory-1")
PAYMENT = "payment-service"
INTERVAL_S = 0.5
EJECTION_S, SHORT_EJECTION_S = 120.0, 3.0  # what is asked meanwhile takes a busy machine some seconds

# Charges several times in one process, which on a busy machine is quicker than as many processes.
CHARGES = """
import http.client, json, sys
served = []
for key in sys.argv[1:]:
    connection = http.client.HTTPConnection("payment-service", 8080, timeout=10)
    body = json.dumps({"order_id": key, "amount_cents": 1, "card": "4000"})
    connection.request("POST", "/charge", body, {"content-type": "application/json", "idempotency-key": key})
    answer = connection.getresponse()
    served.append(json.load(answer)["served_by"] if answer.status == 201 else None)
print(json.dumps(served))
"""


def passive_health_check(**knobs: object) -> str:
    """Return what order-service says about how it treats payment-service."""
    lines = "".join(f"        {key} = {json.dumps(value)}\n" for key, value in knobs.items())
    return f"""
Kind = "service-defaults"
Name = "order-service"
UpstreamConfig {{
  Overrides = [
    {{
      Name = "{PAYMENT}"
      PassiveHealthCheck {{
{lines}      }}
    }},
  ]
}}
"""


@pytest.fixture
def restored(lab: Lab) -> Iterator[Lab]:
    """The lab; what a test says about outlier detection is forgotten after it, with all that was counted."""
    yield lab
    lab.mesh("config", "delete", "service-defaults", "order-service")
    eventually(
        lambda: "outlier_detection" not in lab.sidecar("order-1").cluster(PAYMENT),
        what="outlier detection to be off",
    )


def charge(lab: Lab, key: str | None = None) -> Answer:
    """Charge a card from order-1; without a key it must not happen twice."""
    headers = {"content-type": "application/json", **({"idempotency-key": key} if key else {})}
    body = json.dumps({"order_id": key or str(uuid.uuid4()), "amount_cents": 1, "card": CARD})
    return lab.http("order-1", "POST", f"http://{PAYMENT}:8080/charge", headers=headers, body=body)


def charges(lab: Lab, number: int) -> list[str | None]:
    """Charge several times with a key each; return who served each, None where nobody did."""
    done = lab.python("order-1", CHARGES, *(str(uuid.uuid4()) for _ in range(number)))
    assert done.exit_code == 0, done.stderr
    served: list[str | None] = json.loads(done.stdout)
    return served


def entries(lab: Lab) -> list[dict[str, Any]]:
    """Return what the ledger has: the one truth about who was charged."""
    found: list[dict[str, Any]] = lab.http("ledger-1", "GET", "http://127.0.0.1:8080/entries").json
    return found


def endpoint(lab: Lab, host: str) -> Endpoint:
    """Return what order-1's sidecar thinks of one instance of payment-service."""
    return lab.sidecar("order-1").endpoints(PAYMENT)[host]


def wait_for_detection(lab: Lab) -> None:
    """Wait until order-1's sidecar has been told to watch for outliers."""
    eventually(
        lambda: "outlier_detection" in lab.sidecar("order-1").cluster(PAYMENT),
        within_s=1,
        what="outlier detection to be on",
    )


def calls(lab: Lab, **wanted: Any) -> list[dict[str, Any]]:
    """Return order-1's records of its calls to payment-service."""
    return lab.access_log("order-1", upstream_cluster=PAYMENT, **wanted)


def require_second_try(lab: Lab, record: dict[str, Any]) -> None:
    """Hold a record against "payment-1 failed and payment-2 served"; Envoy's names only the last endpoint."""
    assert record["upstream_host"] == f"{lab.driver.address_of('payment-2')}:8080"
    if not lab.has_envoy("order-1"):
        tries = [(each["n"], each["host"], each["outcome"]) for each in record["attempts"]]
        assert tries == [(1, "payment-1", "503"), (2, "payment-2", "201")]


def test_01_an_order_succeeds_by_the_other_replica_and_the_log_shows_both_tries(lab: Lab) -> None:
    with lab.broken("reset", "payment-1"):
        orders = [lab.order() for _ in range(3)]  # round robin: at least one of them meets payment-1 first
    assert [order.status for order in orders] == [201, 201, 201], orders
    record = eventually(lambda: calls(lab, attempt_count=2), what="a call of two tries in the log")[0]
    require_second_try(lab, record)
    assert record["response_code"] == 201
    seen = eventually(
        lambda: lab.access_log("payment-1", response_flags="UC", reporter="destination"),
        what="payment-1's sidecar to log what its application did",
    )
    assert seen[-1]["response_code"] == 503
    charged = [entry["order_id"] for entry in entries(lab)]
    assert sorted(charged) == sorted(order.json["id"] for order in orders), "one charge for each order, never two"


def test_02_where_nothing_reached_the_application_a_charge_without_a_key_is_tried_again(lab: Lab) -> None:
    before = len(entries(lab))
    with lab.broken("refuse", "payment-1"):
        answers = [charge(lab) for _ in range(4)]
    assert [(answer.status, answer.json["served_by"]) for answer in answers] == [(201, "payment-2")] * 4
    assert len(entries(lab)) == before + 4
    record = eventually(
        lambda: [one for one in calls(lab, attempt_count=2) if "/once" in one["route_name"]],
        what="a call of two tries by the careful route",
    )[-1]
    require_second_try(lab, record)
    assert eventually(lambda: lab.access_log("payment-1", response_flags="UF"), what="the refusal's flag")


def test_03_with_the_default_cap_one_of_two_is_never_ejected_and_it_says_why(restored: Lab, tmp_path: Path) -> None:
    lab = restored
    why = "not ejected: 1 of 2 hosts would be 50 %, max_ejection_percent is 10"
    written = lab.write_config(passive_health_check(Interval=f"{INTERVAL_S}s", MaxFailures=2), tmp_path)
    assert written.exit_code == 0, written.stderr
    wait_for_detection(lab)
    with lab.broken("reset", "payment-1"):
        for _ in range(6):
            assert charge(lab, str(uuid.uuid4())).status == 201
        if not lab.has_envoy("order-1"):
            assert endpoint(lab, "payment-1").note == why
            assert why in lab.driver.logs("order-1", "sidecar", lines=1000)
        assert not endpoint(lab, "payment-1").is_ejected
        assert lab.sidecar("order-1").ejections(PAYMENT)["overflow"] >= 1
        assert lab.sidecar("order-1").ejections(PAYMENT)["enforced_total"] == 0
        assert lab.http("order-1", "GET", "http://127.0.0.1:15000/clusters").status != 200, "the page is not for apps"


def eject_for(lab: Lab, seconds: float, folder: Path) -> None:
    """Let one failure eject one instance of two for so long."""
    knobs = {"Interval": f"{INTERVAL_S}s", "MaxFailures": 1, "BaseEjectionTime": f"{seconds:g}s"}
    assert lab.write_config(passive_health_check(**knobs, MaxEjectionPercent=50), folder).exit_code == 0


def test_04_with_room_under_the_cap_it_is_left_out_and_returns_at_a_sweep(restored: Lab, tmp_path: Path) -> None:
    lab = restored
    eject_for(lab, EJECTION_S, tmp_path)
    wait_for_detection(lab)
    with lab.broken("reset", "payment-1"):
        eventually(
            lambda: charges(lab, 2) and endpoint(lab, "payment-1").is_ejected,
            what="one failure to eject payment-1",
        )
        ejected = endpoint(lab, "payment-1")
        if not lab.has_envoy("order-1"):
            assert ejected.note == f"ejected for {EJECTION_S:g} s: 1 consecutive 5xx"
        assert charges(lab, 6) == ["payment-2"] * 6
        assert endpoint(lab, "payment-1").requests == ejected.requests, "nobody asked the one that is left out"
    with lab.broken("reset", "payment-2"):
        assert charges(lab, 1) == [None]
        assert not endpoint(lab, "payment-2").is_ejected, "2 of 2 hosts would be 100 %"
    eject_for(lab, SHORT_EJECTION_S, tmp_path)  # which is over: what is left is the way of the change, and a sweep
    returned = eventually(
        lambda: None if (one := endpoint(lab, "payment-1")).is_ejected else one,
        within_s=INTERVAL_S + 2,
        what="payment-1 to return",
    )
    if not lab.has_envoy("order-1"):
        took_s = float(returned.note.removeprefix("returned after ").removesuffix(" s"))
        assert SHORT_EJECTION_S <= took_s < EJECTION_S, "by the time that holds when it is swept"
    assert set(charges(lab, 4)) == {"payment-1", "payment-2"}
