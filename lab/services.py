"""The folder of a service as a driver needs it: its Python, its service.hcl, its config entries. Reads folders only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.driver import LabError
from lab.topology import HostSpec

MAX_SERVICE_BYTES = 1024 * 1024
PLATFORM_FILE = "demo-services/mesh.hcl"


def is_foreign(host: HostSpec) -> bool:
    """Say whether a host's service lives outside the checkout."""
    return host.service_dir.startswith("/")


def service_files(folder: Path) -> dict[str, str]:
    """Return the files of a service's folder: its Python and its config, by name.

    Raises:
        LabError: the folder holds more than a service's own files would.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".py", ".hcl") and path.is_file())
    if sum(path.stat().st_size for path in paths) > MAX_SERVICE_BYTES:
        raise LabError(f"{folder} holds more than {MAX_SERVICE_BYTES // 1024} KiB of Python and HCL; is it a service?")
    return {path.name: path.read_text() for path in paths}


def platform_entry(checkout: Path) -> tuple[str, str]:
    """Return the platform team's config entries: the name to show, and the text."""
    return PLATFORM_FILE, (checkout / PLATFORM_FILE).read_text()


def config_entries(hosts: Iterable[HostSpec], files: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the files of config entries by the name to show, intentions first.

    Nobody calls before somebody said who may.

    Args:
        hosts: whose services.
        files: host -> the files of its service, as `service_files` gives them.
    """
    found = {f"{host.service_dir}/{name}": text for host in hosts for name, text in files[host.name].items()}
    entries = [name for name in found if name.endswith(".hcl") and not name.endswith("/service.hcl")]
    return {name: found[name] for name in sorted(entries, key=lambda name: not name.endswith("/intentions.hcl"))}
