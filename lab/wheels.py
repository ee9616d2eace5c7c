"""What a host is given to install: one archive of wheels for its Python, made once and kept in `.lab/cache/wheels`.

A host needs no network: the archive holds every wheel and the list that says their hashes. `python -m lab.wheels`
prints where it is and under which version it is to be laid beside the others on a host.
"""

from __future__ import annotations

import argparse
import fcntl
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

LISTS = ("runtime.txt", "demo-services.txt")  # below requirements/: what the mesh needs, what the applications need
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "mesh", "lab")  # what the project's own wheel is made of
# glibc of Debian 12 and of Ubuntu 22.04 and newer is above all of these.
MANYLINUX = ("manylinux_2_34", "manylinux_2_31", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux1")
DOWNLOAD_TIMEOUT_S = 600.0
BUILD_TIMEOUT_S = 120.0
EPOCH = "315532800"  # 1980-01-01, the oldest time that a zip file can tell: the same sources are the same wheel
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


def archive_for(target: Target, project: Path, cache: Path) -> dict[str, str]:
    """Make the archive of a target unless it is there; return its version, its path and its SHA-256.

    Raises:
        LabError: a wheel can neither be found nor fetched, or the project cannot be built.
    """
    lists = {name: (project / "requirements" / name).read_bytes() for name in LISTS}
    sources = list(sources_of(project))  # read once: whoever edits meanwhile is in the next version
    inside = [*sources, *lists.items(), ("target", f"{target.python} {target.machine}".encode())]
    version = digest_of(inside)
    archive = cache / f"meshyard-{version}.tar"
    with _locked(cache):
        if not archive.exists():
            wheels = _fetched(target, project, cache)
            own = _built(sources, cache / "own" / digest_of(sources))
            _pack(archive, [*wheels, own], lists, own)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    return {"version": version, "archive": str(archive), "sha256": sha256}


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetched(target: Target, project: Path, cache: Path) -> list[Path]:
    """Return the wheels of both lists, fetched unless all of them were fetched before."""
    requirements = [project / "requirements" / name for name in LISTS]
    wanted = digest_of((path.name, path.read_bytes()) for path in requirements)
    folder = cache / f"{target.python}-{target.machine}-{wanted}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            for path in requirements:
                argv = ["download", "--no-deps", "--require-hashes", *target.pip_options, "-r", str(path)]
                _pip(f"fetching the wheels of {path.name}", [*argv, "-d", scratch], timeout_s=DOWNLOAD_TIMEOUT_S)
            staged = folder.with_suffix(".new")
            shutil.rmtree(staged, ignore_errors=True)
            shutil.copytree(scratch, staged)
            staged.rename(folder)
    return sorted(folder.glob("*.whl"))


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


def _pack(archive: Path, wheels: list[Path], lists: dict[str, bytes], own: Path) -> None:
    """Write the archive whole or not at all: wheels/, mesh.txt (runtime and project), demo-services.txt."""
    own_line = f"meshyard=={own.name.split('-')[1]} --hash=sha256:{hashlib.sha256(own.read_bytes()).hexdigest()}\n"
    texts = {"mesh.txt": lists["runtime.txt"] + own_line.encode(), "demo-services.txt": lists["demo-services.txt"]}
    staged = archive.with_suffix(".new")
    with tempfile.TemporaryDirectory() as scratch, tarfile.open(staged, "w") as tar:
        for name, text in texts.items():
            Path(scratch, name).write_bytes(text)
            tar.add(Path(scratch, name), name, filter=_plain)
        for wheel in wheels:
            tar.add(wheel, f"wheels/{wheel.name}", filter=_plain)
    staged.replace(archive)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take out of a member who packed it and when: the same wheels are the same archive."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = int(EPOCH)
    member.mode = 0o644
    return member


def _pip(what: str, argv: list[str], *, timeout_s: float) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *argv]
    env = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=env)
    except subprocess.TimeoutExpired:
        raise LabError(f"{what}: pip took longer than {timeout_s:g} s", exit_code=124) from None
    if done.returncode:
        said = next(
            (line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), done.stderr[-500:]
        )
        raise LabError(f"{what}: {said.strip()}; without a network, copy .lab/cache/wheels from a machine that has one")


def main() -> int:
    """Print `{"version", "archive", "sha256"}` of the archive for a Python."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser = argparse.ArgumentParser(prog="python -m lab.wheels", description="One archive of wheels for a host.")
    parser.add_argument("--python", default=here, help="the host's Python, such as 3.11")
    parser.add_argument("--machine", default=os.uname().machine, help="the host's machine, such as x86_64 or aarch64")
    parser.add_argument("--project", type=Path, default=checkout(), help="the checkout to build from")
    parser.add_argument("--cache", type=Path, default=checkout() / ".lab" / "cache" / "wheels")
    given = parser.parse_args()
    try:
        made = archive_for(Target(given.python, given.machine), given.project.resolve(), given.cache.resolve())
    except (LabError, OSError) as error:
        sys.stderr.write(f"lab.wheels: {error}\n")
        return 1
    sys.stdout.write(json.dumps(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
