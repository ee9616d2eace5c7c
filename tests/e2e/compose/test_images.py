"""What is in the images, who runs in them, and that a bundle is enough without a network."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.compose import bundle, recipes
from lab.compose.engine import Engine, connect
from lab.compose.images import Workshop, ensure, finished
from lab.compose.options import Options
from lab.driver import LabError, checkout
from lab.provision import USERS
from mesh.base import ports
from tests.e2e.kit import only_on

pytestmark = only_on("compose", why="only containers are made of images")
AS_WHOM = {
    "base": "65534:65534",
    "control-plane": f"{ports.UID_CONTROL_PLANE}:{ports.UID_CONTROL_PLANE}",
    "agent": f"{ports.UID_AGENT}:{ports.GID_WORKLOAD}",
    "sidecar": f"{ports.UID_SIDECAR}:{ports.GID_WORKLOAD}",
    "redirect-init": "0:0",
    "demo-service": f"{ports.UID_APP}:{ports.GID_WORKLOAD}",
}
LOOK = "curl iptables-restore ip openssl tcpdump ping ps tini python3"
# In a network namespace of its own: a private engine with nothing in it, no way out, and the bundle.
OFFLINE = """
    set -eu
    ip link set lo up
    unset DOCKER_HOST
    settings="$(ENGINE={name} .ci/engine start)"
    trap 'ENGINE={name} .ci/engine stop' EXIT
    eval "$settings"
    test -z "$(docker images -q)"
    .venv/bin/lab images
"""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return connect()


@pytest.fixture(scope="module")
def workshop(engine: Engine) -> Workshop:
    return finished(engine, print, Options.from_environment(os.environ))


@pytest.fixture(scope="module")
def tags(workshop: Workshop) -> dict[str, str]:
    return workshop.tags()


def in_image(engine: Engine, tag: str, *argv: str, user: str = "") -> str:
    """Run a command in an image, as its own user or the one named, without a network and with nothing to write to."""
    options = ["--rm", "--network", "none", "--read-only", "--entrypoint", "", *(["--user", user] if user else [])]
    return engine.docker("run", *options, tag, *argv, timeout_s=180)


@pytest.mark.parametrize("role", sorted(AS_WHOM))
def test_an_image_runs_as_its_own_user(engine: Engine, tags: dict[str, str], role: str) -> None:
    assert in_image(engine, tags[role], "sh", "-c", 'echo "$(id -u):$(id -g)"').strip() == AS_WHOM[role]


@pytest.mark.parametrize("role", [role for role in sorted(AS_WHOM) if role != "demo-service"])
def test_the_mesh_runs_in_its_images(engine: Engine, tags: dict[str, str], role: str) -> None:
    assert "Meshyard" in in_image(engine, tags[role], "mesh", "--help")
    in_image(engine, tags[role], "python", "-c", "import grpc, uvloop, mesh.proxy.main, lab.onhost.fault")


def test_the_applications_know_of_no_mesh(engine: Engine, tags: dict[str, str]) -> None:
    with pytest.raises(LabError, match="No module named 'mesh'"):
        in_image(engine, tags["demo-service"], "python", "-c", "import mesh")
    in_image(engine, tags["demo-service"], "python", "-c", "import aiohttp")
    found = in_image(engine, tags["demo-service"], "find", "/", "-xdev", "-iname", "*mesh*", user="0")
    assert found == "", "not a file with that name"
    assert in_image(engine, tags["base"], "find", "/opt", "-iname", "*mesh*"), "the search finds them where they are"


def test_one_looks_underneath_a_host_with_what_is_in_base(engine: Engine, tags: dict[str, str]) -> None:
    found = in_image(engine, tags["base"], "sh", "-c", f"for name in {LOOK}; do command -v $name; done")
    assert len(found.splitlines()) == len(LOOK.split())


def test_nothing_that_runs_may_change_what_it_runs(engine: Engine, tags: dict[str, str]) -> None:
    for role in ("base", "demo-service"):
        found = in_image(
            engine,
            tags[role],
            "find",
            "/opt",
            "/srv",
            "-not",
            "-type",
            "l",
            "(",
            "-not",
            "-user",
            "0",
            "-o",
            "-perm",
            "/022",
            ")",
        )
        assert found == "", role


def test_the_users_of_a_host_are_in_the_images(engine: Engine, tags: dict[str, str]) -> None:
    said = in_image(engine, tags["base"], "cat", "/etc/passwd")
    assert {(name, str(uid)) for name, uid in USERS} <= set(re.findall(r"^([\w-]+):x:(\d+):", said, re.MULTILINE))


def test_no_image_has_a_label(engine: Engine, tags: dict[str, str]) -> None:
    for tag in tags.values():
        assert engine.client.images.get(tag).labels == {}


def test_a_second_time_builds_nothing(engine: Engine) -> None:
    said: list[str] = []
    first = ensure(engine, said.append, Options())  # the checkout may have changed since the fixture
    said.clear()
    assert ensure(engine, said.append, Options()) == first
    assert said == []


@pytest.fixture(scope="module")
def packed(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("bundle") / "meshyard-bundle.tar"
    bundle.make(workshop, file)
    yield file
    file.unlink()


def test_a_damaged_bundle_gives_the_engine_nothing(engine: Engine, packed: Path, tmp_path: Path) -> None:
    harmed = tmp_path / "harmed.tar"
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    harmed.write_bytes(content)
    before = engine.tags(f"{recipes.REPOSITORY}/*")
    with pytest.raises(LabError, match="is not what the manifest says"):
        bundle.load(engine, print, harmed)
    harmed.write_bytes(content[: len(content) // 2])
    with pytest.raises(LabError, match=r"no whole bundle|is not what the manifest says|cut short"):
        bundle.load(engine, print, harmed)
    assert engine.tags(f"{recipes.REPOSITORY}/*") == before


@pytest.mark.skipif(os.geteuid() != 0, reason="a private engine needs root")
def test_a_bundle_is_enough_without_a_network(tags: dict[str, str], packed: Path) -> None:
    script = textwrap.dedent(OFFLINE.format(name=f"offline-{os.getpid()}"))
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script],
        cwd=checkout(),
        env={**os.environ, "OFFLINE": "1", "BUNDLE": str(packed)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(tags.values()) <= set(done.stdout.split())
    assert "building" not in done.stderr, "everything came from the bundle"
