"""The end of demo_service: one question for all hosts of a batch, and each of them told apart by the answer.

Ansible runs here for real, against two hosts that are this machine and a control plane that is a thread of the test.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.driver import checkout
from tests.ansible.kit import Play

pytestmark = pytest.mark.slow
TASKS = checkout() / "ansible" / "roles" / "demo_service" / "tasks" / "healthy.yml"
ASKED_AT_MOST = 3
NEVER = 1000
TIMEOUT_S = 120.0


@dataclass
class ControlPlane:
    """Tells of a host `a` that is healthy, and of a host `bee` that is from a certain question on."""

    bee_from: int
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> bytes:
        self.asked.append(path)
        bee = "passing" if len(self.asked) >= self.bee_from else "critical"
        told = [{"host": "a", "status": "passing"}, {"host": "bee", "status": bee}]
        return json.dumps({"instances": told}).encode()

    @contextlib.contextmanager
    def at(self, socket: Path) -> Iterator[None]:
        """Answer at a socket while the block runs."""
        with socketserver.ThreadingUnixStreamServer(str(socket), _handler(self)) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def _handler(control_plane: ControlPlane) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = control_plane.answer(self.path)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A line for each question, with the address of a caller that has none."""

    return Handler


def play(folder: Path, socket: Path) -> Play:
    """Run the tasks on the hosts `a` and `b`, which the mesh calls `bee`."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    knobs = {
        "demo_service_control_plane_socket": str(socket),
        "demo_service_control_plane_host": "cp",
        "demo_service_patience_s": ASKED_AT_MOST,
        "demo_service_ask_every_s": 1,
    }
    hosts = {"a": here, "b": {**here, "mesh_host": "bee"}}
    inventory = {"all": {"hosts": {"cp": here}, "children": {"service": {"hosts": hosts}}}}
    tasks = [{"ansible.builtin.import_tasks": str(TASKS)}]
    playbook = [{"hosts": "service", "gather_facts": False, "vars": knobs, "tasks": tasks}]
    (folder / "hosts.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(json.dumps(playbook))
    program = Path(sys.prefix, "bin", "ansible-playbook")
    argv = [str(program), "-i", str(folder / "hosts.json"), str(folder / "play.yml")]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_NOCOWS": "1"}
    done = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    return Play(done.returncode, done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("bee_from", "asked", "failed"),
    [
        pytest.param(1, 1, [], id="all are healthy: one question for both"),
        pytest.param(3, 3, [], id="one is late: asked until it is"),
        pytest.param(NEVER, ASKED_AT_MOST + 1, ["b"], id="one never is: it fails alone, and by its name"),
    ],
)
def test_each_host_is_told_by_one_answer(tmp_path: Path, bee_from: int, asked: int, failed: list[str]) -> None:
    control_plane = ControlPlane(bee_from)
    socket = tmp_path / "s.sock"
    with control_plane.at(socket):
        done = play(tmp_path, socket)
    assert [host for host, told in done.recap.items() if told["failed"]] == failed, done.output
    assert len(control_plane.asked) == asked, done.output
    assert set(control_plane.asked) == {"/v1/catalog/instances"}
    if failed:
        assert "bee is not healthy after 3 s; the control plane tells everybody of a" in done.output


def test_a_control_plane_that_does_not_answer_is_told_as_that(tmp_path: Path) -> None:
    done = play(tmp_path, tmp_path / "nobody.sock")
    assert [host for host, told in done.recap.items() if told["failed"]] == ["a", "b"], done.output
    assert "a is not healthy after 3 s; the control plane tells everybody of nobody (" in done.output
    assert "nobody.sock" in done.output
