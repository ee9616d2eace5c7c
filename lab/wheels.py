"""Python packages for elsewhere: which wheels a locked list asks for there, and a folder that keeps them.

The Python of an image or of a virtual machine is not this machine's: its version, its machine and its C library decide
which lines of the list hold and which wheels fit. Everything is checked against its hash twice, here and when it is
installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab.driver import LabError
from lab.telling import telling_line

OLDEST_GLIBC_MINOR = 17  # manylinux2014; nothing that is published today asks for an older one by name
TRUST = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")  # in the order in which pip's own library asks for them
DOWNLOAD_TIMEOUT_S = 900.0
# Run by the image's Python to say who it is.
ASK = (
    "import json, platform, sys; print(json.dumps({'python': platform.python_version(), "
    "'machine': platform.machine(), 'glibc': platform.libc_ver()[1]}))"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A Python somewhere else: its full version, its machine as the kernel names it, its C library's version."""

    python: str
    machine: str
    glibc: str

    @property
    def short_python(self) -> str:
        """Return the version without its last part: 3.11."""
        return ".".join(self.python.split(".")[:2])

    @property
    def pip_options(self) -> list[str]:
        """Return what makes pip choose wheels for this Python, and not for the one that it runs on."""
        fitting = [part for tag in platforms(self) for part in ("--platform", tag)]
        return [*fitting, "--implementation", "cp", "--python-version", self.short_python, "--no-deps"]

    @property
    def folder(self) -> str:
        """Return the name of the folder that keeps the wheels for it."""
        return f"linux-{self.machine}-python{self.short_python}"


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of a locked list that holds for a target."""

    name: str
    version: str
    hashes: frozenset[str]

    def __str__(self) -> str:
        lines = [f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in sorted(self.hashes))]
        return " \\\n    ".join(lines)


def target_of(answer: Mapping[str, Any]) -> Target:
    """Return the target that answered ASK.

    Raises:
        LabError: it is no Python of a Linux with glibc; wheels are published for those.
    """
    if not answer.get("glibc"):
        raise LabError(
            f"the Python of the base image ({answer.get('python')}) has no glibc; take a Debian or Ubuntu image"
        )
    return Target(answer["python"], answer["machine"], answer["glibc"])


def platforms(target: Target) -> list[str]:
    """Return the platform tags that fit, newest first (PEP 600). Pure."""
    newest = int(target.glibc.split(".")[1])
    tags = [f"manylinux_2_{minor}_{target.machine}" for minor in range(newest, OLDEST_GLIBC_MINOR - 1, -1)]
    return [*tags, f"manylinux2014_{target.machine}"]


def pins(locked: str, target: Target) -> list[Pin]:
    """Return the lines of a locked list that hold for a target. Pure.

    Raises:
        LabError: a line has no version or no hash.
    """
    environment = {
        "python_version": target.short_python,
        "python_full_version": target.python,
        "implementation_name": "cpython",
        "implementation_version": target.python,
        "platform_python_implementation": "CPython",
        "platform_machine": target.machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "extra": "",
    }
    found = []
    for line in locked.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        asked, *options = line.split(" --hash=sha256:")
        requirement = Requirement(asked.strip())
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        exact = [spec.version for spec in requirement.specifier if spec.operator == "=="]
        if len(exact) != 1 or not options:
            raise LabError(f"a locked list has the line {asked.strip()!r} without a version or a hash; run: make lock")
        found.append(
            Pin(canonicalize_name(requirement.name), exact[0], frozenset(digest.strip() for digest in options))
        )
    return found


def chosen(pins: Sequence[Pin], have: Mapping[str, str]) -> tuple[list[str], list[Pin]]:
    """Say which files are the wheels of a list, and which pins have none. Pure.

    Args:
        pins: what is asked for.
        have: file name -> SHA-256 of its content.
    """
    by_hash = {digest: name for name, digest in have.items() if name.endswith(".whl")}
    files = {pin: sorted(by_hash[digest] for digest in pin.hashes if digest in by_hash) for pin in pins}
    return [name for pin in pins for name in files[pin]], [pin for pin in pins if not files[pin]]


def hashes_of(folder: Path) -> dict[str, str]:
    """Return file name -> SHA-256 of the wheels in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.whl"))}


def fetch(pins: Sequence[Pin], target: Target, folder: Path, *, ca_bundle: str = "") -> None:
    """Download the wheels of a list for a target into a folder, with this user's own pip settings.

    Raises:
        LabError: one is not to be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / f".wanted-{os.getpid()}.txt"
    listed.write_text("\n".join(str(pin) for pin in pins) + "\n")
    try:
        pip_download(target.pip_options, listed, folder, ca_bundle=ca_bundle)
    finally:
        listed.unlink()


def pip_download(options: Sequence[str], listed: Path, folder: Path, *, ca_bundle: str = "") -> None:
    """Run `pip download` for a locked list; only wheels, only with the right hash.

    Raises:
        LabError: it failed; the text is pip's own.
    """
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    argv += ["--require-hashes", *options, "--dest", str(folder), "-r", str(listed)]
    try:
        with trusting(ca_bundle, os.environ) as environment:
            done = subprocess.run(
                argv, env=environment, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"fetching Python packages took more than {DOWNLOAD_TIMEOUT_S:.0f} s", exit_code=124) from error
    if done.returncode:
        mend = "with a TLS-inspecting proxy set CA_BUNDLE=; without a network use a bundle: OFFLINE=1 BUNDLE="
        raise LabError(f"fetching Python packages failed: {telling_line(done.stderr)}; {mend}")


@contextlib.contextmanager
def trusting(ca_bundle: str, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Give an environment in which pip trusts a file of certificates beside those that it trusts anyway.

    `--cert` would not do: REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE, where somebody set them, win over it.
    """
    if not ca_bundle:
        yield dict(environment)
        return
    from pip._vendor import certifi

    usual = next((environment[name] for name in TRUST if environment.get(name)), certifi.where())
    with tempfile.NamedTemporaryFile(suffix=".pem") as both:
        both.write(Path(usual).read_bytes() + b"\n" + Path(ca_bundle).read_bytes())
        both.flush()
        yield {**environment, **dict.fromkeys(TRUST, both.name)}


def build_project(project: Mapping[str, bytes], work: Path) -> tuple[str, bytes]:
    """Make the mesh's own wheel of its files; needs no network. The same files make the same bytes.

    Returns:
        Its file name, and its content.
    """
    source, out = work / "source", work / "out"
    for path, content in project.items():
        file = source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    out.mkdir(parents=True, exist_ok=True)
    made = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "315532800"}  # 1980: as early as a zip file can say
    done = subprocess.run(
        [sys.executable, "-c", made], cwd=source, env=environment, capture_output=True, text=True, check=False
    )
    wheels = sorted(out.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise LabError(f"making the wheel of the mesh failed: {telling_line(done.stderr)}; does `make lint` pass?")
    return wheels[0].name, wheels[0].read_bytes()
