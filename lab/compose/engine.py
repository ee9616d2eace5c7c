"""A Docker Engine and its Compose plugin, found and asked; says whose fault it is when one of them does not answer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.driver import LabError
from lab.telling import last_line

# Asked of the engine: the API of Docker 20.10 (Debian 12) is the oldest that was tried; it also has every call we make.
MIN_API = (1, 41)
# Asked of the plugin: `up --wait` fails over a one-shot service that ended well before 2.20 (docker/compose#10596).
MIN_COMPOSE = (2, 20)
ASK_TIMEOUT_S = 20.0
EXIT_PREFLIGHT = 5
INSTALL = "apt-get install docker.io (Debian, Ubuntu), or https://docs.docker.com/engine/install/"
INSTALL_COMPOSE = (
    "apt-get install docker-compose-v2 (Ubuntu) or docker-compose (Debian 13), "
    "or https://docs.docker.com/compose/install/linux/"
)

Say = Callable[[str], None]
Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answered.

    Args:
        client: the SDK's client.
        host: its address, as DOCKER_HOST would say it.
        version: its own version, for people.
        architecture: what it runs, in Go's words, which are Debian's for the two of the lab.
        compose_version: the plugin's version; empty when nobody asked for it.
    """

    client: Any = field(repr=False, compare=False)
    host: str
    version: str
    architecture: str
    compose_version: Version = ()

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which `docker` reaches this very engine."""
        return {**os.environ, "DOCKER_HOST": self.host}

    def docker(self, *argv: str, timeout_s: float = 60.0, cwd: Path | None = None) -> str:
        """Run `docker ARGV` and return what it printed.

        Raises:
            LabError: it failed; the text is its own last line.
        """
        try:
            done = subprocess.run(
                ["docker", *argv],
                env=self.environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"docker {argv[0]} gave no answer for {timeout_s:.0f} s", exit_code=124) from error
        if done.returncode:
            raise LabError(f"docker {argv[0]} failed: {last_line(done.stderr or done.stdout)}")
        return done.stdout

    def tags(self, reference: str) -> set[str]:
        """Return the tags of the images whose name matches, as `docker images REFERENCE` would."""
        found = self.client.api.images(filters={"reference": reference})
        return {tag for image in found for tag in image.get("RepoTags") or ()}


def connect(*, needs_compose: bool = False, environment: Mapping[str, str] = os.environ) -> Engine:
    """Find the engine that `docker` would use, and ask who it is.

    Raises:
        LabError: there is none, it may not be used, or it is too old; the text says what mends it.
    """
    if not shutil.which("docker"):
        raise LabError(f"there is no docker command; install it: {INSTALL}", exit_code=EXIT_PREFLIGHT)
    compose = compose_version_here() if needs_compose else ()
    host = address(environment)
    import docker  # the SDK takes 0.2 s to load; who only asks for help does not wait for it
    from docker.errors import DockerException

    try:
        client = docker.DockerClient(
            base_url=host, version="auto", timeout=int(ASK_TIMEOUT_S * 30), **_tls(environment)
        )
        answer = client.version()
    except DockerException as error:
        raise LabError(refused(host, str(error)), exit_code=EXIT_PREFLIGHT) from error
    require_api(host, answer.get("Version", "?"), answer.get("ApiVersion", "0"))
    return Engine(client, host, answer.get("Version", "?"), answer.get("Arch", ""), compose)


def address(environment: Mapping[str, str]) -> str:
    """Return the engine's address: DOCKER_HOST, else what the chosen `docker context` says."""
    if environment.get("DOCKER_HOST"):
        return environment["DOCKER_HOST"]
    shown = _ask(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
    return shown or "unix:///var/run/docker.sock"


def compose_version_here() -> Version:
    """Return the version of the Compose plugin.

    Raises:
        LabError: there is none, or it is too old.
    """
    version = version_in(_ask(["docker", "compose", "version", "--short"]))
    if not version:
        text = f"docker has no compose plugin; install it: {INSTALL_COMPOSE}"
        raise LabError(text, exit_code=EXIT_PREFLIGHT)
    if version < MIN_COMPOSE:
        text = f"docker compose is {dotted(version)}, {dotted(MIN_COMPOSE)} is needed; install it: {INSTALL_COMPOSE}"
        raise LabError(text, exit_code=EXIT_PREFLIGHT)
    return version


def require_api(host: str, version: str, api: str) -> None:
    """Refuse an engine that is too old. Pure.

    Raises:
        LabError: it is.
    """
    if version_in(api) < MIN_API:
        text = f"the Docker Engine at {host} is {version} (API {api}), API {dotted(MIN_API)} is needed (Docker 20.10)"
        raise LabError(f"{text}; install a newer one: {INSTALL}", exit_code=EXIT_PREFLIGHT)


def refused(host: str, reason: str) -> str:
    """Return what is said when the engine does not answer: the reason in one line, and what mends it. Pure."""
    if "PermissionError" in reason or "Permission denied" in reason:
        mend = "let this user use it: sudo usermod -aG docker $USER, then log in again (who may use it is root)"
        return f"no permission to use the Docker Engine at {host}; {mend}"
    if "FileNotFoundError" in reason or "ConnectionRefusedError" in reason or "Connection refused" in reason:
        return f"no Docker Engine answers at {host}; start it: sudo systemctl start docker (or set DOCKER_HOST)"
    return f"the Docker Engine at {host} does not answer: {last_line(reason)}"


def version_in(text: str) -> Version:
    """Return the first version in a text, `v2.26.1-ds1` -> (2, 26, 1); empty when there is none. Pure."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def dotted(version: Version) -> str:
    """Return a version as people write it."""
    return ".".join(str(part) for part in version)


def _ask(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=ASK_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _tls(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the SDK's TLS arguments for DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, as `docker` reads them."""
    if not environment.get("DOCKER_TLS_VERIFY"):
        return {}
    from docker.tls import TLSConfig

    folder = Path(environment.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    pair = (str(folder / "cert.pem"), str(folder / "key.pem"))
    return {"tls": TLSConfig(client_cert=pair, ca_cert=str(folder / "ca.pem"), verify=True)}
