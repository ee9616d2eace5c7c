"""Preflight: every check is seen failing, and says what mends it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import check


def failing(findings: list[check.Finding]) -> dict[str, check.Finding]:
    return {finding.name: finding for finding in findings if not finding.is_ok}


def test_an_old_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.sys, "version_info", (3, 10, 1))
    assert "PYTHON=" in check._python().fix


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.sys, "platform", "darwin")
    assert not check._system().is_ok


def test_each_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.shutil, "which", lambda *_, **__: None)
    found = failing(check._programs())
    assert set(found) == {f"program-{name}" for name in check.PROGRAMS}
    assert found["program-ip"].fix == "apt-get install iproute2"


def test_too_little_memory_is_refused_with_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: "MemTotal: 9\nMemAvailable: 512000 kB\n")
    finding = check._memory()
    assert not finding.is_ok
    assert "500 MB" in finding.text


def test_a_checkout_nobody_else_may_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    finding = check._readable(tmp_path)
    assert not finding.is_ok
    assert finding.fix.startswith("chmod")


@pytest.mark.parametrize(
    "tool", [pytest.param(None, id="without newuidmap"), pytest.param("/bin/x", id="without subuid")]
)
def test_an_ordinary_user_needs_a_range_of_ids(monkeypatch: pytest.MonkeyPatch, tool: str | None) -> None:
    monkeypatch.setattr(check.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(check.shutil, "which", lambda *_: tool)
    monkeypatch.setattr("getpass.getuser", lambda: "nobody-of-that-name")
    finding = check._user_namespaces()
    assert not finding.is_ok
    assert finding.fix.startswith("sudo ")


def test_a_kernel_that_refuses_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(argv: list[str], **_: Any) -> Any:
        return subprocess.CompletedProcess(argv, 1, "", "first line\nwarning: no such match\n")

    assert check._try(["x"], refuse) == "warning: no such match"
    monkeypatch.setattr(check, "_try", lambda *_: "no such match")
    assert "no such match" in check._kernel().text


def test_a_command_that_hangs_is_a_finding_too() -> None:
    def hang(argv: list[str], **_: Any) -> Any:
        raise subprocess.TimeoutExpired(argv, 10)

    assert "timed out" in check._try(["x"], hang)
