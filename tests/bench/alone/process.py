"""A data plane in a network namespace of its own, as a process that is told what to measure, line by line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab import envoy
from lab.driver import checkout
from tests.conformance.planes.namespace import unshare


class Plane:
    """What such a process is asked, and what it answers. `first` is what it said once it was ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.first: dict[str, Any] = self._answer()

    def ask(self, order: str) -> dict[str, Any]:
        """Give an order; return what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a data plane under measurement has ended; what it said is above")
        return dict(json.loads(line))


@contextmanager
def running(module: str, plane: str, *options: str) -> Iterator[Plane]:
    """Run a data plane while the block runs.

    Args:
        module: the program; it gets the data plane's name and Envoy's program before `options`.
        plane: python or envoy.
    """
    argv = [*unshare(), sys.executable, "-m", module, plane, str(checkout() / envoy.PROGRAM), *options]
    process = subprocess.Popen(argv, cwd=checkout(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Plane(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
