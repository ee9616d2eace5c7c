"""Which data planes a lab wants, where they can be, and that nobody makes ready what no host wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import data_planes
from lab.data_planes import DATA_PLANES, DataPlane
from lab.driver import LabError, Progress
from lab.topology import Sidecar, load

SHIPPED = load(Path(__file__).resolve().parents[3] / "lab" / "topology.yaml")
DRIVERS = ("netns", "compose", "vagrant")


def test_every_data_plane_but_the_python_one_has_a_row() -> None:
    assert {one.sidecar for one in DATA_PLANES} == set(Sidecar) - {Sidecar.PYTHON}


@pytest.mark.parametrize("one", DATA_PLANES, ids=lambda one: one.sidecar)
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_whose_hosts_cannot_have_it_is_refused(one: DataPlane, driver: str) -> None:
    data_planes.require_driver(SHIPPED, driver)
    wanted = SHIPPED.with_sidecars(f"payment-1={one.sidecar}")
    if driver in one.drivers:
        data_planes.require_driver(wanted, driver)
        return
    says = f"{one.said} .* only, not on {driver}; right would be: LAB=netns, or SIDECAR=python"
    with pytest.raises(LabError, match=says) as refused:
        data_planes.require_driver(wanted, driver)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ("", []),
        ("python", []),
        ("payment-1=envoy", ["envoy"]),
        ("compiled", ["compiled"]),
        ("payment-1=compiled,payment-2=envoy", ["envoy", "compiled"]),
    ],
)
def test_what_hosts_want_is_made_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, made: list[str]
) -> None:
    def standing_for(one: DataPlane) -> DataPlane:
        def provide(checkout: Path) -> Iterator[Progress]:
            assert checkout == tmp_path
            yield Progress(str(one.sidecar))

        return dataclasses.replace(one, provide=provide)

    monkeypatch.setattr(data_planes, "DATA_PLANES", tuple(standing_for(one) for one in DATA_PLANES))
    steps = data_planes.provide(SHIPPED.with_sidecars(said), tmp_path)
    assert [step.text for step in steps] == made
