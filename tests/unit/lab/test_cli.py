"""The `lab` command without a lab: usage, exit codes, one message for each mistake."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab.cli import main as command

NOWHERE = "no-such-lab"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["--help"], 0, "", id="help is no failure"),
        pytest.param(["nonsense"], 2, "No such command", id="an unknown verb is a usage error"),
        pytest.param(["--lab", "../elsewhere", "status"], 2, "DNS label", id="a lab's name is no path"),
        pytest.param(["--lab", NOWHERE, "status"], 1, f"start it with: lab --lab {NOWHERE} up", id="not up, says how"),
        pytest.param(["--lab", NOWHERE, "status", "-o", "json"], 1, "is not up", id="--output after the verb"),
        pytest.param(["--lab", NOWHERE, "--output", "json", "status"], 1, "is not up", id="--output before the verb"),
        pytest.param(
            ["--lab", NOWHERE, "up", "--set", "leaf_ttl"], 2, "right would be: --set", id="a setting without value"
        ),
        pytest.param(
            ["--lab", NOWHERE, "up", "--topology", "/nowhere"], 2, "no file /nowhere", id="a missing topology"
        ),
        pytest.param(["--lab", NOWHERE, "break", "kill", "order-1"], 2, "kill needs --unit", id="kill wants a unit"),
        pytest.param(["--lab", NOWHERE, "break", "cut", "order-1", "--for", "3x"], 2, "'3x'", id="a wrong duration"),
        pytest.param(["--lab", NOWHERE, "exec", "order-1"], 2, "COMMAND", id="exec wants a command"),
        pytest.param(["--lab", NOWHERE, "exec", "order-1", "--", "id"], 1, "is not up", id="exec wants a lab"),
    ],
)
def test_exit_codes(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", *arguments])
    try:
        command.main()
        ended = 0
    except SystemExit as error:
        ended = int(str(error.code or 0))
    told = capsys.readouterr()
    assert ended == code, told.err
    assert words in told.err
    assert "Traceback" not in told.err
    assert code == 0 or not told.out, "talk goes to stderr"


# A command that is at its work until somebody ends it, and tidies up then.
AT_WORK = """
import signal, sys, click
from lab.cli import main as command

@click.command()
def work():
    try:
        print("at work", flush=True)
        signal.pause()
    finally:
        print("tidied up", flush=True)

command.cli = work
sys.argv = ["lab"]
command.main()
"""


@contextlib.contextmanager
def at_work(script: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command as at a terminal, whoever runs the tests: `nohup`, or a shell's background, makes children deaf."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: [signal.signal(one, signal.default_int_handler) for one in (signal.SIGINT, signal.SIGHUP)],
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_with_what_it_began(number: signal.Signals) -> None:
    with at_work(AT_WORK) as process:
        process.send_signal(number)
        out, told = process.communicate(timeout=20)
    assert (process.returncode, out) == (128 + number, "tidied up\n")
    assert told.strip() == "interrupted"


def test_one_that_was_told_to_outlive_its_terminal_does() -> None:
    with subprocess.Popen(["nohup", sys.executable, "-c", AT_WORK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_comes_after_the_first_does_not_end_the_tidying_up(number: signal.Signals) -> None:
    """A terminal that closes and a service manager send both."""
    twice = AT_WORK.replace('print("tidied', '[signal.raise_signal(n) for n in (1, 15)]; print("tidied')
    with at_work(twice) as process:
        process.send_signal(number)
        assert process.communicate(timeout=20)[0] == "tidied up\n"
    assert process.returncode == 128 + number
