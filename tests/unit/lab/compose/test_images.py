"""Which base the images of a checkout are made from, over several commands; nothing is built here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.compose import build, cache, images
from lab.compose.engine import Engine
from lab.compose.options import FROM_BUNDLE, NO_REGISTRY, SAID, Noted, Options
from lab.driver import LabError, checkout


@dataclass(frozen=True)
class Shelf(Engine):
    """An engine that keeps names of images, and says what was asked of it."""

    client: Any = None
    host: str = "unix:///x.sock"
    version: str = "28.2.2"
    architecture: str = "amd64"
    kept: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    answers: Mapping[str, str] = field(default_factory=dict)

    def tags(self, reference: str) -> set[str]:
        return set(self.kept)

    def docker(self, *argv: str, timeout_s: float = 60.0, cwd: Path | None = None) -> str:
        self.asked.append(" ".join(argv))
        if argv[0] not in self.answers:
            raise LabError(f"docker {argv[0]} failed")
        return self.answers[argv[0]]


@dataclass
class Outside:
    """The registry as it is now, and what goes wrong."""

    pulled: list[str] = field(default_factory=list)
    is_away: bool = False
    knows: tuple[str, ...] = ("debian", "ubuntu:24.04")
    wheels_fail: bool = False

    def pull(self, engine: Engine, image: str) -> None:
        self.pulled.append(image)
        if self.is_away:
            raise build.RegistryUnreachable(f"no registry answers for {image}")
        if not image.startswith(self.knows):
            raise LabError(f"docker pull failed: manifest for {image} not found")


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Outside:
    """A checkout whose builds end at once."""
    found = Outside()

    def made(engine: Shelf, tag: str, *_: object, **__: object) -> None:
        engine.kept.add(tag)

    def wheels(self: images.Workshop, todo: object) -> dict[str, list[Path]]:
        if found.wheels_fail:
            raise LabError("the Python of the base image is too old")
        return {}

    monkeypatch.setattr(cache, "cache", lambda: tmp_path)
    monkeypatch.setattr(images, "cache", lambda: tmp_path)
    monkeypatch.setattr(build, "docker_build", made)
    monkeypatch.setattr(build, "debootstrap", made)
    monkeypatch.setattr(build, "debootstrap_trouble", lambda *_: "")
    monkeypatch.setattr(build, "pull", found.pull)
    monkeypatch.setattr(images.Workshop, "wheels", wheels)
    monkeypatch.setattr(images.Workshop, "_own_wheel", lambda *_: ("mesh.whl", b""))
    return found


def up(engine: Shelf, base: str = "", *, is_offline: bool = False) -> list[str]:
    """Ensure the images as `lab up` does; return what was said."""
    said: list[str] = []
    images.ensure(engine, said.append, Options(base=base, is_offline=is_offline, bundle="nowhere.tar"))
    return said


def test_a_wish_is_noted_when_its_images_are_there_and_holds(outside: Outside) -> None:
    engine = Shelf()
    up(engine, "ubuntu:24.04")
    assert cache.noted_base() == Noted("ubuntu:24.04", SAID)
    assert up(engine) == [], "nothing to build, nothing to say"
    engine.kept.clear()
    assert up(engine)[0].startswith("images are made from ubuntu:24.04, as you said before")
    assert outside.pulled == ["ubuntu:24.04", "ubuntu:24.04"]


@pytest.mark.parametrize(
    ("base", "wheels_fail"),
    [
        pytest.param("ubunut:24.04", False, id="a name with a slip in it"),
        pytest.param("ubuntu:24.04", True, id="a base that is too old for the mesh"),
    ],
)
def test_what_cannot_be_built_does_not_stick(outside: Outside, base: str, wheels_fail: bool) -> None:
    outside.wheels_fail = wheels_fail
    with pytest.raises(LabError):
        up(Shelf(), base)
    assert cache.noted_base() == Noted()
    outside.wheels_fail = False
    up(Shelf())
    assert outside.pulled[-1].startswith("debian@sha256:")


def test_a_slip_leaves_the_wish_before_it(outside: Outside) -> None:
    up(Shelf(), "ubuntu:24.04")
    with pytest.raises(LabError):
        up(Shelf(), "ubunut:24.04")
    assert cache.noted_base() == Noted("ubuntu:24.04", SAID)


def test_without_a_registry_the_images_are_found_again_and_it_is_not_asked(outside: Outside) -> None:
    engine, outside.is_away = Shelf(), True
    assert "no registry is reachable" in " ".join(up(engine))
    assert cache.noted_base() == Noted("debootstrap", NO_REGISTRY)
    outside.pulled.clear()
    assert up(engine) == []
    engine.kept.difference_update([tag for tag in engine.kept if "/agent:" in tag])
    assert "as no registry answered" in up(engine)[0]
    assert outside.pulled == []


def test_a_fall_back_is_remembered_even_when_something_else_fails(outside: Outside) -> None:
    engine, outside.is_away, outside.wheels_fail = Shelf(), True, True
    with pytest.raises(LabError, match="too old"):
        up(engine)
    outside.pulled.clear()
    outside.wheels_fail = False
    up(engine)
    assert outside.pulled == []


def test_one_outage_is_not_for_good(outside: Outside) -> None:
    engine, outside.is_away = Shelf(), True
    up(engine)
    outside.is_away = False
    engine.kept.clear()  # as when the list of packages changed
    up(engine)
    assert outside.pulled[-1].startswith("debian@sha256:")
    assert cache.noted_base() == Noted()


@pytest.mark.parametrize("why", [SAID, NO_REGISTRY, FROM_BUNDLE, ""])
def test_the_default_is_one_word_away(outside: Outside, why: str) -> None:
    cache.note_base("debootstrap", why)
    engine = Shelf()
    up(engine, "default")
    assert cache.noted_base() == Noted()
    assert outside.pulled[-1].startswith("debian@sha256:")
    assert up(engine) == []


def test_who_asks_for_the_default_is_told_when_it_cannot_be_had(outside: Outside) -> None:
    cache.note_base("debootstrap", NO_REGISTRY)
    outside.is_away = True
    with pytest.raises(LabError, match="BASE=debootstrap"):
        up(Shelf(), "default")
    assert cache.noted_base() == Noted("debootstrap", NO_REGISTRY)


def test_a_wish_is_not_replaced_for_want_of_a_registry(outside: Outside) -> None:
    cache.note_base("ubuntu:24.04", SAID)
    outside.is_away = True
    with pytest.raises(LabError, match="no registry answers for ubuntu"):
        up(Shelf())


def test_what_came_with_a_bundle_is_not_left_without_a_network(outside: Outside) -> None:
    cache.note_base("debootstrap", FROM_BUNDLE)
    engine = Shelf()
    with pytest.raises(LabError, match="OFFLINE=1, and the image meshyard/os:"):
        up(engine, is_offline=True)
    assert cache.noted_base() == Noted("debootstrap", FROM_BUNDLE)


def test_a_note_of_an_older_checkout_is_read(outside: Outside, tmp_path: Path) -> None:
    (tmp_path / "base").write_text("debootstrap\n")
    assert cache.noted_base() == Noted("debootstrap", "")


def test_what_is_wanted_is_what_is_built(outside: Outside) -> None:
    engine = Shelf()
    up(engine, "ubuntu:24.04")
    assert {made.tag for made in images.wanted(Options(), "amd64").values()} == engine.kept


@pytest.mark.parametrize(
    ("variable", "answers", "is_buildkit"),
    [
        pytest.param("", {"version": "28.2.2\n", "buildx": "v0.13"}, True, id="a new docker with buildx"),
        pytest.param("", {"version": "28.2.2\n"}, False, id="a new docker without it builds as before"),
        pytest.param("", {"version": "20.10.24+dfsg1\n", "buildx": "v0.13"}, False, id="an old docker"),
        pytest.param("1", {"version": "20.10.24\n"}, True, id="an old docker that was told to"),
        pytest.param("0", {"version": "28.2.2\n", "buildx": "v0.13"}, False, id="a new one that was told not to"),
    ],
)
def test_purge_says_what_stays(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, variable: str, answers: dict[str, str], is_buildkit: bool
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", variable)
    said: list[str] = []
    engine = Shelf(answers={**answers, "image": ""})
    assert images.purge(engine, said.append) == 0
    assert said[0] == "0 images removed"
    assert ("docker builder prune --all" in " ".join(said)) is is_buildkit
    assert not [asked for asked in engine.asked if asked.startswith("builder")], (
        "the cache is also that of other builds"
    )


def test_the_page_says_what_stays() -> None:
    assert "docker builder prune --all" in (checkout() / "images" / "README.md").read_text()
