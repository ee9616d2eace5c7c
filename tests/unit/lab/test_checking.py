"""`lab check` and the preflight of `lab up`: what is printed, and with which exit code."""

from __future__ import annotations

import json
import sys

import pytest

from lab.check.machine import Finding
from lab.check.table import decide
from lab.cli import checking
from lab.cli import main as command
from lab.driver import checkout
from lab.topology import load
from tests.fakes.machines import GOOD, LACKING

TOPOLOGY = load(checkout() / "lab" / "topology.yaml", {})
CASES = [
    pytest.param("", "√", 0, id="a good machine"),
    pytest.param("a port that is taken", "‼", 0, id="a warning starts a lab"),
    pytest.param("no Docker", "×", 5, id="what is needed does not"),
]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[Finding]:
    """What a machine lacks, instead of what this one does."""
    lacking = next((one for one in LACKING if one.what == request.param), None)
    findings = decide(lacking.machine, lacking.driver) if lacking else decide(GOOD["compose"], "compose")
    monkeypatch.setattr("lab.check.run.run", lambda *_, **__: findings)
    return findings


@pytest.mark.parametrize(("found", "mark", "code"), CASES, indirect=["found"])
def test_up_ends_with_5_when_something_is_needed(
    found: list[Finding], mark: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = 0
    try:
        checking.require_machine("compose", TOPOLOGY, has_fixed_ports=True)
    except SystemExit as error:
        ended = int(str(error.code))
    assert ended == code
    said = capsys.readouterr().err
    for finding in found:
        assert (f"preflight: {finding.text}\n  mend it with: {finding.fix}" in said) is not finding.is_ok


@pytest.mark.parametrize(("found", "mark", "code"), CASES, indirect=["found"])
def test_check_ends_with_1_when_something_is_needed(
    found: list[Finding], mark: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", "check", "--driver", "compose"])
    ended = 0
    try:
        command.main()
    except SystemExit as error:
        ended = int(str(error.code or 0))
    assert ended == min(code, 1)
    told = capsys.readouterr()
    assert mark in told.out
    assert "for Docker Compose" in told.err


@pytest.mark.parametrize("found", ["no Docker"], indirect=True)
def test_the_same_as_json(
    found: list[Finding], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", "check", "-o", "json"])
    with pytest.raises(SystemExit):
        command.main()
    assert json.loads(capsys.readouterr().out) == [finding.as_json() for finding in found]
