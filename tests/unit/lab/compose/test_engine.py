"""Which engine is asked, and what is said when it does not answer."""

from __future__ import annotations

import pytest

from lab.compose import engine
from lab.driver import LabError


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param("2.26.1-4\n", (2, 26, 1), id="as Debian numbers it"),
        pytest.param("v2.20.0-desktop.1", (2, 20, 0), id="as Docker Desktop numbers it"),
        pytest.param("1.41", (1, 41), id="an API version"),
        pytest.param("docker: unknown command", (), id="no version"),
        pytest.param("", (), id="no answer"),
    ],
)
def test_version_in(text: str, version: tuple[int, ...]) -> None:
    assert engine.version_in(text) == version


@pytest.mark.parametrize(
    ("api", "is_enough"),
    [
        pytest.param("1.40", False, id="Docker 19.03 is too old"),
        pytest.param("1.9", False, id="versions are numbers, not text"),
        pytest.param("1.41", True, id="Docker 20.10 is enough"),
        pytest.param("1.51", True, id="a newer one is enough"),
        pytest.param("", False, id="an engine that tells no version"),
    ],
)
def test_an_engine_that_is_too_old_is_named_with_what_mends_it(api: str, is_enough: bool) -> None:
    if is_enough:
        engine.require_api("unix:///x", "20.10", api)
        return
    with pytest.raises(LabError, match=r"API 1\.41 is needed.*install") as caught:
        engine.require_api("unix:///x", "19.03", api)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        pytest.param(
            "Error while fetching server API version: ('Connection aborted.', FileNotFoundError(2, 'No such file'))",
            "start it: sudo systemctl start docker",
            id="nothing listens there",
        ),
        pytest.param("('Connection aborted.', PermissionError(13, 'x'))", "usermod -aG docker", id="not allowed"),
        pytest.param("first\nTLS handshake failed\n", "TLS handshake failed", id="anything else is told as it came"),
    ],
)
def test_a_silent_engine_is_one_line_with_what_mends_it(reason: str, says: str) -> None:
    told = engine.refused("unix:///var/run/docker.sock", reason)
    assert says in told
    assert "unix:///var/run/docker.sock" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param("", "docker has no compose plugin; install it", id="no plugin"),
        pytest.param("2.19.9", "docker compose is 2.19.9, 2.20 is needed; install it", id="too old"),
    ],
)
def test_a_missing_or_old_plugin_is_named(monkeypatch: pytest.MonkeyPatch, answer: str, says: str) -> None:
    monkeypatch.setattr(engine, "_ask", lambda argv: answer)
    with pytest.raises(LabError, match=says) as caught:
        engine.compose_version_here()
    assert caught.value.exit_code == 5


def test_no_docker_command_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    with pytest.raises(LabError, match="there is no docker command; install it") as caught:
        engine.connect()
    assert caught.value.exit_code == 5


def test_the_address_is_what_docker_itself_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.address({"DOCKER_HOST": "tcp://127.0.0.1:1"}) == "tcp://127.0.0.1:1"
    monkeypatch.setattr(engine, "_ask", lambda argv: "unix:///home/me/.colima/docker.sock")
    assert engine.address({}) == "unix:///home/me/.colima/docker.sock", "a context of the user"
    monkeypatch.setattr(engine, "_ask", lambda argv: "")
    assert engine.address({}) == "unix:///var/run/docker.sock"
