"""What may be broken, with which options, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.driver import LabError
from lab.faults import FAULTS, order, order_from_json


@pytest.mark.parametrize(
    ("fault", "options", "values"),
    [
        pytest.param("cut", {}, {}, id="a cut has nothing to say"),
        pytest.param("delay", {}, {"by_s": 0.1, "jitter_s": 0.0}, id="a delay is 100ms when nobody says more"),
        pytest.param(
            "delay", {"by": "1s", "jitter": "1s"}, {"by_s": 1.0, "jitter_s": 1.0}, id="as much jitter as delay"
        ),
        pytest.param("loss", {"percent": "12.5%"}, {"percent": 12.5}, id="a share with its sign"),
        pytest.param("loss", {"percent": ""}, {"percent": 30.0}, id="an empty option says nothing"),
        pytest.param("kill", {"unit": "agent"}, {}, id="a unit is no value for the host"),
    ],
)
def test_what_is_asked_for(fault: str, options: dict[str, str], values: dict[str, float]) -> None:
    made = order(fault, "payment-1", duration_s=60, options=options)
    assert dict(made.values) == values
    assert made.unit == options.get("unit", "")


@pytest.mark.parametrize(
    ("fault", "options", "duration_s", "words"),
    [
        pytest.param("explode", {}, 60, "no fault 'explode'; there are: cut, delay", id="an unknown fault"),
        pytest.param("kill", {}, 60, "kill needs --unit", id="kill without a unit"),
        pytest.param("cut", {"unit": "app"}, 60, "cut takes no --unit", id="cut with a unit"),
        pytest.param("cut", {"by": "1s"}, 60, "cut takes no --by", id="an option of another fault"),
        pytest.param("cut", {}, 0, "more than 0 s", id="no time"),
        pytest.param("cut", {}, 3601, "at most 1h", id="too much time"),
        pytest.param("delay", {"by": "fast"}, 60, "--by fast: a number with a unit", id="a delay that is no duration"),
        pytest.param("delay", {"by": "11s"}, 60, "at most 10s", id="a delay that nobody waits for"),
        pytest.param("delay", {"by": "0"}, 60, "at least 1ms", id="a delay of nothing"),
        pytest.param("delay", {"jitter": "200ms"}, 60, "before it was sent", id="more jitter than delay"),
        pytest.param("loss", {"percent": "0"}, 60, "more than 0", id="a loss of nothing"),
        pytest.param("loss", {"percent": "101"}, 60, "at most 100", id="a loss of more than all"),
        pytest.param("loss", {"percent": "nan"}, 60, "more than 0", id="a share that is no number"),
        pytest.param("loss", {"percent": "some"}, 60, "per cent, such as 30", id="a share in words"),
    ],
)
def test_what_makes_no_sense(fault: str, options: dict[str, str], duration_s: float, words: str) -> None:
    with pytest.raises(LabError, match=words) as told:
        order(fault, "payment-1", duration_s=duration_s, options=options)
    assert told.value.exit_code == 2


@pytest.mark.parametrize(
    ("fault", "options", "name", "place"),
    [
        pytest.param("cut", {}, "cut payment-1", "payment-1.cut", id="one of a kind on a host"),
        pytest.param("kill", {"unit": "app"}, "kill payment-1 app", "payment-1.app", id="one of any kind on a unit"),
        pytest.param("pause", {"unit": "app"}, "pause payment-1 app", "payment-1.app", id="which it shares"),
    ],
)
def test_names_and_places(fault: str, options: dict[str, str], name: str, place: str) -> None:
    made = order(fault, "payment-1", duration_s=60, options=options)
    assert (made.name, made.place) == (name, place)


def test_the_sentence_says_what_was_chosen() -> None:
    made = order("delay", "payment-1", duration_s=60, options={"by": "250ms"})
    assert made.text.endswith("takes as much longer (payment-1, by 250ms)")
    assert order("kill", "cp-1", duration_s=60, options={"unit": "control-plane"}).text.endswith("(cp-1 control-plane)")


def test_no_unit_has_the_name_of_a_fault_of_packets() -> None:
    """Otherwise the two would share a place."""
    assert not set(FAULTS) & {"control-plane", "redirect", "agent", "sidecar", "probe", "app"}


def test_the_page_shows_every_fault_as_it_is_said() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "howto" / "break-things.md").read_text().splitlines()
    assert [f"| `{one.name}` | {one.what} | {one.seen} |" for one in FAULTS.values()] == [
        line for line in page if line.startswith("| `") and not line.startswith("| `stop-")
    ]


@given(st.sampled_from(sorted(FAULTS)), st.floats(0.001, 3600))
def test_an_order_survives_being_written_down(fault: str, duration_s: float) -> None:
    made = order(fault, "a", duration_s=duration_s, options={"unit": "app"} if FAULTS[fault].needs_unit else {})
    assert order_from_json(json.loads(json.dumps(dataclasses.asdict(made)))) == made
