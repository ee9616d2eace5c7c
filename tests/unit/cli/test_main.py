"""The command as a whole: help without imports, exit codes, errors as people read them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from mesh.cli.main import VERBS, main


@pytest.mark.parametrize("name", sorted(set(VERBS) - {"sidecar", "agent", "redirect"}))
def test_every_verb_is_where_the_table_says(name: str) -> None:
    module, _, attribute = VERBS[name][0].partition(":")
    assert isinstance(getattr(import_module(module), attribute), click.Command)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["--help"], 0, "", id="help is no failure"),
        pytest.param(["nonsense"], 2, "No such command", id="an unknown verb is a usage error"),
        pytest.param(["config", "read", "no-such-kind", "x"], 2, "Invalid value", id="an unknown kind too"),
        pytest.param(
            ["config", "list", "service-intentions", "--address", "unix:///nowhere"], 4, "nowhere", id="nobody"
        ),
        pytest.param(
            ["catalog", "services", "--address", "nowhere"], 2, "right would be: unix:///path", id="no address at all"
        ),
        pytest.param(["config", "write", "/nowhere.hcl"], 1, "/nowhere.hcl:1:1: reading the file", id="a missing file"),
        pytest.param(["token", "create", "--service", "a", "--host", "b", "--ttl", "x"], 2, "--ttl", id="a wrong ttl"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    assert words in capsys.readouterr().err


def test_validate_shows_place_line_caret_and_what_would_be_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "intentions.hcl"
    path.write_text(
        'Kind = "service-intentions"\nName = "a"\nSources = [{Name="*" Action="deny"}, {Name="b" Action="allow"}]\n'
    )
    assert main(["validate", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{path}:3:" in told.err
    assert "^" in told.err
    assert "right would be" in told.err


def test_validate_knows_services_of_the_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "service.hcl").write_text('service { name = "a" port = 8080 }\n')
    (tmp_path / "i.hcl").write_text('Kind = "service-intentions"\nName = "a"\nSources = [{Name="a" Action="allow"}]\n')
    assert main(["validate", str(tmp_path / "service.hcl"), str(tmp_path / "i.hcl"), "--output", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"valid": True, "entries": 2, "errors": [], "warnings": []}


def test_output_may_stand_before_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "service.hcl"
    path.write_text('service { name = "a" port = 8080 }\n')
    assert main(["--output", "json", "validate", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True
    assert main(["--output", "json", "validate", str(path), "--output", "table"]) == 0, "the nearer one counts"
    assert not capsys.readouterr().out.startswith("{")


def test_completion_scripts_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert "_MESH_COMPLETE" in capsys.readouterr().out


@pytest.mark.slow
def test_help_imports_no_room() -> None:
    code = "import sys; from mesh.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    imported = done.stdout.splitlines()[-1]
    assert "controlplane" not in imported
    assert "grpc" not in done.stdout
