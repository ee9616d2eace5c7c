"""Bare hosts for the tests of the roles: one set for all tests of a module, set up by site.yml."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ansible.kit import BareLab


@pytest.fixture(scope="module")
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareLab]:
    """Bare hosts, taken down at the end of the module whatever happened; `HOSTS` in the module names them."""
    name = Path(str(request.module.__file__)).stem.removeprefix("test_").replace("_", "-")
    running = BareLab(f"ansible-{name}-{os.getpid()}", request.module.HOSTS, tmp_path_factory.mktemp(name))
    try:
        running.up()
        yield running
    finally:
        running.down()
        shutil.rmtree(running.driver.folder.path, ignore_errors=True)
