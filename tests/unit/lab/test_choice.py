"""Which driver makes the hosts, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import choice
from lab.driver import LabError


@pytest.mark.parametrize(
    ("said", "remembered", "platform", "name", "why"),
    [
        pytest.param("", "", "linux", "netns", "this is Linux", id="Linux has namespaces"),
        pytest.param("", "", "darwin", "compose", "this is darwin", id="elsewhere Docker makes the hosts"),
        pytest.param("vagrant", "", "linux", "vagrant", "LAB=vagrant says so", id="LAB= decides"),
        pytest.param("netns", "compose", "linux", "netns", "LAB=netns says so", id="LAB= decides over a running lab"),
        pytest.param("", "compose", "linux", "compose", "was started with it", id="a running lab is found again"),
    ],
)
def test_choose(said: str, remembered: str, platform: str, name: str, why: str) -> None:
    taken = choice.choose(said, remembered, platform)
    assert taken.name == name
    assert why in taken.why


def test_an_unknown_driver_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LabError, match=r"LAB=podman: there is no such driver.*netns, compose, vagrant") as refused:
        choice.choose("podman", "", "linux")
    assert refused.value.exit_code == 2


def test_a_lab_remembers_its_driver_until_it_is_down(tmp_path: Path) -> None:
    assert choice.remembered("default", tmp_path / ".lab") == ""
    choice.remember("default", "compose", tmp_path / ".lab")
    assert choice.remembered("default", tmp_path / ".lab") == "compose"
    assert choice.remembered("other", tmp_path / ".lab") == ""
    choice.forget("default", tmp_path / ".lab")
    choice.forget("default", tmp_path / ".lab")
    assert choice.remembered("default", tmp_path / ".lab") == ""


def test_a_start_that_fails_is_not_remembered(tmp_path: Path) -> None:
    with choice.noted("default", "compose", tmp_path):
        assert choice.remembered("default", tmp_path) == "compose", "while it starts it is found"
    choice.forget("default", tmp_path)
    with pytest.raises(LabError), choice.noted("default", "compose", tmp_path):
        raise LabError("no engine")
    assert choice.remembered("default", tmp_path) == ""


def test_a_start_beside_another_one_leaves_its_note(tmp_path: Path) -> None:
    choice.remember("default", "netns", tmp_path)
    (tmp_path / "default").mkdir()
    with pytest.raises(LabError), choice.noted("default", "compose", tmp_path):
        raise LabError("another command is starting or ending this lab; wait for it")
    assert choice.remembered("default", tmp_path) == "netns"


@pytest.mark.parametrize(("said", "remembered"), [("", "compose"), ("compose", "compose"), ("netns", ""), ("", "")])
def test_the_labs_own_driver_may_do_something_to_it(said: str, remembered: str) -> None:
    choice.require_same(said, remembered)


class Dead:
    """A driver whose lab is not up any more; `trouble` is why what is left of it does not go."""

    def __init__(self, trouble: str = "") -> None:
        self.trouble, self.is_ended = trouble, False

    def is_up(self) -> bool:
        return False

    def down(self) -> None:
        if self.trouble:
            raise LabError(self.trouble, exit_code=5)
        self.is_ended = True


def test_what_is_left_of_another_drivers_dead_lab_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Dead()
    monkeypatch.setattr(choice, "remembered", lambda name: "netns")
    monkeypatch.setattr(choice, "driver", lambda name, lab_name: dead)
    choice.require_free("default", choice.Choice("compose", "LAB=compose says so"))
    assert dead.is_ended


def test_what_does_not_go_is_told_with_a_way_round_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "remembered", lambda name: "compose")
    monkeypatch.setattr(choice, "driver", lambda name, lab_name: Dead("no Docker Engine answers"))
    with pytest.raises(LabError, match=r"started on Docker Compose.*no Docker Engine answers; .*LAB_NAME=") as refused:
        choice.require_free("default", choice.Choice("netns", "LAB=netns says so"))
    assert refused.value.exit_code == 5


def test_another_driver_than_the_labs_own_is_refused() -> None:
    with pytest.raises(LabError, match="started on Docker Compose; leave LAB=netns out, or say LAB=compose") as refused:
        choice.require_same("netns", "compose")
    assert refused.value.exit_code == 2


def test_a_note_that_is_no_driver_is_no_choice(tmp_path: Path) -> None:
    (tmp_path / "default.driver").write_text("toaster")
    assert choice.remembered("default", tmp_path) == ""


@pytest.mark.parametrize("name", list(choice.DRIVERS))
def test_every_driver_has_a_maker(name: str) -> None:
    assert name in choice._MADE_BY
