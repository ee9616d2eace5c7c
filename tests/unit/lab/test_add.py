"""From a folder to the spec of a host: the free address, the service's name, and every reason to refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.add import spec_of
from lab.driver import LabError, checkout
from lab.topology import Role, Sidecar
from mesh.base.errors import ConfigError

SERVICE = 'service { name = "menu-service" port = 8080 }\n'


def a_status(*taken: str) -> dict[str, Any]:
    hosts = [("cp-1", "10.77.1.2", "east"), ("inventory-1", "10.77.2.11", "west")]
    hosts += [(f"taken-{number}", address, "east") for number, address in enumerate(taken)]
    return {"hosts": [{"name": name, "address": address, "datacenter": dc} for name, address, dc in hosts]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("")
    (tmp_path / "intentions.hcl").write_text("")
    (tmp_path / "service.hcl").write_text(SERVICE)
    return tmp_path


def test_a_folder_anywhere_becomes_a_host(folder: Path) -> None:
    spec = spec_of(a_status(), "menu-1", folder, "east")
    assert (spec.name, spec.datacenter, spec.address, spec.role) == ("menu-1", "east", "10.77.1.100", Role.SERVICE)
    assert (spec.service, spec.service_dir) == ("menu-service", str(folder.resolve()))


def test_a_folder_of_the_checkout_is_named_within_it() -> None:
    spec = spec_of(a_status(), "pulse-2", checkout() / "demo-services" / "pulse-service", "west")
    assert (spec.service_dir, spec.address) == ("demo-services/pulse-service", "10.77.2.100")


@pytest.mark.parametrize(
    ("taken", "address"),
    [
        pytest.param([], "10.77.1.100", id="the first"),
        pytest.param(["10.77.1.100", "10.77.1.101"], "10.77.1.102", id="the first that is free"),
        pytest.param(["10.77.1.101"], "10.77.1.100", id="a gap is filled"),
    ],
)
def test_a_host_gets_a_free_address(folder: Path, taken: list[str], address: str) -> None:
    assert spec_of(a_status(*taken), "menu-1", folder, "east").address == address


@pytest.mark.parametrize(
    ("name", "datacenter", "absent", "reason"),
    [
        pytest.param("cp-1", "east", "", "a host of that name exists", id="a name that is taken"),
        pytest.param("menu-1", "north", "", "no datacenter 'north'", id="a datacenter that is not there"),
        pytest.param("menu-1", "east", "app.py", "lacks app.py", id="no application"),
        pytest.param("menu-1", "east", "intentions.hcl", "lacks intentions.hcl", id="nobody said who may call"),
    ],
)
def test_what_cannot_be_added_is_said(folder: Path, name: str, datacenter: str, absent: str, reason: str) -> None:
    if absent:
        (folder / absent).unlink()
    with pytest.raises(LabError, match=reason):
        spec_of(a_status(), name, folder, datacenter)


def test_a_name_that_is_no_label_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError):
        spec_of(a_status(), "Menu_1", folder, "east")


def test_two_services_in_one_file_are_one_too_many(folder: Path) -> None:
    (folder / "service.hcl").write_text(SERVICE + SERVICE.replace("menu", "drinks"))
    with pytest.raises((LabError, ConfigError)):
        spec_of(a_status(), "menu-1", folder, "east")


def test_a_full_datacenter_is_said(folder: Path) -> None:
    taken = [f"10.77.1.{number}" for number in range(100, 255)]
    with pytest.raises(LabError, match="no free address"):
        spec_of(a_status(*taken), "menu-1", folder, "east")


@pytest.mark.parametrize(
    ("sidecars", "expected"),
    [
        pytest.param(["envoy", "envoy", ""], Sidecar.ENVOY, id="what all the others have"),
        pytest.param(["envoy", "python"], Sidecar.PYTHON, id="where they differ, Python"),
        pytest.param([""], Sidecar.PYTHON, id="where there is none, Python"),
    ],
)
def test_a_new_host_has_the_data_plane_of_the_others(folder: Path, sidecars: list[str], expected: Sidecar) -> None:
    status = a_status(*(f"10.77.1.{20 + number}" for number in range(len(sidecars))))
    for host, sidecar in zip(status["hosts"][2:], sidecars, strict=True):
        host["sidecar"] = sidecar
    assert spec_of(status, "menu-1", folder, "east").sidecar is expected
