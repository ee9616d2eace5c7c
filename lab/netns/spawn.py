"""One unit as a process: fork, take every right away, run.

A unit whose code the lab has already imported is run in the fork itself: the process is then exactly what its
`argv` would have made of it, minus the second it takes to import. Everything else is exec'd.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
import traceback
from typing import NoReturn

from lab.netns.syscalls import PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_NO_NEW_PRIVS, prctl
from lab.units import Unit
from mesh.base import ports

LOG_DIR = "/var/log/mesh"
KEPT_ENV = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV")


def spawn(unit: Unit) -> int:
    """Start a unit; return its process id. Its output is appended to LOG_DIR/<unit>.log."""
    log = os.open(f"{LOG_DIR}/{unit.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    pid = os.fork()
    if pid:
        os.close(log)
        return pid
    code = 1
    try:
        _become(unit, log)
        code = _run(unit)
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:  # noqa: BLE001 - the last frame of a forked process: say it in its log and end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)  # noqa: T201 - what the interpreter does with exit("text")
    return 1


def _become(unit: Unit, log: int) -> None:
    """Turn this fork of the supervisor into a process that knows nothing of it."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.closerange(3, 4096)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, mode) for fd, mode in ((0, "r"), (1, "w"), (2, "w")))
    env = {key: value for key, value in os.environ.items() if key in KEPT_ENV} | dict(unit.env)
    os.environ.clear()
    os.environ.update(env)
    os.chdir("/")
    prctl(PR_SET_NAME, unit.name.encode()[:15])
    if unit.uid:
        os.setgroups([ports.GID_WORKLOAD] if unit.gid == ports.GID_WORKLOAD else [])
        os.setgid(unit.gid)
        os.setuid(unit.uid)
        # A process that changed its user cannot open its own /proc/self/fd until it says so; exec would do the same.
        prctl(PR_SET_DUMPABLE, 1)
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def _run(unit: Unit) -> int:
    if unit.entry:
        module, _, function = unit.entry.partition(":")
        call = getattr(importlib.import_module(module), function)
        sys.argv = list(unit.argv)
        arguments = unit.argv[1:] if module == "mesh.cli.main" else unit.argv[2:]
        return int(call(list(arguments)) or 0)
    if unit.script:
        _forget_the_mesh()
        sys.argv = list(unit.argv[1:])
        sys.path[0:0] = [os.path.dirname(unit.script)]
        runpy.run_path(unit.script, run_name="__main__")
        return 0
    return _replace_by(unit.argv)


def _replace_by(argv: tuple[str, ...]) -> NoReturn:
    os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted here


def _forget_the_mesh() -> None:
    """Leave an application a Python in which the mesh and the lab do not exist."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("mesh", "lab")]:
        del sys.modules[name]
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != checkout]
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
