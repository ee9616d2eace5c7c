"""Labs for tests. A module gets one of its own; `LAB_SETTINGS` and `LAB_HOSTS` in the module shape it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.driver import checkout
from tests.e2e.kit import Lab, topology_with


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder as e2e."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running lab, taken down at the end of the module whatever happened."""
    promise = Path(str(request.module.__file__)).stem.removeprefix("test_").replace("_", "-")
    name = f"test-{promise}-{os.getpid()}"
    running = Lab(name)
    hosts = getattr(request.module, "LAB_HOSTS", None)
    topology = topology_with(tmp_path_factory.mktemp("topology"), hosts) if hosts else None
    try:
        running.up(getattr(request.module, "LAB_SETTINGS", None), topology)
        yield running
    finally:
        running.driver.down()
        (checkout() / ".lab" / f"{name}.lock").unlink(missing_ok=True)
