"""What lies on a host before it starts, and the archive that carries it."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path

from lab.compose import furnish
from lab.driver import checkout
from lab.provision import HostFile
from lab.topology import HostSpec, Role, load

TOPOLOGY = load(checkout() / "lab" / "topology.yaml")
ORDER, PLANE = TOPOLOGY.hosts["order-1"], TOPOLOGY.hosts["cp-1"]
SERVICE = {"app.py": "print()\n", "service.hcl": "service {}\n"}


def test_names_that_are_not_of_the_mesh_go_on_to_dockers_resolver() -> None:
    agent = json.loads(furnish.files_for(TOPOLOGY, ORDER, SERVICE, None)["/etc/mesh/agent.json"].content)
    assert agent["resolver_address"] == "127.0.0.11"
    assert agent["dns"] == {"address": "127.0.0.1", "port": 15053, "forward_to": ["127.0.0.11"]}


def test_the_agents_settings_are_some_that_an_agent_takes(tmp_path: Path) -> None:
    from mesh.agent.settings import read_settings

    path = tmp_path / "agent.json"
    path.write_text(furnish.files_for(TOPOLOGY, ORDER, SERVICE, None)["/etc/mesh/agent.json"].content)
    assert str(read_settings(path).resolver_address) == "127.0.0.11"


def test_a_host_gets_what_is_its_own_and_the_image_has_the_rest() -> None:
    assert set(furnish.files_for(TOPOLOGY, ORDER, SERVICE, None)) == {"/etc/mesh/agent.json", "/etc/mesh/service.hcl"}
    assert set(furnish.files_for(TOPOLOGY, PLANE, {}, None)) == {"/etc/mesh/control-plane.json"}
    assert furnish.files_for(TOPOLOGY, TOPOLOGY.hosts["stranger-1"], {}, None) == {}


def test_a_service_from_elsewhere_comes_with_its_files() -> None:
    host = HostSpec("stock-1", "east", "10.77.1.100", Role.SERVICE, "stock", "/home/me/stock")
    files = furnish.files_for(TOPOLOGY.with_host(host), host, SERVICE, None)
    assert files["/srv/demo-services/brought/app.py"].content == SERVICE["app.py"]


def test_the_operators_socket_is_opened_for_the_group_of_an_ordinary_user_only() -> None:
    def group(gid: int | None) -> object:
        return json.loads(furnish.files_for(TOPOLOGY, PLANE, {}, gid)["/etc/mesh/control-plane.json"].content).get(
            "socket_group"
        )

    assert group(1000) == 1000
    assert group(None) is None


def test_an_archive_unpacks_to_whole_files_with_their_owners(tmp_path: Path) -> None:
    files = {
        "/etc/mesh/roots.pem": HostFile("roots"),
        "/etc/mesh/join-token": HostFile("secret", uid=1336, mode=0o600),
    }
    packed = furnish.archive_of(files, "/etc/mesh")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        entries = archive.getmembers()
        # As Docker unpacks: what is there by the name goes first, a link is one step.
        for entry in entries:
            target = tmp_path / entry.name
            target.unlink(missing_ok=True)
            if entry.islnk():
                target.hardlink_to(tmp_path / entry.linkname)
                assert target.read_text() == files[f"/etc/mesh/{entry.name}"].content, "whole from its first moment"
            else:
                stream = archive.extractfile(entry)
                assert stream is not None
                target.write_bytes(stream.read())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "roots.pem": "roots",
        "join-token": "secret",
        ".staged": "",
    }, "and the token is nowhere else"
    written = [entry for entry in entries if not entry.islnk()]
    assert [(entry.uid, entry.gid, entry.mode) for entry in written] == [
        (0, 0, 0o644),
        (1336, 1336, 0o600),
        (0, 0, 0o644),
    ]


def test_files_reach_the_folder_of_their_volume_in_the_given_order() -> None:
    @dataclasses.dataclass
    class Api:
        seen: list[tuple[str, str]]

        def put_archive(self, container: str, folder: str, data: bytes) -> None:
            self.seen.append((container, folder))

    api = Api([])
    engine = type("Engine", (), {"client": type("Client", (), {"api": api})})
    furnish.lay(engine, "c", {"/etc/mesh/a": HostFile(""), "/srv/x/b": HostFile(""), "/etc/mesh/c": HostFile("")})  # type: ignore[arg-type]
    assert api.seen == [("c", "/etc/mesh"), ("c", "/srv/x")]
