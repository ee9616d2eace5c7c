"""When a lab is gone: what the engine was still asked for comes late, and goes too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.compose import sweep
from lab.compose.place import HOST_LABEL, LAB_LABEL, UNIT_LABEL, Place
from lab.driver import LabError, checkout
from lab.topology import load


class Clock:
    """A clock that goes only when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Api:
    """An engine that lists a container once its time has come; removing takes `slow_s`, or is refused."""

    def __init__(self, clock: Clock, *, comes_at: Mapping[str, float], slow_s: float = 0.0, refuses: str = "") -> None:
        self.clock, self.comes_at, self.slow_s, self.refuses = clock, dict(comes_at), slow_s, refuses
        self.left = ["meshyard-mine_data", "meshyard-mine-too_data", "other"]

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        labels = {LAB_LABEL: "mine", HOST_LABEL: "order-1", UNIT_LABEL: "app"}
        return [{"Id": name, "Labels": labels} for name, at in self.comes_at.items() if at <= self.clock.now]

    def remove_container(self, name: str, **_: Any) -> None:
        from docker.errors import APIError

        if self.refuses:
            raise APIError("no", explanation=self.refuses)
        del self.comes_at[name]
        self.clock.now += self.slow_s

    def networks(self, **_: Any) -> list[dict[str, Any]]:
        return []

    def remove_network(self, name: str) -> None:
        raise AssertionError(name)

    def volumes(self) -> dict[str, Any]:
        return {"Volumes": [{"Name": name} for name in self.left]}

    def remove_volume(self, name: str, **_: Any) -> None:
        self.left.remove(name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sweep, "time", clock)
    monkeypatch.setattr(sweep, "end_strays", lambda place: None)
    return clock


def swept(api: Api, place: Place) -> None:
    sweep.sweep(SimpleNamespace(client=SimpleNamespace(api=api)), place)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("comes_at", "slow_s"),
    [
        pytest.param({"one": 0.0, "late": 0.9}, 0.0, id="within a second after the rest had gone"),
        pytest.param({"late": 0.9}, 0.0, id="when nothing was there yet"),
        pytest.param({"one": 0.0, "late": 8.0}, 5.0, id="from an engine that takes five seconds for an answer"),
    ],
)
def test_what_a_killed_start_still_asked_for_goes_too(
    clock: Clock, tmp_path: Path, comes_at: dict[str, float], slow_s: float
) -> None:
    place = Place(tmp_path / "mine")
    place.path.mkdir()  # begun, and never green
    api = Api(clock, comes_at=comes_at, slow_s=slow_s)
    swept(api, place)
    assert api.comes_at == {}
    assert api.left == ["meshyard-mine-too_data", "other"], "volumes by the lab's own name, whoever made them"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_lab_that_was_green_and_one_that_never_was_begun_are_not_waited_for(
    clock: Clock, tmp_path: Path, is_there: bool
) -> None:
    place = Place(tmp_path / "mine")
    if is_there:
        place.path.mkdir()
        place.save({"topology": {}})
    swept(Api(clock, comes_at={}), place)
    assert clock.now <= sweep.PAUSE_S


def test_what_stays_is_named_with_the_reason(clock: Clock, tmp_path: Path) -> None:
    api = Api(clock, comes_at={"stuck": 0.0}, refuses="device or resource busy")
    with pytest.raises(LabError, match="ending the lab 'mine': device or resource busy"):
        swept(api, Place(tmp_path / "mine"))


@pytest.mark.parametrize(
    ("name", "is_its"),
    [
        pytest.param("meshyard-mine_order-etc", True, id="its own"),
        pytest.param("meshyard-mine_order-1-etc", False, id="that of a host whose name begins like it"),
        pytest.param("meshyard-mine-too_order-etc", False, id="that of another lab"),
    ],
)
def test_the_volumes_of_one_host(tmp_path: Path, name: str, is_its: bool) -> None:
    host = load(checkout() / "lab" / "topology.yaml").hosts["order-1"]
    host = dataclasses.replace(host, name="order")
    assert sweep.is_volume_of(name, Place(tmp_path / "mine"), host) is is_its


@pytest.mark.parametrize(
    ("folder", "is_named"),
    [
        pytest.param("elsewhere", True, id="of a checkout that there is"),
        pytest.param("gone", False, id="of one that is gone: nobody would end it"),
        pytest.param("", False, id="that Compose has not made"),
        pytest.param("own", False, id="our own"),
    ],
)
def test_whose_lab_is_on_the_engine(tmp_path: Path, folder: str, is_named: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    found = {"own": str(checkout()), "": ""}.get(folder, str(tmp_path / folder))
    labels = {LAB_LABEL: "mine"} | ({sweep.FOLDER_LABEL: found} if found else {})
    api = SimpleNamespace(containers=lambda **_: [{"Id": "one", "Labels": labels}])
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=api))
    assert sweep.elsewhere(engine, Place(tmp_path / "mine")) == (found if is_named else "")
