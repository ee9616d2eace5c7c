"""The data path translated to machine code by mypyc, for hosts whose sidecar is `compiled`.

It is made of the checkout's own files, once for each state of them, and kept beside the lab. What is translated, and
how it is taken in place of the Python form, is in `mesh.base.compiled`; this is the shell around mypyc and the
compiler. `python -m lab.compiled FOLDER` is its inside, a process of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.driver import LabError, Progress
from lab.telling import telling_line
from mesh.base.compiled import MANIFEST, fingerprint, sources

FOLDER = ".lab/cache/compiled"  # in a checkout
GROUP = "meshyard"  # the module with the code of all, which the others only point into
TIMEOUT_S = 1800.0
PACKAGES = "gcc python3-dev"
DOES_WITHOUT = "SIDECAR=python does without it"


def provide(checkout: Path) -> Iterator[Progress]:
    """Translate the data path where that was not yet done for these files, and say so.

    Raises:
        LabError: the compiler, Python's headers or mypyc are missing, or the files are not what mypyc takes.
    """
    wanted = fingerprint(checkout)
    folder = checkout / FOLDER
    if _is_made_of(folder, wanted):
        return
    require_tools()
    began = time.monotonic()
    yield Progress(f"compiling the data path into {FOLDER}, which takes minutes", is_done=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # labs that start side by side do it once
        if not _is_made_of(folder, wanted):
            _make(checkout, folder, wanted)
    yield Progress("data path compiled", elapsed_s=time.monotonic() - began)


def require_tools() -> None:
    """Refuse a machine that cannot compile, with what is missing.

    Raises:
        LabError: no compiler, no headers, or no mypyc.
    """
    missing = [name for name, is_there in _tools().items() if not is_there]
    if missing:
        raise LabError(
            f"compiling the data path needs {' and '.join(missing)}; {DOES_WITHOUT}\n"
            f"mend: apt-get install {PACKAGES}; make bootstrap"
        )


def _tools() -> dict[str, bool]:
    from importlib.util import find_spec

    return {
        "a C compiler (gcc)": shutil.which("gcc") is not None,
        "Python's headers (Python.h)": (Path(sysconfig.get_paths()["include"]) / "Python.h").exists(),
        "mypyc (in .venv)": find_spec("mypyc") is not None,
    }


def _is_made_of(folder: Path, wanted: str) -> bool:
    try:
        return bool(json.loads((folder / MANIFEST).read_text())["fingerprint"] == wanted)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make(checkout: Path, folder: Path, wanted: str) -> None:
    """Make the folder whole or not at all; a sidecar that runs keeps the one that it has."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        made = Path(work) / "made"
        argv = [sys.executable, "-m", "lab.compiled", str(made)]
        done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode:
            said = telling_line(done.stderr or done.stdout)
            raise LabError(f"compiling the data path failed: {said}; {DOES_WITHOUT}")
        (made / MANIFEST).write_text(json.dumps({"fingerprint": wanted}) + "\n")
        made.chmod(0o755)  # read by the sidecar's user
        if folder.exists():
            folder.rename(Path(work) / "old")
        made.rename(folder)


def translate(root: Path, out: Path) -> None:
    """Translate the data path below `root`, which has to be the current folder, into `out`."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    with tempfile.TemporaryDirectory() as work:
        files = [path.relative_to(root).as_posix() for path in sources(root)]
        modules = mypycify(
            ["--strict", *files],
            opt_level="3",
            debug_level="0",
            multi_file=True,
            group_name=GROUP,
            target_dir=f"{work}/c",
        )
        build: Any = Distribution({"name": GROUP, "ext_modules": modules}).get_command_obj("build_ext")
        build.build_lib, build.build_temp, build.parallel = str(out), f"{work}/o", os.cpu_count()
        build.ensure_finalized()
        build.run()


if __name__ == "__main__":
    translate(Path.cwd(), Path(sys.argv[1]).resolve())
