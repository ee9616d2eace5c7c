"""Promise 4, for opaque TCP: no intention, no connection; and a stream that is open ends when its permission goes."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.e2e.kit import PATIENCE_S, Lab, eventually, intentions
from tests.e2e.pace import stretched

LAB_HOSTS = ("cp-1", "order-1", "makeline-1")
WITHIN_S = 1.0  # an intention holds, or stops to hold, within this
DRAINED_S = 2.0  # Envoy lets go of what it began under an old configuration

SERVICE = """
service {
  name = "echo-service"
  port = 8080
  check { tcp = "127.0.0.1:8080" interval = "1s" }
  connect { sidecar_service {} }
}
"""
PROTOCOL = 'Kind = "service-defaults"\nName = "echo-service"\nProtocol = "tcp"\n'
DENYING = intentions("echo-service", ("*", "deny"))
ALLOWING = intentions("echo-service", ("order-service", "allow"), ("*", "deny"))

# Sends what it is told to, ends its own direction, and says what came back until the other side's end.
TALK = """
import json, socket, sys
ask = json.load(sys.stdin)
seen, error = b"", ""
try:
    with socket.create_connection(("echo-service", 8080), timeout=5) as sock:
        if ask["answer_first"]:
            sock.sendall(ask["greeting"].encode())
            while piece := sock.recv(65536):
                seen += piece
        sent = b"x" * ask["bytes"]
        import threading
        sender = threading.Thread(target=lambda: (sock.sendall(sent), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        while piece := sock.recv(65536):
            seen += piece
        sender.join()
except OSError as problem:
    error = type(problem).__name__
print(json.dumps({"length": len(seen), "tail": seen[-20:].decode(), "error": error}))
"""

# Says "ping" ten times a second and prints each echo.
STREAM = """
import socket, sys, time
sock = socket.create_connection(("echo-service", 8080), timeout=30)
try:
    while True:
        sock.sendall(b"ping")
        answer = sock.recv(4)
        if not answer:
            break
        print("echo", flush=True)
        time.sleep(0.1)
    print("closed", flush=True)
except OSError as problem:
    print(type(problem).__name__, flush=True)
"""

# Waits for the other side to speak first.
SILENCE = """
import socket
with socket.create_connection(("echo-service", 8080), timeout=10) as sock:
    sock.settimeout(2)
    try:
        print(sock.recv(1))
    except TimeoutError:
        print("silent")
"""


@pytest.fixture(scope="module")
def echo(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The lab with a host that runs the TCP application, which nobody may call yet."""
    folder = tmp_path_factory.mktemp("echo") / "echo-service"
    folder.mkdir()
    (folder / "app.py").write_text((Path(__file__).parent / "echo_app.py").read_text())
    (folder / "service.hcl").write_text(SERVICE)
    (folder / "intentions.hcl").write_text(DENYING)
    assert lab.write_config(PROTOCOL, folder, "defaults.hcl").exit_code == 0
    lab.add("echo-1", folder)
    return lab


@pytest.fixture
def allowed(echo: Lab, tmp_path: Path) -> Iterator[Lab]:
    """order-service may call for the time of one test."""
    assert echo.write_config(ALLOWING, tmp_path).exit_code == 0
    eventually(lambda: talk(echo)["length"], within_s=WITHIN_S, what="the intention to open the way")
    yield echo
    assert echo.write_config(DENYING, tmp_path).exit_code == 0


def talk(lab: Lab, size: int = 10, greeting: str = "") -> dict[str, object]:
    """Open a connection from order-1, send, half-close, and return what came back."""
    ask = {"bytes": size, "greeting": greeting, "answer_first": bool(greeting)}
    done = lab.python("order-1", TALK, stdin=json.dumps(ask))
    assert done.exit_code == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def decided_by(lab: Lab, record: dict[str, object]) -> str:
    """Return the rule that ended a stream. Envoy has no words for the rule and names its policy."""
    if lab.has_envoy("echo-1"):
        return str(record["response_code_details"]).partition("matched_policy[")[2]
    return str(record["rule"])


def note(lab: Lab, name: str) -> str:
    """Return what the application wrote down."""
    return lab.run("echo-1", "cat", f"/var/lib/app/{name}").stdout.strip()


def test_01_without_an_intention_the_application_never_accepts(echo: Lab) -> None:
    before = note(echo, "accepted")
    answer = talk(echo)
    assert answer["length"] == 0, answer
    assert note(echo, "accepted") == before
    record = eventually(
        lambda: echo.access_log("echo-1", protocol="TCP", reporter="destination"), what="a record of it"
    )[-1]
    assert "rbac_access_denied" in record["response_code_details"]
    assert decided_by(echo, record).startswith("intentions/echo-service")
    assert record["downstream_peer"].endswith("/sa/order-service")
    assert record["upstream_host"] is None


@pytest.mark.parametrize("size", [pytest.param(10, id="ten bytes"), pytest.param(3_000_000, id="three megabytes")])
def test_02_with_it_bytes_flow_both_ways_and_a_half_close_passes_through(allowed: Lab, size: int) -> None:
    before = int(note(allowed, "accepted"))
    answer = talk(allowed, size)
    total = f"TOTAL {size}"
    assert answer == {"length": size + len(total), "tail": answer["tail"], "error": ""}
    assert str(answer["tail"]).endswith(total), "said after the caller had closed its own direction"
    assert int(note(allowed, "accepted")) == before + 1
    record = eventually(
        lambda: allowed.access_log("echo-1", protocol="TCP", bytes_received=size),
        what="the stream's record",
    )[-1]
    assert record["bytes_sent"] == size + len(total)
    assert record["downstream_peer"].endswith("/sa/order-service")


def test_03_the_other_direction_may_end_first_too(allowed: Lab) -> None:
    answer = talk(allowed, 500_000, greeting="LISTEN")
    assert answer == {"length": 4, "tail": "DONE", "error": ""}
    heard = str(500_000 + len("LISTEN"))
    eventually(lambda: note(allowed, "heard") == heard, what="the application to hear all of it")


def test_04_a_change_for_another_service_leaves_a_stream_alone_and_losing_the_permission_cuts_it(
    allowed: Lab, tmp_path: Path
) -> None:
    has_envoy = allowed.has_envoy("echo-1")
    with allowed.background("order-1", "python", "-c", STREAM) as process:
        lines = lines_of(process)
        assert lines.get(timeout=stretched(PATIENCE_S))[0] == "echo"
        unrelated = intentions("makeline-service", ("echo-service", "allow"), ("*", "deny"))
        assert allowed.write_config(unrelated, tmp_path).exit_code == 0
        synced = time.monotonic() + WITHIN_S
        assert wait_for(lines, lambda word, at: at > synced)[0] == "echo", "the change was not about this stream"
        assert allowed.write_config(DENYING, tmp_path).exit_code == 0
        written = time.monotonic()
        word, at = wait_for(lines, lambda word, _: word != "echo")
        assert word in ("closed", "ConnectionResetError", "BrokenPipeError")
        assert at - written <= stretched(WITHIN_S + (DRAINED_S if has_envoy else 0.0))
    if has_envoy:  # its listener was replaced, which is no verdict about the stream
        return
    record = eventually(
        lambda: [r for r in allowed.access_log("echo-1", protocol="TCP") if r["bytes_sent"] and "rbac" in
                 (r["response_code_details"] or "")],
        what="the record of the cut stream",
    )[-1]  # fmt: skip
    assert decided_by(allowed, record).startswith("intentions/echo-service")
    eventually(lambda: note(allowed, "broken"), what="the application to see a reset, not a clean end")


def test_05_another_row_of_its_own_intentions_ends_a_stream_in_envoy_alone(allowed: Lab, tmp_path: Path) -> None:
    with allowed.background("order-1", "python", "-c", STREAM) as process:
        lines = lines_of(process)
        assert lines.get(timeout=stretched(PATIENCE_S))[0] == "echo"
        other_row = intentions("echo-service", ("order-service", "allow"), ("makeline-service", "allow"), ("*", "deny"))
        assert allowed.write_config(other_row, tmp_path).exit_code == 0
        synced = time.monotonic() + WITHIN_S + DRAINED_S
        goes_on = wait_for(lines, lambda word, at: at > synced)[0] == "echo"
    assert goes_on is not allowed.has_envoy("echo-1")
    assert talk(allowed)["length"], "and the way is open"


def test_06_an_application_that_speaks_first_is_dialled_by_the_python_sidecar_alone(allowed: Lab) -> None:
    """Envoy asks intentions at a stream's first byte. It is told not to dial before, and so waits for the caller's."""
    before = int(note(allowed, "accepted"))
    assert allowed.python("order-1", SILENCE).stdout == "silent\n"
    reached = 0 if allowed.has_envoy("echo-1") else 1
    assert talk(allowed)["length"], "by now the silent one would have been seen"
    assert int(note(allowed, "accepted")) == before + reached + 1


def lines_of(process: subprocess.Popen[str]) -> Queue[tuple[str, float]]:
    """Return the lines of a running stream as they come, each with the moment at which it came."""
    lines: Queue[tuple[str, float]] = Queue()
    output = process.stdout
    assert output is not None

    def read() -> None:
        for line in output:
            lines.put((line.strip(), time.monotonic()))

    threading.Thread(target=read, daemon=True).start()
    return lines


def wait_for(lines: Queue[tuple[str, float]], is_wanted: Callable[[str, float], bool]) -> tuple[str, float]:
    """Return the first line that is wanted; one that says the stream is over always is."""
    limit_s = stretched(PATIENCE_S)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            word, at = lines.get(timeout=deadline - time.monotonic())
        except Empty:
            break
        if word != "echo" or is_wanted(word, at):
            return word, at
    raise AssertionError(f"waited {limit_s:g} s for another line of the stream")
