"""The story: which two log lines are one call, and what is told when a half is missing."""

from __future__ import annotations

from typing import Any

import pytest

from lab.story import Hop, Story, _answer_in, _pair


def a_line(reporter: str, request_id: str, path: str = "/charge", **more: Any) -> dict[str, Any]:
    return {"reporter": reporter, "request_id": request_id, "path": path, "start_time": "2026-01-01T00:00:00Z", **more}


NEAR = a_line(
    "source",
    "r1",
    host="order-1",
    method="POST",
    authority="payment-service:8080",
    response_code=201,
    duration_ms=12.34,
    original_destination="240.0.0.3:8080",
    upstream_host="10.77.1.13:8080",
    upstream_peer="spiffe://dominos.internal/ns/production/sa/payment-service",
    attempts=[{"n": 1, "host": "10.77.1.13:8080", "outcome": "201"}],
)
FAR = a_line(
    "destination",
    "r1",
    host="payment-1",
    downstream_peer="spiffe://dominos.internal/ns/production/sa/order-service",
    rule="intentions/payment-service#1:order-service",
)
DENIED = a_line(
    "destination", "r9", host="payment-1", downstream_peer="spiffe://x/pulse", response_code=403, rule="none"
)


@pytest.mark.parametrize(
    ("records", "told"),
    [
        pytest.param([], [], id="no lines, no calls"),
        pytest.param([FAR, NEAR], [("r1", True)], id="two halves in any order are one call"),
        pytest.param([NEAR], [("r1", False)], id="a half alone is told as one"),
        pytest.param([FAR], [], id="what nobody near wrote down is no call of the story"),
        pytest.param([NEAR, {**FAR, "request_id": "r2"}], [("r1", False)], id="halves of two requests are not one"),
        pytest.param([NEAR, {**FAR, "path": "/refund"}], [("r1", False)], id="one request's other call is another"),
        pytest.param(
            [{**NEAR, "request_id": "late", "start_time": "2026-01-01T00:00:09Z"}, NEAR],
            [("r1", False), ("late", False)],
            id="calls are told in the order of their start",
        ),
        pytest.param([{"note": "no log line"}], [], id="a line without a reporter is left out"),
    ],
)
def test_which_lines_are_one_call(records: list[dict[str, Any]], told: list[tuple[str, bool]]) -> None:
    assert [(hop.near["request_id"], hop.far is not None) for hop in _pair(records)] == told


def a_story(**changed: Any) -> Story:
    values = {"status": 201, "answer": {"order": 1}, "hops": [Hop(NEAR, FAR)], "denied": DENIED, **changed}
    return Story("t" * 32, elapsed_ms=88.0, denied_answer="403 RBAC: access denied", **values)


@pytest.mark.parametrize(
    ("story", "is_complete"),
    [
        pytest.param(a_story(), True, id="an order, both halves of its call, and a refusal"),
        pytest.param(a_story(status=503), False, id="an order that failed"),
        pytest.param(a_story(hops=[]), False, id="no evidence of any call"),
        pytest.param(a_story(hops=[Hop(NEAR, FAR), Hop(NEAR, None)]), False, id="a call with one half"),
        pytest.param(a_story(denied=None), False, id="no evidence of the refusal"),
    ],
)
def test_a_story_with_a_gap_says_so(story: Story, is_complete: bool) -> None:
    assert story.is_complete is is_complete
    assert ("The story has gaps" in story.as_text()) is not is_complete


def test_the_text_names_who_called_whom_and_what_decided() -> None:
    text = a_story().as_text()
    assert "1. POST http://payment-service:8080/charge  ->  201 in 12.3 ms" in text
    assert "caller spiffe://dominos.internal/ns/production/sa/order-service" in text
    assert "callee spiffe://dominos.internal/ns/production/sa/payment-service" in text
    assert "allowed by intentions/payment-service#1:order-service" in text
    assert "403, decided by none" in text
    assert "attempt 1" not in text, "one attempt is no story"


def test_every_attempt_is_told_when_there_were_several() -> None:
    attempts = [{"n": 1, "host": "a", "outcome": "reset"}, {"n": 2, "host": "b", "outcome": "201"}]
    text = a_story(hops=[Hop({**NEAR, "attempts": attempts}, FAR)]).as_text()
    assert "order-1: attempt 1 at a: reset" in text
    assert "order-1: attempt 2 at b: 201" in text


def test_a_call_that_nobody_took_is_told_as_far_as_it_went() -> None:
    story = a_story(hops=[Hop({**NEAR, "upstream_host": None, "attempts": None}, None)])
    assert "the far side has not written this call down" in story.as_text()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param(b'{"order": 1}', {"order": 1}, id="JSON from the application"),
        pytest.param(b"", {}, id="nothing"),
        pytest.param(b"RBAC: access denied", "RBAC: access denied", id="plain words from a sidecar"),
        pytest.param(b"\xff", "\ufffd", id="bytes that are no text"),
    ],
)
def test_an_answer_is_taken_as_it_is(text: bytes, answer: Any) -> None:
    assert _answer_in(text) == answer
