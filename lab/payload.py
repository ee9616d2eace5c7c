"""What a host is given to run: its packages in one archive, made once and kept in `.lab/cache/wheels`.

A host needs neither a network nor pip nor minutes of a slow processor: wheels for its Python are fetched here, checked
against the hashes of requirements/, laid out as they lie in a virtual environment, and compiled when this Python is of
the host's minor version. `python -m lab.payload` prints where the archive is and under which version it is to be laid
beside the others on a host.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import wheels
from lab.driver import LabError, checkout
from lab.telling import telling_line
from lab.wheels import Pin, Target

LISTS = {"mesh": "runtime.txt", "demo-services": "demo-services.txt"}  # what is packed -> its list in requirements/
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "mesh", "lab")  # what the project's own wheel is made of
GLIBC = "2.34"  # Debian 12, Ubuntu 22.04 and all that came later have it or a newer one
BUILD_TIMEOUT_S = 120.0
EPOCH = 315532800  # 1980-01-01, the oldest time that a zip file can tell: the same packages are the same archive
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
KEPT = 3  # archives of each kind; somebody may still be unpacking the one before
VERSION_LENGTH = 12  # hexadecimal digits of a SHA-256; enough that two versions on one host differ


def digest_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Return one digest of names and contents, whatever order they come in."""
    whole = hashlib.sha256()
    for name, content in sorted(files):
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:VERSION_LENGTH]


def sources_of(project: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files that the project's wheel is made of: path below the project, content."""
    for name in SOURCES:
        place = project / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(project)), path.read_bytes()


def archive_for(what: str, target: Target, project: Path, cache: Path) -> dict[str, str]:
    """Make an archive unless it is there; return its version, its path and its SHA-256.

    Args:
        what: a key of LISTS; `mesh` has the project itself in it.
        target: the Python of the host.
        project: the checkout to build from.
        cache: where wheels and archives are kept.

    Raises:
        LabError: a wheel can neither be found nor fetched, or the project cannot be built.
    """
    wanted = (project / "requirements" / LISTS[what]).read_bytes()
    sources = dict(sources_of(project)) if what == "mesh" else {}  # read once: whoever edits meanwhile comes next
    told = [("list", wanted), ("target", f"{target.folder} {target.glibc}".encode())]
    version = digest_of([*sources.items(), *told])
    archive = cache / f"{what}-{version}.tar.gz"
    with _locked(cache):
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                pins = wheels.pins(wanted.decode(), target)
                trees = [_others(target, pins, cache / f"tree-{digest_of(told)}", cache)]
                if sources:
                    trees.append(_own(target, sources, Path(scratch)))
                _pack(archive, trees)
            _forget_old(what, cache)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return {"version": version, "archive": str(archive), "sha256": sha256}


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _others(target: Target, pins: Sequence[Pin], tree: Path, cache: Path) -> Path:
    """Return the tree of everything that is not ours; it is the same from version to version."""
    if not tree.is_dir():
        folder = cache / target.folder
        _, absent = wheels.chosen(pins, wheels.hashes_of(folder))
        if absent:
            wheels.fetch(absent, target, folder)
        staged = tree.with_suffix(".new")
        shutil.rmtree(staged, ignore_errors=True)
        _laid_out(staged, "\n".join(str(pin) for pin in pins), folder, target).rename(tree)
    return tree


def _own(target: Target, sources: Mapping[str, bytes], scratch: Path) -> Path:
    """Return the tree of the project itself, built from a copy: a build folder of before has no say in it."""
    name, content = wheels.build_project(sources, scratch / "build")
    (scratch / name).write_bytes(content)
    line = f"{scratch / name} --hash=sha256:{hashlib.sha256(content).hexdigest()}"
    return _laid_out(scratch / "own", line, scratch, target)


def _laid_out(tree: Path, wanted: str, folder: Path, target: Target) -> Path:
    """Unpack the wheels of a list as a site-packages folder, each checked against its hash; return the tree."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write(wanted + "\n")
        listed.flush()
        options = ["--no-index", "--require-hashes", "--no-compile", "--only-binary=:all:", *target.pip_options]
        argv = ["install", *options, "--find-links", str(folder), "-r", listed.name, "--target", str(tree)]
        _run("unpacking wheels", ["-m", "pip", "--quiet", "--disable-pip-version-check", *argv])
    shutil.rmtree(tree / "bin", ignore_errors=True)  # scripts that name the interpreter of this machine
    if target.short_python == HERE:
        # By hash and unchecked: what is compiled is valid wherever, and whenever, it is unpacked.
        options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(tree)]
        _run("compiling", ["-m", "compileall", *options, str(tree)])
    return tree


def _pack(archive: Path, trees: list[Path]) -> None:
    """Write the archive whole or not at all."""
    staged = archive.with_suffix(".new")
    # Level 1: a tenth larger than level 6, in a fifth of the time.
    with gzip.GzipFile(staged, "wb", compresslevel=1, mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for tree in trees:
            for path in sorted(tree.rglob("*")):
                tar.add(path, str(path.relative_to(tree)), recursive=False, filter=_plain)
    staged.replace(archive)


def _forget_old(what: str, cache: Path) -> None:
    """Remove all but the newest archives: each edit of the project makes one more, of forty megabytes."""
    for old in sorted(cache.glob(f"{what}-*.tar.gz"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        old.unlink()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take out of a member who packed it and when: the same wheels are the same archive."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = EPOCH
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def _run(what: str, argv: list[str]) -> None:
    command = [sys.executable, *argv]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise LabError(f"{what}: took longer than {BUILD_TIMEOUT_S:g} s", exit_code=124) from None
    if done.returncode:
        raise LabError(f"{what}: {telling_line(done.stderr)}")


def main() -> int:
    """Print `{"version", "archive", "sha256"}` of an archive."""
    parser = argparse.ArgumentParser(prog="python -m lab.payload", description="The packages of a host in one archive.")
    parser.add_argument("what", choices=sorted(LISTS), help="what is packed")
    parser.add_argument("--python", default=HERE, help="the host's Python, such as 3.11")
    parser.add_argument("--machine", default=os.uname().machine, help="the host's machine, such as x86_64 or aarch64")
    parser.add_argument("--project", type=Path, default=checkout(), help="the checkout to build from")
    parser.add_argument("--cache", type=Path, default=checkout() / ".lab" / "cache" / "wheels")
    given = parser.parse_args()
    target = Target(given.python, given.machine, GLIBC)
    try:
        made = archive_for(given.what, target, given.project.resolve(), given.cache.resolve())
    except (LabError, OSError) as error:
        sys.stderr.write(f"lab.payload: {error}\n")
        return 1
    sys.stdout.write(json.dumps(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
