"""What a host sees of the file system: the machine's programs, its own /etc, /run and state, nobody's home.

Nothing is written to the machine: every folder a host may write to is a tmpfs of its mount namespace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.netns.syscalls import MS_BIND, MS_NODEV, MS_NOSUID, MS_PRIVATE, MS_REC, mount
from lab.provision import HostFile

OVERLAID = ("/etc", "/var/lib", "/var/log")
# Where everybody may write: were it shared, a unix socket there would connect two hosts beside every network.
SCRATCH = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - covered by a tmpfs, nothing of the machine
REAL = "/run/real"


def make_private() -> None:
    """Keep every mount made from now on inside this mount namespace."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def tmpfs(path: str, mode: int = 0o755) -> None:
    """Lay an empty tmpfs over a folder."""
    mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode:o}")


def fresh_proc() -> None:
    """Show the processes of this PID namespace in /proc, and no others."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV)


def hide_homes(needed: Iterable[str]) -> None:
    """Make the folders in `needed` readable for every user of the lab, and hide what is private beside them.

    A checkout or an interpreter below a private home (mode 0700) cannot be reached by the lab's other users. The
    private folder is covered with an empty tmpfs and only what is needed is shown again at its old path.
    """
    wanted = [path for folder in needed for path in (os.path.abspath(folder), os.path.realpath(folder))]
    for private in sorted({folder for path in wanted if (folder := _first_private_parent(path))}):
        cover(private, wanted)


def cover(folder: str, needed: Iterable[str], mode: int = 0o755) -> None:
    """Lay an empty tmpfs over a folder, and show the folders in `needed` that lie below it again at their old path."""
    inside = sorted({path for path in needed if path.startswith(folder + "/") and Path(path).is_dir()})
    handles = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in inside}
    tmpfs(folder, mode)
    for path, handle in handles.items():
        if not Path(path).exists():
            Path(path).mkdir(parents=True)
            mount(f"/proc/self/fd/{handle}", path, flags=MS_BIND | MS_REC)
        os.close(handle)


def _first_private_parent(path: str) -> str:
    """Return the topmost folder above `path` that others may not enter, or an empty string."""
    for parent in reversed(Path(path).parents):
        if not parent.stat().st_mode & 0o001:
            return str(parent)
    return ""


def overlay(path: str) -> None:
    """Replace a folder by a writable tmpfs whose entries are links to the machine's own."""
    real = REAL + path
    os.makedirs(real, exist_ok=True)
    mount(path, real, flags=MS_BIND | MS_REC)
    entries = os.listdir(real)
    tmpfs(path)
    for entry in entries:
        os.symlink(f"{real}/{entry}", f"{path}/{entry}")


def furnish(files: Mapping[str, HostFile], dirs: Mapping[str, tuple[int, int]], needed: Iterable[str] = ()) -> None:
    """Give this mount namespace the face of one host: own /proc, /run, /tmp, /etc, state folders, files.

    Args:
        files: what to lay into it, by absolute path.
        dirs: the folders its processes write to: path -> (owner, mode).
        needed: the checkout and the interpreter, which stay visible also when they lie below /tmp or /run.
    """
    needed = tuple(needed)
    make_private()
    fresh_proc()
    cover("/run", needed)
    for path in SCRATCH:
        if Path(path).is_dir():
            cover(path, needed, 0o1777)
    for path in OVERLAID:
        overlay(path)
    for path, (owner, mode) in dirs.items():
        os.makedirs(path, exist_ok=True)
        os.chown(path, owner, owner)
        os.chmod(path, mode)
    for path, file in files.items():
        write_file(path, file)


def write_file(path: str, file: HostFile, *, root: str = "") -> None:
    """Write one file of a host, whole or not at all; `root` is the host's root when seen from outside."""
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    staged = f"{target}.new"
    with open(staged, "w") as handle:
        handle.write(file.content)
        os.fchmod(handle.fileno(), file.mode)
        os.fchown(handle.fileno(), file.uid, file.uid)
    os.replace(staged, target)
