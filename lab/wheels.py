"""What a host is given to run: its packages in one archive, made once and kept in `.lab/cache/wheels`.

A host needs neither a network nor pip nor minutes of a slow processor: wheels for its Python are fetched here, checked
against the hashes of requirements/, laid out as they lie in a virtual environment, and compiled when this Python is of
the host's minor version. `python -m lab.wheels` prints where the archive is and under which version it is to be laid
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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.driver import LabError, checkout

LISTS = {"mesh": "runtime.txt", "demo-services": "demo-services.txt"}  # what is packed -> its list in requirements/
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "mesh", "lab")  # what the project's own wheel is made of
# glibc of Debian 12 and of Ubuntu 22.04 and newer is above all of these.
MANYLINUX = ("manylinux_2_34", "manylinux_2_31", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux1")
DOWNLOAD_TIMEOUT_S = 600.0
BUILD_TIMEOUT_S = 120.0
EPOCH = "315532800"  # 1980-01-01, the oldest time that a zip file can tell: the same sources are the same wheel
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSION_LENGTH = 12  # hexadecimal digits of a SHA-256; enough that two versions on one host differ


@dataclass(frozen=True, slots=True)
class Target:
    """The Python of a host: its minor version (`3.11`) and its machine (`x86_64`, `aarch64`)."""

    python: str
    machine: str

    @property
    def pip_options(self) -> tuple[str, ...]:
        """Return what makes pip choose wheels for this Python, and not for the one that it runs on."""
        tag = "cp" + self.python.replace(".", "")
        platforms = [f"{name}_{self.machine}" for name in MANYLINUX] + ["any"]
        return (
            "--only-binary=:all:",
            *("--python-version", self.python, "--implementation", "cp"),
            *(part for abi in (tag, "abi3", "none") for part in ("--abi", abi)),
            *(part for platform in platforms for part in ("--platform", platform)),
        )


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
    sources = list(sources_of(project)) if what == "mesh" else []  # read once: whoever edits meanwhile comes next
    version = digest_of([*sources, ("list", wanted), ("target", f"{target.python} {target.machine}".encode())])
    archive = cache / f"{what}-{version}.tar.gz"
    with _locked(cache):
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                trees = [_others(target, wanted, cache)]
                if sources:
                    own = _built(sources, cache / "own" / digest_of(sources))
                    line = f"{own} --hash=sha256:{hashlib.sha256(own.read_bytes()).hexdigest()}\n"
                    trees.append(_laid_out(Path(scratch, "own"), line.encode(), own.parent, target))
                _pack(archive, trees)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return {"version": version, "archive": str(archive), "sha256": sha256}


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetched(target: Target, wanted: bytes, cache: Path) -> Path:
    """Return the folder with the wheels of a list, fetched and checked unless that was done before."""
    folder = cache / f"{target.python}-{target.machine}-{digest_of([('list', wanted)])}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            listed = Path(scratch, "list.txt")
            listed.write_bytes(wanted)
            staged = folder.with_suffix(".new")
            shutil.rmtree(staged, ignore_errors=True)
            argv = ["download", "--no-deps", "--require-hashes", *target.pip_options, "-r", str(listed)]
            _pip("fetching wheels", [*argv, "-d", str(staged)], timeout_s=DOWNLOAD_TIMEOUT_S)
            staged.rename(folder)
    return folder


def _built(sources: list[tuple[str, bytes]], folder: Path) -> Path:
    """Return the project's own wheel, built from a copy: a build folder of before has no say in it."""
    if not list(folder.glob("*.whl")):
        with tempfile.TemporaryDirectory() as scratch:
            for name, content in sources:
                path = Path(scratch, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            argv = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), scratch]
            _pip("building the project's wheel", argv, timeout_s=BUILD_TIMEOUT_S)
    return next(iter(folder.glob("*.whl")))


def _others(target: Target, wanted: bytes, cache: Path) -> Path:
    """Return the tree of everything that is not ours; it is the same from version to version."""
    tree = cache / f"tree-{target.python}-{target.machine}-{digest_of([('list', wanted)])}"
    if not tree.is_dir():
        staged = tree.with_suffix(".new")
        shutil.rmtree(staged, ignore_errors=True)
        _laid_out(staged, wanted, _fetched(target, wanted, cache), target).rename(tree)
    return tree


def _laid_out(tree: Path, wanted: bytes, wheels: Path, target: Target) -> Path:
    """Unpack the wheels of a list as a site-packages folder, each checked against its hash; return the folder."""
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch, "list.txt")
        listed.write_bytes(wanted)
        options = ["--no-deps", "--no-index", "--require-hashes", "--no-compile", *target.pip_options]
        argv = ["install", *options, "--find-links", str(wheels), "-r", str(listed), "--target", str(tree)]
        _pip("unpacking wheels", argv, timeout_s=BUILD_TIMEOUT_S)
    shutil.rmtree(tree / "bin", ignore_errors=True)  # scripts that name the interpreter of this machine
    if target.python == HERE:
        # By hash and unchecked: what is compiled is valid wherever, and whenever, it is unpacked.
        options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(tree)]
        _run("compiling", ["-m", "compileall", *options, str(tree)], timeout_s=BUILD_TIMEOUT_S)
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


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take out of a member who packed it and when: the same wheels are the same archive."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = int(EPOCH)
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def _pip(what: str, argv: list[str], *, timeout_s: float) -> None:
    _run(what, ["-m", "pip", "--quiet", "--disable-pip-version-check", *argv], timeout_s=timeout_s)


def _run(what: str, argv: list[str], *, timeout_s: float) -> None:
    env = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    command = [sys.executable, *argv]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=env)
    except subprocess.TimeoutExpired:
        raise LabError(f"{what}: took longer than {timeout_s:g} s", exit_code=124) from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = (errors or [done.stderr.strip()[-500:]])[-1]
        raise LabError(f"{what}: {said}; without a network, copy .lab/cache/wheels from a machine that has one")


def main() -> int:
    """Print `{"version", "archive", "sha256"}` of an archive."""
    parser = argparse.ArgumentParser(prog="python -m lab.wheels", description="The packages of a host in one archive.")
    parser.add_argument("what", choices=sorted(LISTS), help="what is packed")
    parser.add_argument("--python", default=HERE, help="the host's Python, such as 3.11")
    parser.add_argument("--machine", default=os.uname().machine, help="the host's machine, such as x86_64 or aarch64")
    parser.add_argument("--project", type=Path, default=checkout(), help="the checkout to build from")
    parser.add_argument("--cache", type=Path, default=checkout() / ".lab" / "cache" / "wheels")
    given = parser.parse_args()
    target = Target(given.python, given.machine)
    try:
        made = archive_for(given.what, target, given.project.resolve(), given.cache.resolve())
    except (LabError, OSError) as error:
        sys.stderr.write(f"lab.wheels: {error}\n")
        return 1
    sys.stdout.write(json.dumps(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
