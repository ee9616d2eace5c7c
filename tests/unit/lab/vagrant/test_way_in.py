"""How hosts are reached: ssh's configuration, the command on a host, and how it ends."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.driver import LabError
from lab.topology import HostSpec, Role
from lab.vagrant import way_in
from lab.vagrant.place import Place

# As `vagrant ssh-config` of Vagrant 2.3 prints it.
SAID = """Host cp-1
  HostName 192.168.121.3
  User vagrant
  Port 22
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile /checkout/.lab/cache/box/1/key
  IdentitiesOnly yes
  LogLevel FATAL

Host order-1
  HostName 127.0.0.1
  User vagrant
  Port 2222
  IdentityFile "/a folder/key"

"""
MACHINES = way_in.machines_from(SAID)


def test_what_vagrant_says_of_its_machines() -> None:
    found = way_in.machines_from(SAID)
    assert found == [
        way_in.Machine("cp-1", "192.168.121.3", 22, "/checkout/.lab/cache/box/1/key"),
        way_in.Machine("order-1", "127.0.0.1", 2222, "/a folder/key"),
    ]
    assert way_in.machines_from("") == []


def asked(tmp_path: Path, host: str) -> dict[str, str]:
    """Return what ssh itself makes of the configuration."""
    config = tmp_path / "ssh-config"
    config.write_text(way_in.config_text(MACHINES, Place(tmp_path)))
    done = subprocess.run(["ssh", "-G", "-F", str(config), host], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_the_configuration_as_ssh_reads_it(tmp_path: Path) -> None:
    cp, order = asked(tmp_path, "cp-1"), asked(tmp_path, "order-1")
    assert (cp["hostname"], cp["port"], cp["user"]) == ("192.168.121.3", "22", "root")
    assert (order["hostname"], order["port"]) == ("127.0.0.1", "2222")
    assert cp["identityfile"] == str(tmp_path / "keys/cp-1"), "the lab's own copy: another box takes nobody's way in"
    assert (cp["controlpath"], order["controlpath"]) == (str(tmp_path / "ssh/cp-1"), str(tmp_path / "ssh/order-1"))
    assert cp["stricthostkeychecking"] == "accept-new", "a machine that is another one is noticed"
    assert cp["userknownhostsfile"] == str(tmp_path / "known_hosts")
    assert cp["batchmode"] == "yes", "nobody is asked for a password"


@pytest.mark.parametrize(
    ("user", "there"),
    [
        pytest.param("root", "env -i ", id="root keeps its rights"),
        pytest.param(
            "app", "setpriv --reuid=1338 --regid=1339 --groups=1339 --no-new-privs --bounding-set=-all --", id="app"
        ),
        pytest.param(
            "other",
            "setpriv --reuid=2000 --regid=2000 --clear-groups --no-new-privs --bounding-set=-all --",
            id="other",
        ),
    ],
)
def test_a_command_on_a_host(user: str, there: str) -> None:
    argv = way_in.command(Path("/c"), "cp-1", ["echo", "it's $HOME"], user=user)
    assert argv[:5] == ["ssh", "-F", "/c", "-T", "cp-1"]
    words = shlex.split(argv[5])
    assert words[:5] == ["cd", "/", "&&", "exec", "perl"]
    assert " ".join(words[words.index("--") + 1 :]).startswith(there)
    assert words[-2:] == ["echo", "it's $HOME"], "no shell on the way reads it"
    assert "HOST_NAME=cp-1" in words


def test_a_person_at_a_terminal_gets_one() -> None:
    argv = way_in.command(Path("/c"), "cp-1", ["sh"], user="root", is_terminal=True)
    assert argv[3:5] == ["-t", "cp-1"]
    assert "perl" not in argv[5]


def test_a_user_that_there_is_not() -> None:
    with pytest.raises(LabError, match="no user 'mallory'; there are: app, root, agent, sidecar, other"):
        way_in.command(Path("/c"), "cp-1", ["id"], user="mallory")


# ------------------------------------------------------------------------------------- what ends a command


def tied(*argv: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["perl", "-e", way_in.TIED, "--", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("argv", "code", "out"),
    [
        pytest.param(("cat",), 0, "told", id="input and output pass through"),
        pytest.param(("sh", "-c", "exit 7"), 7, "", id="and the exit code"),
        pytest.param(("sh", "-c", "kill -TERM $$"), 128 + signal.SIGTERM, "", id="and a signal, as shells say it"),
        pytest.param(("/nonesuch",), 127, "", id="a command that there is not"),
    ],
)
def test_a_tied_command_is_like_any_other(argv: tuple[str, ...], code: int, out: str) -> None:
    with tied(*argv) as process:
        said, _ = process.communicate("told" if code == 0 else "", timeout=20)
    assert (process.returncode, said) == (code, out)


@pytest.mark.parametrize("kept", ["stdout", "stderr"])
def test_a_tied_command_ends_with_its_listener(kept: str) -> None:
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"
    with tied(sys.executable, "-c", child) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        pid = int(process.stdout.readline())
        # sshd closes both when the other side is gone; one is enough to know.
        (process.stderr if kept == "stdout" else process.stdout).close()
        try:
            assert process.wait(timeout=10) == 128 + signal.SIGKILL
        finally:
            process.kill()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# ----------------------------------------------------------------------------------------------- ways in


def test_what_leads_into_a_lab() -> None:
    found = way_in.forwards_of({"order-1": [(18080, "127.0.0.1:8080")]}, "cp-1", Path("/lab/mesh.sock"))
    assert found == [
        way_in.Forward("cp-1", "/lab/mesh.sock", "/run/mesh/control-plane.sock"),
        way_in.Forward("order-1", "127.0.0.1:18080", "127.0.0.1:8080"),
    ]


def test_a_path_that_is_too_long_for_a_socket() -> None:
    hosts = {"cp-1": HostSpec("cp-1", "east", "10.77.1.2", Role.CONTROL_PLANE)}
    Place(Path("/checkout/.lab/default")).require_short(hosts)
    with pytest.raises(LabError, match=r"too long for a socket: .*; move the checkout"):
        Place(Path("/" + "long/" * 20 + ".lab/default")).require_short(hosts)


# A connection as OpenSSH's master is: it makes a socket for a forward that is new to it, and otherwise only says yes.
MASTER = """#!/bin/sh
# ssh -F CONFIG -O WORD [-L WAY] HOST
word=$4 way=$6 known={known}
case $word in
  forward) grep -qxF "$way" $known && exit 0; echo "$way" >>$known; : >"${{way%%:*}}" ;;
  cancel) grep -vxF "$way" $known >$known.new; mv $known.new $known ;;
esac
"""


def test_a_way_that_was_open_is_open_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mesh that starts anew is reached as before; a socket that was removed had not been made again."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(MASTER.format(known=tmp_path / "known"))
    program.chmod(0o755)
    (tmp_path / "known").touch()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    ways = way_in.WayIn(Place(tmp_path / "default"))
    socket = way_in.Forward("cp-1", str(tmp_path / "mesh.sock"), "/run/mesh/control-plane.sock")
    for _ in range(3):
        ways.open(["cp-1"], [socket])
        assert Path(socket.here).exists()
