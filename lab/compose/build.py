"""One image from its context: `docker build` with the context on its standard input, or Debian packages alone."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from lab import wheels
from lab.compose.engine import Engine, version_in
from lab.compose.recipes import SUITE
from lab.driver import LabError
from lab.telling import telling_line

BUILD_TIMEOUT_S = 1200.0
BUILDKIT_FROM = (23,)  # the first `docker` that builds with it unasked
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"
# What an image of packages leaves out; the other way deletes the same.
UNREAD = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
OS_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REGISTRY_TROUBLE = (
    "dial tcp",
    "lookup ",
    "connection refused",
    "i/o timeout",
    "no such host",
    "proxyconnect",
    "x509:",
    "TLS handshake",
    "network is unreachable",
    "Client.Timeout",
    "context deadline exceeded",
    "EOF",
)


def docker_build(
    engine: Engine,
    tag: str,
    context: Mapping[str, bytes | Path],
    log: Path,
    *,
    arguments: Mapping[str, str],
    network: str = "none",
) -> None:
    """Build one image.

    Args:
        engine: who builds.
        tag: its name.
        context: path in the context -> content, or the file that has it.
        log: where the builder's words go.
        arguments: build arguments; those with an empty value are left out.
        network: "none" for what needs none, so that a build which secretly fetches something fails.

    Raises:
        LabError: the build failed; the text is the builder's last line and where the rest lies.
    """
    argv = ["docker", "build", "--network", network, "--tag", tag]
    argv += [part for key, value in arguments.items() if value for part in ("--build-arg", f"{key}={value}")]
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as packed, log.open("wb") as said:
        pack(context, packed)
        packed.seek(0)
        try:
            done = subprocess.run(
                [*argv, "-"],
                stdin=packed,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=engine.environment,
                timeout=BUILD_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(
                f"building {tag} took more than {BUILD_TIMEOUT_S:.0f} s; see {log}", exit_code=124
            ) from error
    if done.returncode:
        raise LabError(f"building {tag} failed: {telling_line(log.read_text(errors='replace'))}\n  all of it: {log}")


def pack(context: Mapping[str, bytes | Path], file: IO[bytes]) -> None:
    """Write a build context; the same content gives the same bytes, whoever owns the files here."""
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path in sorted(context):
            content = context[path]
            entry = tarfile.TarInfo(path)
            entry.mode = 0o644
            if isinstance(content, Path):
                entry.size = content.stat().st_size
                with content.open("rb") as opened:
                    archive.addfile(entry, opened)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables for a build. Docker knows these names and keeps them out of the image. Pure."""
    return {name: environment[name] for lower in PROXIES for name in (lower, lower.upper()) if environment.get(name)}


def pull(engine: Engine, image: str) -> None:
    """Fetch the base image, unless it is there.

    Raises:
        RegistryUnreachable: nobody answers for it.
        LabError: it was refused, or there is no such image.
    """
    try:
        engine.docker("image", "inspect", "--format", "{{.Id}}", image)
    except LabError:
        try:
            engine.docker("pull", "--quiet", image, timeout_s=BUILD_TIMEOUT_S)
        except LabError as error:
            if any(sign in str(error) for sign in REGISTRY_TROUBLE):
                raise RegistryUnreachable(f"no registry answers for {image}: {error}") from error
            raise


class RegistryUnreachable(LabError):
    """The registry of an image is not reachable from here; there is another way to make it."""


def debootstrap_trouble(machine: str, engine: Engine) -> str:
    """Say why Debian packages cannot be made an image here, with what mends it; empty when they can."""
    if not shutil.which("mmdebstrap"):
        return "mmdebstrap is not installed; install it: apt-get install mmdebstrap"
    native = engine.docker("info", "--format", "{{.Architecture}}").strip()
    if native != machine:
        return f"this machine is {machine} and the Docker Engine runs {native}; use BASE_IMAGE= or a bundle"
    return ""


def debootstrap(
    engine: Engine, tag: str, packages: Sequence[str], log: Path, *, ca_bundle: str, mirror: str = ""
) -> None:
    """Build the operating system from Debian packages alone, as apt on this machine verifies them.

    Args:
        engine: who keeps the image.
        tag: its name.
        packages: what is in it beside what Debian calls essential.
        log: where mmdebstrap's words go.
        ca_bundle: a file with certificates for mirrors behind TLS; it stays outside of the image.
        mirror: another mirror than Debian's own.

    Raises:
        LabError: this machine cannot do that, or it failed.
    """
    trouble = debootstrap_trouble(platform.machine(), engine)
    if trouble:
        raise LabError(f"the image of Debian packages cannot be made here: {trouble}")
    # Without it Debian's essential set draws in `usrmerge`, and that all of Perl (45 MB).
    argv = ["mmdebstrap", "--variant=essential", f"--hook-dir={MERGED_USR}", "--include=usr-is-merged"]
    argv += [f"--include={','.join(packages)}", *(f"--dpkgopt=path-exclude={path}" for path in UNREAD)]
    argv += [f'--aptopt=Acquire::https::CAInfo "{ca_bundle}"'] if ca_bundle else []
    argv += [SUITE, "-", *([mirror] if mirror else [])]
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="meshyard-os-") as work:
        packed = Path(work) / "os.tar"
        with packed.open("wb") as out, log.open("wb") as said:
            try:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=said, timeout=BUILD_TIMEOUT_S, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise LabError(
                    f"mmdebstrap took more than {BUILD_TIMEOUT_S:.0f} s; see {log}", exit_code=124
                ) from error
        if done.returncode:
            raise LabError(f"mmdebstrap failed: {telling_line(log.read_text(errors='replace'))}\n  all of it: {log}")
        engine.docker(
            "import", "--change", f"ENV {OS_PATH}", "--change", "ENV LANG=C.UTF-8", str(packed), tag, timeout_s=300
        )


def is_buildkit(engine: Engine) -> bool:
    """Say whether `docker build` is done by BuildKit here, which keeps steps where no label finds them."""
    said = engine.environment.get("DOCKER_BUILDKIT", "")
    if said:
        return said not in ("0", "false")
    with contextlib.suppress(LabError):
        if version_in(engine.docker("version", "--format", "{{.Client.Version}}")) >= BUILDKIT_FROM:
            engine.docker("buildx", "version")  # without this plugin it is the classic builder again
            return True
    return False


def python_of(engine: Engine, tag: str) -> wheels.Target:
    """Ask the Python of an image who it is.

    Raises:
        LabError: it has none, or one that is too old.
    """
    answer = engine.docker("run", "--rm", "--network", "none", tag, "python3", "-c", wheels.ASK)
    target = wheels.target_of(json.loads(answer))
    if tuple(int(part) for part in target.short_python.split(".")) < (3, 11):
        raise LabError(
            f"the base image has Python {target.python}, 3.11 is needed; take Debian 12, Ubuntu 24.04 or newer"
        )
    return target


def environment_proxies() -> dict[str, str]:
    """Return the proxy variables of this shell."""
    return proxies(os.environ)
