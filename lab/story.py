"""`lab demo`: one order and one call that is not allowed, told hop by hop from what the sidecars wrote down.

Nothing here is assumed: a hop is told only when both sidecars logged it under the order's trace id.
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.driver import Driver, LabError

CARD = "4000-0012-3456-7899"
EVIDENCE_DEADLINE_S, SHORT_DEADLINE_S = 15.0, 3.0  # of an order that failed there is less to come
POLL_S = 0.1
_POLICY = re.compile(r"matched_policy\[(.*)\]")  # as Envoy writes it
LOG_LINES = 2000
ASK_FROM_PULSE = (
    "import sys, urllib.request, urllib.error\n"
    "url, headers = 'http://payment-service:8080/charge', {'traceparent': sys.argv[1]}\n"
    "request = urllib.request.Request(url, data=b'{}', headers=headers)\n"
    "try: answer = urllib.request.urlopen(request, timeout=5)\n"
    "except urllib.error.HTTPError as error: answer = error\n"
    "print(answer.status, answer.read().decode().strip())\n"
)


@dataclass(frozen=True, slots=True)
class Hop:
    """One call as its two sidecars saw it; `far` is None when the far side did not log it."""

    near: Mapping[str, Any]
    far: Mapping[str, Any] | None


@dataclass(slots=True)
class Story:
    """What happened, with its evidence."""

    trace_id: str
    status: int
    answer: Any
    elapsed_ms: float
    hops: list[Hop] = field(default_factory=list)
    denied_answer: str = ""
    denied: Mapping[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Say whether the order succeeded, each of its calls has both halves, and the other call was refused."""
        halves = bool(self.hops) and all(hop.far is not None for hop in self.hops)
        return self.status == 201 and halves and self.denied is not None

    def as_json(self) -> dict[str, Any]:
        """Return the story as JSON values."""
        hops = [{"near": hop.near, "far": hop.far} for hop in self.hops]
        order = {"status": self.status, "answer": self.answer, "elapsed_ms": self.elapsed_ms}
        return {
            "trace_id": self.trace_id,
            "order": order,
            "hops": hops,
            "denied": {"answer": self.denied_answer, "record": self.denied},
        }

    def as_text(self) -> str:
        """Return the story for a reader."""
        lines = [
            f"A customer orders a pizza at order-1: {self.status} in {self.elapsed_ms:.0f} ms (trace {self.trace_id})",
            "The application made plain HTTP calls by name. This is what became of each:",
        ]
        for number, hop in enumerate(self.hops, 1):
            lines += ["", *_tell_hop(number, hop)]
        if self.denied is not None:
            lines += ["", *_tell_denial(self.denied, self.denied_answer)]
        if not self.is_complete:
            lines += ["", f"The story has gaps: {json.dumps(self.answer)[:300]}"]
        lines += ["", "next: make logs HOST=payment-1 UNIT=access   or   .venv/bin/mesh proxy status"]
        return "\n".join(lines)


def tell(driver: Driver) -> Story:
    """Place an order, make a call that is not allowed, and gather the evidence.

    Raises:
        LabError: the lab is not up or publishes no order-service.
    """
    if not driver.is_up():
        raise LabError("no lab is up here; start one with: make up")
    url = driver.publish_urls().get("order-service")
    if not url:
        raise LabError("this lab publishes no order-service; a lab that does starts with: make up")
    trace_id = secrets.token_hex(16)
    status, answer, elapsed_ms = _order(url, f"00-{trace_id}-{secrets.token_hex(8)}-01")
    denied_trace = secrets.token_hex(16)
    header = f"00-{denied_trace}-{secrets.token_hex(8)}-01"
    denied = driver.run("pulse-1", ["python", "-c", ASK_FROM_PULSE, header])
    story = Story(trace_id, status, answer, elapsed_ms, denied_answer=denied.stdout.strip() or denied.stderr.strip())
    hosts = [host["name"] for host in driver.status()["hosts"] if host["service"]]
    deadline = time.monotonic() + (EVIDENCE_DEADLINE_S if status == 201 else SHORT_DEADLINE_S)
    while not story.is_complete and time.monotonic() < deadline:
        records = [record for host in hosts for record in _records(driver, host)]
        story.hops = _pair([record for record in records if trace_id in str(record.get("traceparent"))])
        story.denied = next(
            (r for r in records if denied_trace in str(r.get("traceparent")) and r.get("reporter") == "destination"),
            None,
        )
        if not story.is_complete:
            time.sleep(POLL_S)  # access logs are written in batches
    return story


def _order(url: str, traceparent: str) -> tuple[int, Any, float]:
    body = json.dumps({"pizza": "funghi", "quantity": 2, "card": CARD}).encode()
    headers = {"content-type": "application/json", "traceparent": traceparent}
    request = urllib.request.Request(f"{url}/orders", data=body, headers=headers)  # noqa: S310 - our own loopback
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"placing an order at {url}: {error}; what runs there is shown by: lab status") from None
    return status, _answer_in(text), (time.monotonic() - began) * 1000


def _answer_in(text: bytes) -> Any:
    """Return what an answer says: JSON from the application, plain words from a sidecar."""
    try:
        return json.loads(text or b"{}")
    except ValueError:
        return text.decode("utf-8", "replace")


def _records(driver: Driver, host: str) -> list[dict[str, Any]]:
    try:
        text = driver.logs(host, "access", lines=LOG_LINES)
    except LabError:
        return []
    return [{**json.loads(line), "host": host} for line in text.splitlines() if _is_whole(line)]


def _is_whole(line: str) -> bool:
    """Say whether a line of the access log has been written to its end."""
    return line.startswith("{") and line.endswith("}")


def _pair(records: list[dict[str, Any]]) -> list[Hop]:
    """Lay the two halves of each call side by side, in the order of their start."""
    far = {(r.get("request_id"), r.get("path")): r for r in records if r.get("reporter") == "destination"}
    near = sorted((r for r in records if r.get("reporter") == "source"), key=lambda r: str(r.get("start_time")))
    return [Hop(record, far.get((record.get("request_id"), record.get("path")))) for record in near]


def _tell_hop(number: int, hop: Hop) -> list[str]:
    near, far = hop.near, hop.far
    lines = [
        f"{number}. {near['method']} http://{near['authority']}{near['path']}  ->  {near['response_code']}"
        f" in {float(near['duration_ms']):.1f} ms",
        f"   {near['host']}: the kernel turned {near.get('original_destination')} (a virtual address) to the sidecar;"
        f" it chose {near.get('upstream_host')}",
    ]
    for attempt in near.get("attempts") or []:
        if len(near["attempts"]) > 1:
            lines.append(
                f"   {near['host']}: attempt {attempt.get('n')} at {attempt.get('host')}: {attempt.get('outcome')}"
            )
    if far is None:
        return [*lines, "   (the far side has not written this call down)"]
    return [
        *lines,
        "   on the wire: TLS 1.3, both sides proved who they are:",
        f"     caller {far.get('downstream_peer')}",
        f"     callee {near.get('upstream_peer')}",
        f"   {far['host']}: allowed by {_rule_of(far)}; delivered as plain HTTP on the loopback",
    ]


def _rule_of(record: Mapping[str, Any]) -> str:
    """Return the rule that decided; Envoy names that of a refusal only, among the details."""
    found = _POLICY.search(str(record.get("response_code_details")))
    return str(record.get("rule") or (found[1] if found else "an intention"))


def _tell_denial(record: Mapping[str, Any], answer: str) -> list[str]:
    return [
        "And a call that nobody allowed: pulse-service tries to charge a card.",
        f"   {record['host']}: caller {record.get('downstream_peer')} proved who it is, and that is not enough",
        f"   {record['host']}: {record.get('response_code')}, decided by {_rule_of(record)}",
        f"   pulse-service got: {answer}",
        "   The payment application saw nothing of it.",
    ]
