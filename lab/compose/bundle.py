"""One archive with which a machine without a network has a lab: images, and the Python packages of all sides."""

from __future__ import annotations

import gzip
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from lab import wheels
from lab.compose import archive
from lab.compose.cache import cache, note_base, noted_base, wheels_for
from lab.compose.engine import Engine, Say
from lab.compose.options import FROM_BUNDLE, Options
from lab.driver import LabError, checkout

if TYPE_CHECKING:
    from lab.compose.images import Workshop

CHECKOUT = "checkout"  # the Python packages of .venv; lab/bootstrap.sh reads them from below "wheels"
GZIP_LEVEL = 3  # a third of the size of none; higher levels cost minutes and save a tenth
SAVE_TIMEOUT_S = 900.0


def make(workshop: Workshop, file: Path) -> archive.Manifest:
    """Write the archive of this checkout, whose images are built; fetch the Python packages that are missing.

    Raises:
        LabError: something could not be fetched or written.
    """
    engine, say, tags = workshop.engine, workshop.say, workshop.tags()
    for_images = workshop.wheels([recipe for recipe in workshop.recipes.values() if recipe.requirements])
    folder = _checkout_wheels(say, workshop.options)
    parts = {f"wheels/{CHECKOUT}/{path.name}": path for path in sorted(folder.glob("*.whl"))}
    for path in {path for paths in for_images.values() for path in paths}:
        parts[f"wheels/{path.parent.name}/{path.name}"] = path
    about = {
        "version": version("meshyard"),
        "architecture": engine.architecture,
        "python": _python(),
        "base": str(workshop.base),
        "images": tags,
    }
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=cache()) as work:
        began = time.monotonic()
        say(f"packing {len(tags)} images and {len(parts)} Python packages")
        parts[archive.IMAGES] = _save(engine, tags, Path(work) / archive.IMAGES)
        file.parent.mkdir(parents=True, exist_ok=True)
        manifest = archive.write(file, about, parts)
    size_mb = file.stat().st_size / 1e6
    say(f"  {file} ({size_mb:.0f} MB, {time.monotonic() - began:.1f} s)")
    return manifest


def load(engine: Engine, say: Say, file: Path) -> None:
    """Take images and Python packages from an archive; nothing of it is used before all of it was checked.

    Raises:
        LabError: it is damaged, changed, or for another machine.
    """
    say(f"checking and unpacking {file}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="meshyard-bundle-") as work:
        try:
            manifest = archive.unpack(file, Path(work))
        except archive.BundleError as error:
            raise LabError(str(error)) from error
        if manifest["architecture"] != engine.architecture:
            made, runs = manifest["architecture"], engine.architecture
            raise LabError(f"{file} was made for {made}, the Docker Engine runs {runs}; make one on such a machine")
        engine.docker("load", "--quiet", "--input", str(Path(work) / archive.IMAGES), timeout_s=SAVE_TIMEOUT_S)
        shutil.copytree(Path(work) / "wheels", cache() / "wheels", dirs_exist_ok=True)
    if noted_base().base != manifest["base"]:  # else who wanted it before wants it still
        note_base(manifest["base"], FROM_BUNDLE)
    say(f"  {len(manifest['images'])} images and the Python packages are here ({time.monotonic() - began:.1f} s)")


def _checkout_wheels(say: Say, options: Options) -> Path:
    """Return the folder with the packages of a .venv for this machine's Python; fetch what is missing."""
    folder = wheels_for(CHECKOUT)
    locked = checkout() / "requirements" / "locked.txt"
    pins = wheels.pins(locked.read_text(), _here())
    _, absent = wheels.chosen(pins, wheels.hashes_of(folder))
    if absent and options.is_offline:
        raise LabError(f"OFFLINE=1, and there is no wheel of {absent[0].name} to put into a bundle")
    if absent:
        began = time.monotonic()
        say(f"fetching {len(absent)} Python packages for .venv")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        wheels.pip_download([], locked, folder, ca_bundle=options.ca_bundle)
        say(f"  {len(absent)} Python packages fetched ({time.monotonic() - began:.1f} s)")
    return folder


def _here() -> wheels.Target:
    return wheels.Target(platform.python_version(), platform.machine(), platform.libc_ver()[1])


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _save(engine: Engine, tags: dict[str, str], file: Path) -> Path:
    saving = subprocess.Popen(
        ["docker", "save", *tags.values()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=engine.environment
    )
    assert saving.stdout is not None
    assert saving.stderr is not None
    with saving, file.open("wb") as raw, gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) as packed:
        shutil.copyfileobj(saving.stdout, packed, archive.CHUNK_BYTES)
        said = saving.stderr.read().decode(errors="replace")
    if saving.returncode:
        raise LabError(f"docker save failed: {said.strip()}")
    return file
