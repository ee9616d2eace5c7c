"""The archive of a lab: one tar file, a manifest in front, every part checked against it before anything is believed.

Standard library only, and no import of this project: a fresh checkout runs it before there is a virtual environment
(`python3 lab/compose/archive.py BUNDLE FOLDER` unpacks the Python packages).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

FORMAT = 1
MANIFEST = "manifest.json"
IMAGES = "images.tar.gz"
# A name has one of these two shapes; nothing in an archive chooses where it is written.
NAME = re.compile(r"images\.tar\.gz|wheels/[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.+-]*\.whl", re.ASCII)
MAX_MANIFEST_BYTES = 1024 * 1024
CHUNK_BYTES = 1024 * 1024

Manifest = dict[str, Any]


class BundleError(Exception):
    """The archive is not what it says it is, or not for here."""


def write(file: Path, about: Mapping[str, Any], parts: Mapping[str, Path]) -> Manifest:
    """Write an archive; it appears under its name only when it is whole.

    Args:
        file: its name.
        about: what the manifest says beside its parts.
        parts: name in the archive -> the file here.
    """
    if wrong := [name for name in parts if not NAME.fullmatch(name)]:
        raise BundleError(f"{wrong[0]} is no name for a part of a bundle")
    described = {
        name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for name, path in sorted(parts.items())
    }
    manifest = {"format": FORMAT, **about, "parts": described}
    growing = file.with_name(f".{file.name}.part")
    try:
        with tarfile.open(growing, "w") as archive, tempfile.TemporaryFile() as text:
            text.write(json.dumps(manifest, indent=1).encode() + b"\n")
            _add(archive, MANIFEST, text)
            for name in described:
                with parts[name].open("rb") as part:
                    _add(archive, name, part)
        growing.replace(file)
    finally:
        growing.unlink(missing_ok=True)
    return manifest


def unpack(file: Path, into: Path, prefixes: Iterable[str] = ("",)) -> Manifest:
    """Check a whole archive, then put the parts whose names start with a prefix below a folder.

    Returns:
        The manifest.

    Raises:
        BundleError: it is cut short, changed, or no bundle; nothing was put anywhere.
    """
    if not file.is_file():
        raise BundleError(f"there is no file {file}; on a machine with a network: make bundle")
    wanted = tuple(prefixes)
    into.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".bundle-", dir=into))
    try:
        try:
            with tarfile.open(file, "r:") as archive:
                manifest = _check(archive, file, staging, wanted)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise BundleError(
                f"{file} is no whole bundle ({error}); copy it again, or make it again: make bundle"
            ) from error
        for name in manifest["parts"]:
            if name.startswith(wanted):
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                (staging / name).replace(into / name)
        return manifest
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check(archive: tarfile.TarFile, file: Path, staging: Path, wanted: tuple[str, ...]) -> Manifest:
    manifest = _manifest(archive, file)
    absent = dict(manifest["parts"])
    while (entry := archive.next()) is not None:
        said = absent.pop(entry.name, None)
        if said is None or not entry.isreg():
            raise BundleError(
                f"{file} holds {entry.name!r}, of which its manifest says nothing; make it again: make bundle"
            )
        source = archive.extractfile(entry)
        assert source is not None  # isreg says so
        target = staging / entry.name if entry.name.startswith(wanted) else None
        found = _copy(source, target)
        if found != said["sha256"]:
            text = (
                f"{file}: {entry.name} is not what the manifest says (SHA-256 {found[:12]}, not {said['sha256'][:12]})"
            )
            raise BundleError(f"{text}; it was changed or damaged: copy it again, or make it again: make bundle")
    if absent:
        raise BundleError(
            f"{file} is cut short, {min(absent)} is missing; copy it again, or make it again: make bundle"
        )
    return manifest


def _manifest(archive: tarfile.TarFile, file: Path) -> Manifest:
    entry = archive.next()
    if entry is None or entry.name != MANIFEST or not entry.isreg() or entry.size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{file} is no bundle of this project: it does not begin with a {MANIFEST}")
    source = archive.extractfile(entry)
    assert source is not None  # isreg says so
    try:
        manifest: Manifest = json.loads(source.read())
        is_known = manifest["format"] == FORMAT
        is_sound = all(NAME.fullmatch(name) and len(part["sha256"]) == 64 for name, part in manifest["parts"].items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{file}: its {MANIFEST} cannot be read ({error}); make it again: make bundle") from error
    if not is_known:
        raise BundleError(
            f"{file} has format {manifest['format']}, this checkout reads {FORMAT}; make it again: make bundle"
        )
    if not is_sound:
        raise BundleError(f"{file}: its {MANIFEST} names a part that no bundle has; make it again: make bundle")
    return manifest


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    entry.size = content.seek(0, 2)
    content.seek(0)
    archive.addfile(entry, content)


def _copy(source: IO[bytes], target: Path | None) -> str:
    """Copy a part, or only read it; return its SHA-256."""
    digest = hashlib.sha256()
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") if target else tempfile.TemporaryFile() as out:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            if target:
                out.write(chunk)
    return digest.hexdigest()


def main() -> None:
    """Unpack the Python packages of a bundle for the Python that runs this."""
    file, into = Path(sys.argv[1]), Path(sys.argv[2])
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        made_for = unpack(file, into, ("wheels/",)).get("python")
        if made_for != here:
            raise BundleError(
                f"{file} has packages for Python {made_for}, this is Python {here}; say PYTHON=python{made_for}"
            )
    except BundleError as error:
        sys.exit(f"bootstrap: {error}")


if __name__ == "__main__":
    main()
