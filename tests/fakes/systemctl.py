"""A stand-in for `systemctl` on hosts that have no systemd: namespaces of a test.

What it is: it reads the unit files of /etc/systemd/system and does what they say with the settings in `KNOWN`:
requirements and order, gates, users, folders, one-shots, restarts, enabling, and a start of everything that is enabled
(`start multi-user.target`, as a boot does). One process per running unit stands for systemd's own. A setting that it
neither knows nor may leave out is an error, so that no unit passes a test here by a line that was not read.

What it is not: no job queue (it starts one unit after the other), no cgroups, no sandbox. Whether systemd itself takes
the units, and how much their sandbox leaves open, is asked of `systemd-analyze` by tests/ansible/test_units.py.

Standard library only, one file: it is copied to a host and run there as root.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import json
import os
import pwd
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

UNITS = Path("/etc/systemd/system")
STATE = Path("/run/systemctl-stand-in")
POLL_S = 0.02
KNOWN = {
    "Unit": {"After", "Requires", "BindsTo", "Wants", "ConditionPathExists"},
    "Service": {
        *("Type", "RemainAfterExit", "User", "Group", "Environment", "ExecStartPre", "ExecStart", "ExecReload"),
        *("Restart", "RestartSec", "TimeoutStartSec", "TimeoutStopSec", "WorkingDirectory"),
        *("RuntimeDirectory", "RuntimeDirectoryMode", "StateDirectory", "StateDirectoryMode"),
        *("LogsDirectory", "LogsDirectoryMode"),
    },
    "Install": {"WantedBy"},
}
# What says how a unit is shown, ordered at a boot or locked in; without effect here.
LEFT_OUT = {
    *("Description", "Documentation", "Before", "Conflicts", "DefaultDependencies", "StartLimitIntervalSec"),
    *("RuntimeDirectoryPreserve", "SyslogIdentifier", "UMask", "LimitNOFILE", "KeyringMode"),
    *("NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateIPC"),
    *("PrivateUsers", "ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectProc"),
    *("ProtectKernelModules", "ProtectKernelTunables", "ProcSubset", "RemoveIPC", "LockPersonality"),
    *("RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallFilter"),
    *("SystemCallArchitectures", "SystemCallErrorNumber", "CapabilityBoundingSet", "AmbientCapabilities"),
    *("MemoryDenyWriteExecute", "ReadWritePaths", "DevicePolicy", "IPAddressDeny", "IPAddressAllow"),
}
FOLDERS = {"Runtime": "/run", "State": "/var/lib", "Logs": "/var/log"}
ACTIVE, FAILED, INACTIVE, ACTIVATING = "active", "failed", "inactive", "activating"


class UnitError(Exception):
    """A unit that is not there, or that says something this stand-in does not know; and the exit code of systemctl."""

    def __init__(self, text: str, code: int = 1) -> None:
        self.code = code
        super().__init__(text)


class Unit:
    """One unit file as read."""

    def __init__(self, name: str) -> None:
        self.name = name if "." in name else f"{name}.service"
        self.path = UNITS / self.name
        if not self.path.exists():
            raise UnitError(f"Unit {self.name} not found.", 5)
        self.values: dict[str, list[str]] = {}
        section = ""
        for line in self.path.read_text().replace("\\\n", " ").splitlines():
            line = line.strip()
            if line.startswith("[") and line.endswith("]"):
                section = line[1:-1]
            elif line and not line.startswith(("#", ";")):
                key, _, value = line.partition("=")
                self.add(section, key.strip(), value.strip())

    def add(self, section: str, key: str, value: str) -> None:
        """Take one line in; an empty value forgets what was said before."""
        if key not in KNOWN.get(section, set()) | LEFT_OUT:
            raise UnitError(f"{self.path}: [{section}] {key}= is unknown to the stand-in for systemctl")
        self.values[key] = [*self.values.get(key, []), value] if value else []

    def one(self, key: str, default: str = "") -> str:
        """Return the last value of a setting."""
        return (self.values.get(key) or [default])[-1]

    def names(self, *keys: str) -> list[str]:
        """Return the units that settings name."""
        return [name for key in keys for value in self.values.get(key, []) for name in value.split()]

    @property
    def requires(self) -> list[str]:
        """Return the services without which this one does not start, and with which it stops."""
        return [name for name in self.names("Requires", "BindsTo") if name.endswith(".service")]

    @property
    def wants(self) -> list[str]:
        """Return the services that are started with this one."""
        return [name for name in self.names("Wants") if name.endswith(".service")]

    @property
    def is_oneshot(self) -> bool:
        """Say whether the unit is active once its command has ended."""
        return self.one("Type", "simple") == "oneshot"

    @property
    def log(self) -> Path:
        """Where its output goes; systemd has a journal for it."""
        return STATE / f"{self.name}.log"

    def state(self) -> dict[str, object]:
        """Return what its supervisor noted, or that it is inactive."""
        with contextlib.suppress(OSError, ValueError):
            noted: dict[str, object] = json.loads((STATE / f"{self.name}.json").read_text())
            if noted["active"] in (INACTIVE, FAILED) or (noted["active"] == ACTIVE and not noted["supervisor"]):
                return noted
            if _is_alive(int(str(noted["supervisor"]))):
                return noted
        return {"active": INACTIVE, "sub": "dead", "pid": 0, "supervisor": 0, "restarts": 0}

    def note(self, active: str, sub: str, *, pid: int = 0, supervisor: int = 0, restarts: int = 0) -> None:
        """Write down where the unit stands, whole or not at all."""
        STATE.mkdir(exist_ok=True)
        noted = {"active": active, "sub": sub, "pid": pid, "supervisor": supervisor, "restarts": restarts}
        staged = STATE / f"{self.name}.{os.getpid()}"  # several may write: whoever stops it, and its supervisor
        staged.write_text(json.dumps(noted))
        staged.replace(STATE / f"{self.name}.json")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the unit against everybody else who starts or stops it."""
        STATE.mkdir(exist_ok=True)
        with (STATE / f"{self.name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)  # a supervisor that was forked here holds a copy of the handle


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def seconds(text: str) -> float:
    """Read a time as systemd writes it; `infinity` is a day."""
    if text == "infinity":
        return 86400.0
    for suffix, factor in (("ms", 0.001), ("min", 60.0), ("s", 1.0), ("h", 3600.0)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


# ------------------------------------------------------------------------------------------ verbs


def start(name: str, *, is_waited: bool = True) -> None:
    """Start a unit after everything it requires; return when it is active.

    Raises:
        UnitError: it or something it requires failed.
    """
    if name.endswith(".target"):
        for link in sorted((UNITS / f"{name}.wants").glob("*.service")):
            _start_apart(link.name)
        return
    unit = Unit(name)
    if unit.state()["active"] == ACTIVE:
        return
    if not is_waited:
        _start_apart(unit.name)
        return
    for wanted in unit.wants:
        with contextlib.suppress(UnitError):
            start(wanted)
    for required in unit.requires:
        try:
            start(required)
        except UnitError as error:
            raise UnitError(f"A dependency job for {unit.name} failed: {error}") from error
        _await(Unit(required))
    if all(Path(path.lstrip("!")).exists() is not path.startswith("!") for path in unit.names("ConditionPathExists")):
        with unit.locked():
            # Somebody else may have begun while the requirements were started: a unit has one job at a time.
            if unit.state()["active"] not in (ACTIVE, ACTIVATING):
                unit.note(ACTIVATING, "start-pre", supervisor=os.getpid())
                _fork_away(lambda: supervise(unit))
                while unit.state()["supervisor"] == os.getpid():
                    time.sleep(POLL_S)
        _await(unit)


def _await(unit: Unit) -> None:
    while (state := unit.state())["active"] == ACTIVATING:
        time.sleep(POLL_S)
    if state["active"] == FAILED:
        raise UnitError(f"Job for {unit.name} failed because the control process exited with error code.")


def _start_apart(name: str) -> None:
    """Start a unit in a process of its own, as an entry of the job queue would."""

    def job() -> None:
        with contextlib.suppress(UnitError):
            start(name)

    _fork_away(job)


def stop(name: str) -> list[str]:
    """Stop everything that requires a unit, then the unit; return what was active, the unit first."""
    unit = Unit(name)
    stopped: list[str] = []
    for other in _all_units():
        if unit.name in other.requires and other.state()["active"] in (ACTIVE, ACTIVATING):
            stopped += stop(other.name)
    with unit.locked():
        state = unit.state()
        supervisor = int(str(state["supervisor"]))
        if supervisor and _is_alive(supervisor):
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor, signal.SIGTERM)
            while _is_alive(supervisor):
                time.sleep(POLL_S)
        unit.note(INACTIVE, "dead")
    return [unit.name, *stopped] if state["active"] == ACTIVE else stopped


def restart(name: str) -> None:
    """Stop a unit and what requires it, and start them again."""
    for each in dict.fromkeys([Unit(name).name, *stop(name)]):
        start(each)


def reload(name: str) -> None:
    """Run ExecReload of an active unit."""
    unit = Unit(name)
    for line in unit.values.get("ExecReload", []):
        if _run(unit, line):
            raise UnitError(f"Job for {unit.name} failed: reload")


def enable(name: str, *, is_wanted: bool = True) -> None:
    """Link a unit to the targets that want it, or take the links away."""
    unit = Unit(name)
    for target in unit.names("WantedBy"):
        link = UNITS / f"{target}.wants" / unit.name
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        if is_wanted:
            link.symlink_to(unit.path)


def is_enabled(name: str) -> str:
    """Return `enabled`, `disabled`, or `static` for a unit that nobody can enable."""
    unit = Unit(name)
    targets = unit.names("WantedBy")
    if not targets:
        return "static"
    return "enabled" if all((UNITS / f"{t}.wants" / unit.name).is_symlink() for t in targets) else "disabled"


def show(name: str) -> str:
    """Return what the modules of Ansible read of a unit."""
    try:
        unit = Unit(name)
    except UnitError as error:
        if error.code != 5:
            raise
        return f"Id={name}\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n"
    state = unit.state()
    return (
        f"Id={unit.name}\nLoadState=loaded\nActiveState={state['active']}\nSubState={state['sub']}\n"
        f"MainPID={state['pid']}\nNRestarts={state['restarts']}\nUnitFileState={is_enabled(name)}\n"
    )


def _all_units() -> Iterator[Unit]:
    for path in sorted(UNITS.glob("*.service")):
        yield Unit(path.name)


# ------------------------------------------------------------------------------------------ one unit as a process


def _fork_away(job: object) -> None:
    """Run a job in a process that outlives this one."""
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.closerange(3, 256)
        os.chdir("/")
        job()  # type: ignore[operator]
    finally:
        os._exit(0)


class _Stop(Exception):
    """The unit is to stop."""


def supervise(unit: Unit) -> None:
    """Be systemd for one unit: run it, and start it again when it says so, until told to stop."""

    def told(*_: object) -> None:
        raise _Stop

    signal.signal(signal.SIGTERM, told)
    restarts = 0
    running: subprocess.Popen[bytes] | None = None
    me = os.getpid()
    try:
        while True:
            unit.note(ACTIVATING, "start-pre", supervisor=me, restarts=restarts)
            _make_folders(unit)
            code = next((code for line in unit.values.get("ExecStartPre", []) if (code := _run(unit, line))), 0)
            if not code and unit.is_oneshot:
                unit.note(ACTIVATING, "start", supervisor=me, restarts=restarts)
                code = next((code for line in unit.values["ExecStart"] if (code := _run(unit, line))), 0)
                if not code:
                    stays = unit.one("RemainAfterExit") == "yes"
                    unit.note(ACTIVE if stays else INACTIVE, "exited" if stays else "dead")
                    return
            elif not code:
                with _undisturbed():
                    running = _spawn(unit, unit.one("ExecStart"))
                unit.note(ACTIVE, "running", pid=running.pid, supervisor=me, restarts=restarts)
                code = running.wait()
                running = None
            again = unit.one("Restart", "no")
            if again != "always" and not (again == "on-failure" and code):
                unit.note(FAILED if code else INACTIVE, "failed" if code else "dead")
                return
            unit.note(ACTIVATING, "auto-restart", supervisor=me, restarts=restarts)
            time.sleep(seconds(unit.one("RestartSec", "100ms")))
            restarts += 1
    except _Stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(running, seconds(unit.one("TimeoutStopSec", "90s")))
        unit.note(INACTIVE, "dead")


def _end(running: subprocess.Popen[bytes] | None, within_s: float) -> None:
    if running is None:
        return
    running.terminate()
    try:
        running.wait(within_s)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def _make_folders(unit: Unit) -> None:
    """Make RuntimeDirectory and its like, owned by the unit's user."""
    user, group = _identity(unit)
    for kind, parent in FOLDERS.items():
        for name in unit.names(f"{kind}Directory"):
            path = Path(parent, name)
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, user, group)
            path.chmod(int(unit.one(f"{kind}DirectoryMode", "0755"), 8))


def _identity(unit: Unit) -> tuple[int, int]:
    user = pwd.getpwnam(unit.one("User", "root"))
    group = grp.getgrnam(unit.one("Group")).gr_gid if unit.one("Group") else user.pw_gid
    return user.pw_uid, group


def _spawn(unit: Unit, line: str) -> subprocess.Popen[bytes]:
    user, group = _identity(unit)
    said = [pair for value in unit.values.get("Environment", []) for pair in shlex.split(value)]
    env = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        **dict(pair.split("=", 1) for pair in said),
    }
    argv = shlex.split(line.lstrip("-+!@:"))
    with unit.log.open("ab") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            cwd=unit.one("WorkingDirectory", "/"),
            user=user,
            group=group,
            extra_groups=[],
            # The mask is inherited; one that was started undisturbed has to hear that it should end.
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}),
        )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let an order to stop wait until a process that is being started is known: nobody else would end it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _run(unit: Unit, line: str) -> int:
    """Run one command of a unit to its end; a line that begins with `-` may fail."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with _undisturbed():
            process = _spawn(unit, line)
        code = process.wait(seconds(unit.one("TimeoutStartSec", "90s")))
    except (subprocess.TimeoutExpired, _Stop) as error:
        if process is not None:
            process.kill()
            process.wait()
        if isinstance(error, _Stop):
            raise
        code = 124
    return 0 if line.startswith("-") else code


# ------------------------------------------------------------------------------------------ command line


def main(argv: Sequence[str]) -> int:
    """Do what systemctl would."""
    options = [word for word in argv if word.startswith("-")]
    verb, *units = [word for word in argv if not word.startswith("-")] or ["list-units"]
    is_waited = "--no-block" not in options
    for name in units or [""]:
        match verb:
            case "daemon-reload" | "reset-failed":
                for unit in _all_units():
                    del unit  # reading all of them is the check
            case "start":
                start(name, is_waited=is_waited)
            case "stop":
                stop(name)
            case "restart" | "try-restart":
                restart(name)
            case "reload":
                reload(name)
            case "enable" | "disable":
                enable(name, is_wanted=verb == "enable")
            case "is-enabled":
                print(is_enabled(name))
                return 0 if is_enabled(name) in ("enabled", "static") else 1
            case "is-active":
                print(active := str(Unit(name).state()["active"]))
                return 0 if active == ACTIVE else 3
            case "show":
                print(show(name), end="")
            case "list-unit-files" | "list-units":
                for unit in _all_units():
                    print(f"{unit.name} {is_enabled(unit.name)} {unit.state()['active']}")
            case _:
                raise UnitError(f"Unknown operation {verb}.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UnitError as failure:
        print(failure, file=sys.stderr)
        sys.exit(failure.code)
