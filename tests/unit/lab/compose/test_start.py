"""What Compose is told, and what is said of it when it fails."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import pytest

from lab.bringup import Hosts
from lab.compose import start
from lab.compose.engine import Engine
from lab.compose.place import Place
from lab.driver import checkout
from lab.topology import load
from mesh.base.durations import parse_duration

TOPOLOGY = load(checkout() / "lab" / "topology.yaml")


@pytest.mark.parametrize(
    ("said", "explained"),
    [
        pytest.param(
            'service "order-1-redirect" didn\'t complete successfully: exit 1\n',
            "order-1-redirect ended with exit code 1, and what waits for it cannot start",
            id="a unit that had to end well ended badly",
        ),
        pytest.param(
            " Container x  Creating\nError response from daemon: Pool overlaps with other one on this address space\n",
            "docker compose: Error response from daemon: Pool overlaps with other one on this address space",
            id="the engine refused",
        ),
        pytest.param("something odd\n\n", "docker compose: something odd", id="a line without the word error"),
        pytest.param("", "docker compose: it said nothing", id="nothing"),
    ],
)
def test_a_failure_is_a_sentence(said: str, explained: str) -> None:
    assert start.explained(said) == explained


def test_the_environment_names_the_lab_its_folder_and_its_images(tmp_path: Path) -> None:
    place = Place(tmp_path / "mine")
    engine = Engine(client=None, host="unix:///x.sock", version="1", architecture="amd64")
    found = start.environment_of(engine, place, {"redirect-init": "meshyard/redirect-init:1"})
    assert found["DOCKER_HOST"] == "unix:///x.sock"
    assert found["IMAGE_REDIRECT_INIT"] == "meshyard/redirect-init:1"
    assert (found["MESHYARD_LAB"], found["MESHYARD_FOLDER"]) == ("mine", str(tmp_path / "mine"))
    assert found["MESHYARD_STARTS"] == str(place.path), "by this a `docker compose` that was left behind is found"


@pytest.mark.parametrize(
    ("left_s", "timeout"),
    [
        pytest.param(180.0, "600s", id="the usual start: what the file says"),
        pytest.param(1800.2, "1866s", id="a long one: longer than it and its grace"),
        pytest.param(-1.0, "600s", id="no time left"),
    ],
)
def test_a_probe_tries_longer_than_the_start_that_waits_for_it(left_s: float, timeout: str) -> None:
    assert start.probe_timeout(100.0 + left_s, now=100.0) == timeout


def test_a_start_tells_the_probes_of_the_file(tmp_path: Path) -> None:
    engine = Engine(client=None, host="unix:///x.sock", version="1", architecture="amd64")
    place, hosts = Place(tmp_path / "mine"), cast(Hosts, None)
    deadline = time.monotonic() + 3600
    made = start.Start(engine, place, TOPOLOGY, {}, hosts, say=lambda *_: None, deadline=deadline)
    name = "MESHYARD_PROBE_TIMEOUT"
    assert parse_duration(made.environment[name]) > 3600
    assert f'"${{{name}:-600s}}"' in (checkout() / "compose.yaml").read_text()


def test_every_image_of_the_compose_file_is_one_that_is_built() -> None:
    from lab.compose.recipes import ROLES

    text = (checkout() / "compose.yaml").read_text()
    for line in (line.strip() for line in text.splitlines() if line.strip().startswith("image:")):
        role = line.removesuffix("}").rpartition("meshyard/")[2]
        assert role in ROLES
        assert line == f"image: ${{IMAGE_{role.upper().replace('-', '_')}:-meshyard/{role}}}"


def test_the_labs_own_topology_needs_no_file_of_its_own(tmp_path: Path) -> None:
    place = Place(tmp_path / "mine")
    start.prepare(place, TOPOLOGY)
    assert not place.compose_file.exists()
    assert str(checkout() / "compose.yaml") in start.compose_argv(place)
    assert place.operator.readlink() == Path("control-plane/control-plane.sock")


def test_another_topology_gets_a_file_of_its_own(tmp_path: Path) -> None:
    place = Place(tmp_path / "mine")
    start.prepare(place, TOPOLOGY.only(["cp-1", "payment-1"]))
    assert "payment-1-app:" in place.compose_file.read_text()
    assert "order-1" not in place.compose_file.read_text().partition("services:")[2]
    assert str(place.compose_file) in start.compose_argv(place)


def test_a_lab_with_a_name_of_its_own_takes_no_port_that_is_known() -> None:
    every = {"MESHYARD_PORT_18500": "", "MESHYARD_PORT_18080": ""}
    assert start.free_ports(TOPOLOGY, are_fixed=False) == every
