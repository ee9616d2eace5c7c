"""Promise 10: a new service joins by writing two files and one command; it is denied until its intention exists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab.driver import checkout
from tests.e2e.kit import Lab, eventually, intentions

LAB_HOSTS = ("cp-1", "order-1", "makeline-1")

APP = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"fries"
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""
SERVICE = """
service {
  name = "side-service"
  port = 8080
  check { http = "http://127.0.0.1:8080/health" interval = "1s" }
  connect { sidecar_service {} }
}
"""
TICKETS = "http://makeline-service:8080/tickets"


def lab_command(lab: Lab, *argv: str) -> subprocess.CompletedProcess[str]:
    env, limit_s = lab.environment, 1.5 * lab.driver.patience_s  # it gives up by itself before
    command = [str(Path(sys.prefix) / "bin" / "lab"), *argv]
    return subprocess.run(command, env=env, cwd=checkout(), capture_output=True, text=True, timeout=limit_s)


def write_service(folder: Path, rows: tuple[tuple[str, str], ...]) -> None:
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    (folder / "service.hcl").write_text(SERVICE)
    (folder / "intentions.hcl").write_text(intentions("side-service", *rows))


def test_01_two_files_and_one_command(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "side-service"
    write_service(folder, (("order-service", "allow"), ("*", "deny")))
    done = lab_command(lab, "add", "side-1", "--service-dir", str(folder))
    assert done.returncode == 0, done.stderr
    answer = eventually(
        lambda: (a := lab.http("order-1", "GET", "http://side-service:8080/")).status == 200 and a,
        what="order-service to reach the new service by its name",
    )
    assert answer.body == "fries"
    verdict = eventually(
        lambda: (seen := lab.http("makeline-1", "GET", "http://side-service:8080/").status) in (200, 403) and seen,
        what="makeline-service to know the new service by its name",
    )
    assert verdict == 403, "its own intentions hold at once"


def test_02_it_is_denied_elsewhere_until_the_owner_allows_it(lab: Lab, tmp_path: Path) -> None:
    assert lab.http("side-1", "GET", TICKETS).status == 403
    allowing = intentions("makeline-service", ("order-service", "allow"), ("side-service", "allow"), ("*", "deny"))
    assert lab.write_config(allowing, tmp_path).exit_code == 0
    eventually(lambda: lab.http("side-1", "GET", TICKETS).status == 200, within_s=1, what="the intention to hold")


def test_03_a_folder_that_lacks_a_file_is_refused_and_nothing_is_made(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    done = lab_command(lab, "add", "half-1", "--service-dir", str(folder))
    assert done.returncode == 2
    assert "service.hcl, intentions.hcl" in done.stderr
    assert "half-1" not in [host["name"] for host in lab.driver.status()["hosts"]]


def test_04_a_name_that_is_taken_is_refused(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    write_service(folder, (("*", "deny"),))
    done = lab_command(lab, "add", "order-1", "--service-dir", str(folder))
    assert done.returncode == 2
    assert "exists" in done.stderr
