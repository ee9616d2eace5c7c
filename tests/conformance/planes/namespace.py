"""A runner of these tests, as a process in a network namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab import envoy

CHECKOUT = Path(__file__).parents[3]
TIMEOUT_S = 300.0


def run(module: str, plane: str, *argv: str) -> Any:
    """Run a module against one data plane; return the JSON that it printed.

    Args:
        module: of this folder, without its path; it gets the data plane's name and Envoy's program before `argv`.
        plane: python or envoy.

    Raises:
        AssertionError: it failed; with the end of what it said.
    """
    done = subprocess.run(
        [
            *unshare(),
            *(sys.executable, "-m", f"tests.conformance.planes.{module}"),
            *(plane, str(CHECKOUT / envoy.PROGRAM), *argv),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def unshare() -> list[str]:
    """Return what gives a process a network of its own; whoever is not root gets users of their own as well."""
    return ["unshare", *(("--map-root-user",) if os.geteuid() else ()), "--net", "--"]
