"""What lies on a host before its first process starts, and how it gets there. Pure, but for `lay`."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable, Mapping

from lab.compose.engine import Engine
from lab.compose.render import BROUGHT_DIR, is_in_image
from lab.driver import LabError
from lab.provision import HostFile, files_of
from lab.topology import HostSpec, Role, Topology

RESOLVER = "127.0.0.11"  # Docker's own, in every container
AGENT, CONTROL_PLANE, ETC = "/etc/mesh/agent.json", "/etc/mesh/control-plane.json", "/etc/mesh"
STAGED = ".staged"


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
    """Return the files that lie directly in a folder, as a tar archive to be unpacked there.

    Whoever waits for one of them finds it whole: each is written under another name and then linked to its own, which
    unpacking does in one step. What stays of the other name is an empty file.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, file in files.items():
            _add(archive, file)
            link = tarfile.TarInfo(path.removeprefix(folder + "/"))
            link.type, link.linkname, link.mode, link.uid, link.gid = (
                tarfile.LNKTYPE,
                STAGED,
                file.mode,
                file.uid,
                file.uid,
            )
            archive.addfile(link)
        _add(archive, HostFile(""))
    return packed.getvalue()


def lay(engine: Engine, container: str, files: Mapping[str, HostFile]) -> None:
    """Lay files into the volumes of a host, in the given order.

    Args:
        engine: where the host is.
        container: the host's own container; it may run or not.
        files: by absolute path, each directly in the folder of a volume.

    Raises:
        LabError: the engine refused.
    """
    from docker.errors import APIError

    for folder in dict.fromkeys(path.rpartition("/")[0] for path in files):
        part = {path: file for path, file in files.items() if path.rpartition("/")[0] == folder}
        try:
            engine.client.api.put_archive(container, folder, archive_of(part, folder))
        except APIError as error:
            raise LabError(f"laying files into {folder} of {container}: {error.explanation or error}") from error


def _add(archive: tarfile.TarFile, file: HostFile) -> None:
    content = file.content.encode()
    entry = tarfile.TarInfo(STAGED)
    entry.size, entry.mode, entry.uid, entry.gid = len(content), file.mode, file.uid, file.uid
    archive.addfile(entry, io.BytesIO(content))


def _asks_docker(raw: dict[str, object]) -> dict[str, object]:
    """Names go to the agent, and what is not of the mesh goes on to Docker's resolver, as it did before."""
    dns = raw["dns"]
    assert isinstance(dns, dict)
    return {**raw, "resolver_address": RESOLVER, "dns": {**dns, "forward_to": [RESOLVER]}}


def _changed(file: HostFile, change: Callable[[dict[str, object]], dict[str, object]]) -> HostFile:
    return dataclasses.replace(file, content=json.dumps(change(json.loads(file.content)), indent=2) + "\n")
