"""What lies on a host before its first process starts, and how it gets there. Pure, but for `lay`."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable, Mapping

from lab.compose.engine import Engine
from lab.compose.place import Place
from lab.compose.render import BROUGHT_DIR, is_in_image
from lab.driver import LabError
from lab.provision import HostFile, files_of
from lab.topology import HostSpec, Role, Topology

RESOLVER = "127.0.0.11"  # Docker's own, in every container
AGENT, CONTROL_PLANE, ETC = "/etc/mesh/agent.json", "/etc/mesh/control-plane.json", "/etc/mesh"

# Writes onto a running host as its agent, to whom /etc/mesh belongs: each file whole or not at all, because somebody
# waits for it to be there.
WRITER = """
import json, os, sys
for path, one in json.load(sys.stdin).items():
    staged = path + ".new"
    with open(staged, "w") as handle:
        os.fchmod(handle.fileno(), one["mode"])
        handle.write(one["content"])
    os.replace(staged, path)
"""


def files_for(
    topology: Topology, host: HostSpec, service: Mapping[str, str], operators_gid: int | None
) -> dict[str, HostFile]:
    """Return the files that a host's volumes hold at its start; what else a host needs is in its image.

    Args:
        topology: the whole lab.
        host: whose.
        service: the files of its service, by name.
        operators_gid: the group that may open the operator's socket beside its owner; None for nobody.
    """
    every = files_of(topology, host, service.get("service.hcl", ""))
    files = {path: file for path, file in every.items() if path.startswith(ETC + "/")}
    if host.role is Role.SERVICE:
        files[AGENT] = _changed(files[AGENT], _asks_docker)
        if not is_in_image(host):
            files |= {f"{BROUGHT_DIR}/{name}": HostFile(text) for name, text in service.items()}
    if host.role is Role.CONTROL_PLANE and operators_gid is not None:
        files[CONTROL_PLANE] = _changed(files[CONTROL_PLANE], lambda raw: {**raw, "socket_group": operators_gid})
    return files


def archive_of(files: Mapping[str, HostFile], folder: str) -> bytes:
    """Return the files that lie directly in a folder, as a tar archive to be unpacked there."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, file in files.items():
            content = file.content.encode()
            entry = tarfile.TarInfo(path.removeprefix(folder + "/"))
            entry.size, entry.mode, entry.uid, entry.gid = len(content), file.mode, file.uid, file.uid
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def lay(engine: Engine, place: Place, host: str, files: Mapping[str, HostFile]) -> None:
    """Lay files into the volumes of a host whose units have not started yet.

    Raises:
        LabError: the engine refused.
    """
    from docker.errors import APIError

    for folder in dict.fromkeys(path.rpartition("/")[0] for path in files):
        part = {path: file for path, file in files.items() if path.rpartition("/")[0] == folder}
        try:
            engine.client.api.put_archive(place.container(host), folder, archive_of(part, folder))
        except APIError as error:
            raise LabError(f"laying files onto {host}: {error.explanation or error}") from error


def as_json(files: Mapping[str, HostFile]) -> str:
    """Return files as WRITER reads them."""
    return json.dumps({path: dataclasses.asdict(file) for path, file in files.items()})


def _asks_docker(raw: dict[str, object]) -> dict[str, object]:
    """Names go to the agent, and what is not of the mesh goes on to Docker's resolver, as it did before."""
    dns = raw["dns"]
    assert isinstance(dns, dict)
    return {**raw, "resolver_address": RESOLVER, "dns": {**dns, "forward_to": [RESOLVER]}}


def _changed(file: HostFile, change: Callable[[dict[str, object]], dict[str, object]]) -> HostFile:
    return dataclasses.replace(file, content=json.dumps(change(json.loads(file.content)), indent=2) + "\n")
