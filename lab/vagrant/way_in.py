"""ssh: one connection to each machine, which every command and every forwarded port shares.

A connection costs an emulated machine seconds, a command over one that is open a fraction. So a master process for each
host stays in the background (`ControlPersist`), and ends with the lab. The ports that a topology publishes, and the
operator's socket, are forwarded over the same connections.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.driver import LabError
from lab.vagrant.place import Place
from mesh.base import ports

USERS = {"app": ports.UID_APP, "root": 0, "agent": ports.UID_AGENT, "sidecar": ports.UID_SIDECAR, "other": 2000}
MEMBERS = ("app", "agent", "sidecar")  # of the group whose members may open the agent's socket
PATH = "/opt/meshyard/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Nine emulated machines that all start their mesh anew leave one of them no moment for minutes.
OPEN_TIMEOUT_S = 600.0
CHECK_TIMEOUT_S = 60.0
UNREACHABLE = 255  # ssh's own exit code when the way, not the command, failed

# Runs a command and ends it, children and all, when whoever listens to it is gone: sshd lets it go on otherwise.
# The far ends of its outputs tell (a pipe without a reader is readable for `select`). Perl is on every Debian, and
# starts in a tenth of the time that Python takes. It looks up twice a second: Perl hears of a signal between two of its
# steps, so one that comes just before `select` would not wake it.
TIED = """
pipe R, W; $SIG{CHLD} = sub { syswrite W, "x" };
defined(my $pid = fork) or die "fork: $!";
if (!$pid) { setpgrp; exec { $ARGV[0] } @ARGV; print STDERR "$ARGV[0]: $!\\n"; exit($!{ENOENT} ? 127 : 126) }
my $ends = ""; vec($ends, fileno($_), 1) = 1 for *R, *STDOUT, *STDERR;
my $ready; 1 while select($ready = $ends, undef, undef, 0.5) <= 0;
kill "KILL", -$pid unless vec($ready, fileno(R), 1);
waitpid $pid, 0; exit($? & 127 ? 128 + ($? & 127) : $? >> 8)
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a machine answers ssh, as Vagrant says it."""

    host: str
    address: str
    port: int
    key: str


@dataclass(frozen=True, slots=True)
class Forward:
    """Something of this machine, a socket's path or `127.0.0.1:PORT`, that leads to something of a host."""

    host: str
    here: str
    there: str


def machines_from(text: str) -> list[Machine]:
    """Return the machines that `vagrant ssh-config` printed."""
    found: list[dict[str, str]] = []
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key == "Host":
            found.append({})
        if key and found:
            found[-1].setdefault(key, value.strip('"'))
    return [Machine(one["Host"], one["HostName"], int(one["Port"]), one["IdentityFile"]) for one in found]


def config_text(machines: Sequence[Machine], place: Place) -> str:
    """Return the configuration of ssh for a lab; the host keys are learnt at the first connection and kept."""
    hosts = [
        f'Host {one.host}\n  HostName {one.address}\n  Port {one.port}\n  IdentityFile "{place.key(one.host)}"\n'
        for one in machines
    ]
    return "\n".join([*hosts, COMMON.format(known_hosts=place.known_hosts, sockets=place.control_path("%n"))])


COMMON = """Host *
  User root
  IdentitiesOnly yes
  BatchMode yes
  UserKnownHostsFile "{known_hosts}"
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking accept-new
  ControlMaster auto
  ControlPath "{sockets}"
  ControlPersist yes
  ConnectTimeout 300
  ServerAliveInterval 15
  ServerAliveCountMax 40
  LogLevel ERROR
"""


def command(config: Path, host: str, argv: Sequence[str], *, user: str, is_terminal: bool = False) -> list[str]:
    """Return the command that runs `argv` on a host as one of its users.

    Raises:
        LabError: there is no such user.
    """
    there = [*drop_to(user), *environment_of(host, user), *argv]
    if is_terminal:
        return ["ssh", "-F", str(config), "-t", host, f"cd / && exec {shlex.join(there)}"]
    return ["ssh", "-F", str(config), "-T", host, f"cd / && exec {shlex.join(['perl', '-e', TIED, '--', *there])}"]


def drop_to(user: str) -> list[str]:
    """Return the command that makes root one of a host's users, without any right to become another."""
    if user not in USERS:
        raise LabError(f"no user {user!r}; there are: {', '.join(USERS)}", exit_code=2)
    if user == "root":
        return []
    uid = USERS[user]
    gid = ports.GID_WORKLOAD if user in MEMBERS else uid
    groups = f"--groups={gid}" if user in MEMBERS else "--clear-groups"
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", groups, "--no-new-privs", "--bounding-set=-all", "--"]


def environment_of(host: str, user: str) -> list[str]:
    """Return the command that gives the next one an environment of its own."""
    return ["env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", f"HOST_NAME={host}", f"USER={user}", "HOME=/tmp"]


class WayIn:
    """The connections of one lab."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def open(self, hosts: Sequence[str], forwards: Sequence[Forward] = ()) -> None:
        """Open a connection to each host, and its forwards.

        Raises:
            LabError: a host does not answer, or what should be forwarded is taken.
        """
        self.place.control_path("x").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda host: self._open(host, [one for one in forwards if one.host == host]), hosts))

    def is_open(self, host: str) -> bool:
        """Say whether there is a connection to a host, without asking the host."""
        return self._ssh("-O", "check", host).returncode == 0

    def close(self) -> None:
        """End every connection, also those that another process opened."""
        for path in sorted(self.place.control_path("x").parent.glob("*")):
            if self._ssh("-O", "exit", path.name).returncode:
                path.unlink(missing_ok=True)

    def close_one(self, host: str) -> None:
        """End the connection to one host."""
        self._ssh("-O", "exit", host)
        self.place.control_path(host).unlink(missing_ok=True)

    def _open(self, host: str, forwards: Sequence[Forward]) -> None:
        if not self.is_open(host):
            self.place.control_path(host).unlink(missing_ok=True)
            done = self._ssh("-o", "ControlMaster=yes", "-f", "-N", host, timeout_s=OPEN_TIMEOUT_S)
            if done.returncode:
                raise LabError(f"{host} does not answer ssh: {done.stderr.strip() or 'no word from it'}")
        for one in forwards:
            way = f"{one.here}:{one.there}"
            # What a connection forwards already it says it will, and does nothing: not even when the socket is gone.
            self._ssh("-O", "cancel", "-L", way, host)
            if one.here.startswith("/"):
                Path(one.here).unlink(missing_ok=True)
            done = self._ssh("-O", "forward", "-L", way, host)
            if done.returncode:
                raise LabError(f"forwarding {one.here} to {host}: {done.stderr.strip()}")

    def _ssh(self, *arguments: str, timeout_s: float = CHECK_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        argv = ["ssh", "-F", str(self.place.ssh_config), *arguments]
        try:
            # The master stays behind: it must not hold our pipes, or nobody would ever see their end.
            with tempfile.TemporaryFile("w+") as said:
                done = subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=timeout_s, check=False
                )
                said.seek(0)
                return subprocess.CompletedProcess(argv, done.returncode, "", said.read())
        except FileNotFoundError:
            raise LabError("this machine has no ssh; next: apt-get install openssh-client") from None
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(argv, UNREACHABLE, "", f"no answer within {timeout_s:g} s")


def forwards_of(
    published: Mapping[str, Sequence[tuple[int, str]]], control_plane: str, operator: Path
) -> list[Forward]:
    """Return what leads into a lab: the operator's socket, and the published ports.

    Args:
        published: host -> (port of this machine, `address:port` on the host).
        control_plane: the host with the operator's socket.
        operator: the operator's socket on this machine.
    """
    socket = Forward(control_plane, str(operator), "/run/mesh/control-plane.sock")
    return [socket, *(Forward(host, f"127.0.0.1:{port}", to) for host, each in published.items() for port, to in each)]
