"""Preflight: every check is seen failing, alone, and says what mends it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.check.machine import Docker, Machine
from lab.check.run import refused
from lab.check.table import CHECKS, DISK_MB, DISK_WITH_IMAGES_MB, EVERYWHERE, MEMORY_MB, decide
from tests.fakes.machines import DOCKER, GOOD, Lacking
from tests.fakes.machines import LACKING as MACHINES


def _engine(what: str, docker: Docker, platform: str = "linux") -> Lacking:
    return Lacking(what, "compose", replace(GOOD["compose"], docker=docker, platform=platform), ("engine-kind",))


DESKTOP = replace(DOCKER, system="Docker Desktop", address="unix:///home/ada/.docker/desktop/docker.sock")
ENGINES = (  # that answer, and cannot carry the lab
    _engine("an engine over TCP", replace(DOCKER, address="tcp://192.0.2.9:2375")),
    _engine("an engine over SSH", replace(DOCKER, address="ssh://ada@192.0.2.9")),
    _engine("Docker Desktop on Linux", DESKTOP),
    _engine("Docker Desktop on macOS", DESKTOP, "darwin"),
    _engine("a rootless engine", replace(DOCKER, security=("name=seccomp,profile=builtin", "name=rootless"))),
    _engine("an engine that maps users", replace(DOCKER, security=("name=userns",))),
)
LACKING = (
    *MACHINES,
    *ENGINES,
    Lacking("no IPv6", "compose", replace(GOOD["compose"], has_ipv6=False), ("ipv6",)),
    Lacking(
        "no room where the engine keeps images",
        "compose",
        replace(GOOD["compose"], disk_mb=3000, disk_folder="/var/lib/docker"),
        ("disk",),
    ),
)
PAGE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "check.md"


@pytest.mark.parametrize("driver", EVERYWHERE)
def test_a_good_machine_has_nothing_to_mend(driver: str) -> None:
    assert [finding for finding in decide(GOOD[driver], driver) if not finding.is_ok] == []


@pytest.mark.parametrize("lacking", LACKING, ids=lambda lacking: lacking.what)
def test_what_a_machine_lacks_is_said_in_one_line_with_the_command_that_mends_it(lacking: Lacking) -> None:
    wrong = [finding for finding in decide(lacking.machine, lacking.driver) if not finding.is_ok]
    assert tuple(finding.name for finding in wrong) == lacking.checks
    for finding in wrong:
        assert "\n" not in finding.text + finding.fix
        assert finding.fix


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_is_seen_failing(check: object) -> None:
    assert getattr(check, "name", "") in {name for lacking in LACKING for name in lacking.checks}


def test_names_are_given_once() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize(
    ("what", "starts"),
    [
        pytest.param("no KVM", True, id="without KVM a lab starts, slowly"),
        pytest.param("a port that is taken", True, id="with another port a lab starts"),
        pytest.param("no packet queues", True, id="without faults a lab starts"),
        pytest.param("no QEMU", False, id="without anything that runs VMs none does"),
        pytest.param("an old Compose plugin", False, id="nor with an old plugin"),
        pytest.param("a rootless engine", False, id="nor on an engine with users of its own"),
        pytest.param("no IPv6", False, id="nor without IPv6"),
    ],
)
def test_a_warning_does_not_refuse(what: str, starts: bool) -> None:
    lacking = next(one for one in LACKING if one.what == what)
    assert (refused(decide(lacking.machine, lacking.driver)) == []) is starts


@pytest.mark.parametrize(
    ("what", "words"),
    [
        pytest.param(
            "a port that is taken", "port 18080 of 127.0.0.1 is held by pid 4321 (python3", id="who has a port"
        ),
        pytest.param(
            "too little memory for virtual machines", "4096 MB of memory free, 6272 MB are needed", id="numbers"
        ),
        pytest.param("an engine before 20.10", "is 19.03.15 (API 1.40), API 1.41 is needed", id="versions"),
        pytest.param("a VPN with the lab's addresses", "10.0.0.0/8 over tun0 overlaps", id="which route"),
        pytest.param("an engine over SSH", "ssh://ada@192.0.2.9 is reached over a network", id="where an engine is"),
        pytest.param("no room where the engine keeps images", "free in /var/lib/docker", id="which disk"),
        pytest.param("no group ids", "no range in /etc/subgid", id="which file"),
    ],
)
def test_what_is_said(what: str, words: str) -> None:
    lacking = next(one for one in LACKING if one.what == what)
    assert words in " ".join(finding.text for finding in decide(lacking.machine, lacking.driver))


@pytest.mark.parametrize(
    ("routes", "is_ok"),
    [
        pytest.param((("10.77.1.0/24", "wg0"),), False, id="a part of the lab's network"),
        pytest.param((("10.76.0.0/15", "wg0"),), False, id="more than the lab's network"),
        pytest.param((("10.78.0.0/16", "wg0"),), True, id="the network beside it"),
        pytest.param((("0.0.0.0/0", "eth0"),), True, id="the way out is no overlap"),
        pytest.param((("10.77.0.0/16", "br-1f0a"),), True, id="a network of the engine, which the driver asks itself"),
        pytest.param((("fd00::/8", "wg0"),), True, id="the other family"),
    ],
)
def test_routes(routes: tuple[tuple[str, str], ...], is_ok: bool) -> None:
    found = decide(replace(GOOD["compose"], routes=routes), "compose")
    assert next(finding for finding in found if finding.name == "network").is_ok is is_ok


@given(st.integers(0, 10_000), st.sampled_from(sorted(MEMORY_MB)))
def test_memory_is_enough_from_its_floor_on(memory_mb: int, driver: str) -> None:
    machine: Machine = replace(GOOD[driver], memory_mb=memory_mb)
    found = next(finding for finding in decide(machine, driver) if finding.name == "memory")
    assert found.is_ok is (memory_mb >= MEMORY_MB[driver])


@pytest.mark.parametrize("lacking", ENGINES, ids=lambda lacking: lacking.what)
def test_of_an_engine_that_does_not_answer_only_that_is_said(lacking: Lacking) -> None:
    assert lacking.machine.docker
    silent = replace(lacking.machine.docker, reason="Cannot connect to the Docker daemon", api=())
    wrong = [one.name for one in decide(replace(lacking.machine, docker=silent), "compose") if not one.is_ok]
    assert wrong == ["engine"]


@given(st.integers(0, 10_000), st.booleans())
def test_room_for_images_is_asked_for_only_when_one_is_missing(disk_mb: int, has_images: bool) -> None:
    machine = replace(GOOD["compose"], disk_mb=disk_mb, docker=replace(DOCKER, has_images=has_images))
    found = next(finding for finding in decide(machine, "compose") if finding.name == "disk")
    assert found.is_ok is (disk_mb >= (DISK_WITH_IMAGES_MB if has_images else DISK_MB["compose"]))


def test_the_page_shows_every_check_as_it_speaks() -> None:
    """Each row of docs/reference/check.md is what `lab check` says of a machine that lacks something."""
    wanted = []
    for check in CHECKS:
        for lacking in LACKING:
            if check.name in lacking.checks:
                wrong = next(one for one in decide(lacking.machine, lacking.driver) if one.name == check.name)
                mark = "×" if check.is_needed else "‼"
                wanted.append(f"| {check.name} | {mark} {_cell(wrong.text)} | `{_cell(wrong.fix)}` |")
    shown = [line for line in PAGE.read_text().splitlines() if re.match(r"\| [a-z0-9-]+ \| [×‼]", line)]
    assert shown == wanted, "\n" + "\n".join(wanted)


def test_the_page_lists_every_check_with_its_drivers() -> None:
    wanted = [f"| {check.name} | {', '.join(check.drivers)} | {check.asks} |" for check in CHECKS]
    shown = [
        line for line in PAGE.read_text().splitlines() if re.match(r"\| [a-z0-9-]+ \| (netns|compose|vagrant)", line)
    ]
    assert shown == wanted, "\n" + "\n".join(wanted)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
