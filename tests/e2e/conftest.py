"""Labs for tests. A module gets one of its own; `LAB_SETTINGS` and `LAB_HOSTS` in the module shape it.

On namespaces every module has a lab to itself, and several run side by side. Docker and VMs carry one lab at a time,
which is expensive: there the modules come one after the other to the lab that LAB_NAME names, and each finds a mesh
that has just started. A lab that was up before the tests is up, and fresh, after them.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import choice
from lab.driver import checkout
from tests.e2e.kit import LAB, Lab, topology_of, topology_with
from tests.e2e.pace import slow_by, stretch_by, stretched_settings

HERE = Path(__file__).parent
LEFT_OUT = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Note what this run leaves out; let Ctrl-C mean to children what it means at a terminal."""
    config.stash[LEFT_OUT] = {}
    # A shell makes what it runs in the background deaf to SIGINT, and that is inherited.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark everything below this folder as e2e, and leave out what makes no sense on this run's driver."""
    left_out = []
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.e2e)
        if reason := _why_not(item):
            left_out.append(item)
            config.stash[LEFT_OUT][item.nodeid] = reason
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _why_not(item: pytest.Item) -> str:
    for mark in item.iter_markers("only_on"):
        drivers, why = mark.args
        if LAB not in drivers:
            return f"only on {' and '.join(drivers)}: {why}"
    return ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, and why."""
    by_reason: dict[str, list[str]] = {}
    for nodeid, reason in config.stash[LEFT_OUT].items():
        by_reason.setdefault(reason, []).append(nodeid)
    if by_reason:
        terminalreporter.section(f"not run on {LAB}")
    for reason, nodeids in by_reason.items():
        modules = sorted({nodeid.partition("::")[0] for nodeid in nodeids})
        terminalreporter.write_line(f"{len(nodeids)} of {', '.join(modules)}: {reason}")


@pytest.fixture(scope="session")
def the_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The one lab of a driver that carries one at a time."""
    only = Lab(os.environ.get("LAB_NAME") or "default")
    choice.require_free(only.driver.lab_name, choice.chosen(only.driver.lab_name, LAB))
    only.tell = functools.partial(_tell, request.config)
    was_up = only.driver.is_up()
    if not was_up:
        only.up()
    factor = stretch_by(only.measure())
    if factor > 1:
        only.tell(f"looking at a host of this lab is slow: every time limit is {factor:.1f} times longer")
    slower = slow_by(only.compare())
    if slower > 1:
        only.tell(f"hosts of this lab compute {slower:.1f} times slower than this machine: loads are so much smaller")
    only.is_fresh = only.driver.is_made_of(topology_of())
    yield only
    if not was_up:
        only.driver.down()
    elif not only.is_fresh:
        only.renew()


def _tell(config: pytest.Config, text: str) -> None:
    """Say something to whoever watches the run: a lab may take minutes, and silence looks like a hang."""
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    with capture.global_and_fixture_disabled():
        reporter.write_line(f"\n{text}")


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running lab whose mesh has just started, with the settings that the module wants."""
    settings = getattr(request.module, "LAB_SETTINGS", None)
    hosts = getattr(request.module, "LAB_HOSTS", None)
    topology = topology_with(tmp_path_factory.mktemp("topology"), hosts) if hosts else None
    if Lab("probe").driver.is_alone:
        the_lab = request.getfixturevalue("the_lab")  # first: it measures how slow its hosts are
        yield _visit(the_lab, settings and stretched_settings(settings), topology)
        return
    promise = Path(str(request.module.__file__)).stem.removeprefix("test_").replace("_", "-")
    own = Lab(f"test-{promise}-{os.getpid()}")
    try:
        own.up(settings, topology)
        yield own
    finally:
        own.driver.down()
        (checkout() / ".lab" / f"{own.driver.lab_name}.lock").unlink(missing_ok=True)


def _visit(only: Lab, settings: dict[str, str] | None, topology: Path | None) -> Lab:
    """Have the one lab with a mesh that has just started."""
    if settings or topology or not only.is_fresh:
        only.renew(settings, topology)
    only.is_fresh = False
    return only
