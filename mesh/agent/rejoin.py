"""The secrets with which this host comes back after a restart: on disk before the control plane hears of them.

The control plane uses a secret up and installs the next in one step, but its answer can be lost on the way. So the
file holds every secret that the control plane may know, newest first: the one that is confirmed, and those that were
named in a call whose end nobody knows. They are presented newest first. The order matters: an older one that was used
up, presented again, looks like a stolen copy.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from mesh.agent.files import write_atomically
from mesh.ca.rejoin import SECRET_BYTES, digest_of, make_secret

log = logging.getLogger(__name__)

REJOIN_FILE = "rejoin.json"
MAX_HELD = 8
MAX_FILE_BYTES = 16 * 1024


class RejoinSecrets:
    """This host's secrets. Each step is on disk before it returns.

    Args:
        state_dir: where the file is.
        random: gives that many bytes that nobody can guess.
    """

    def __init__(self, state_dir: Path, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._path = state_dir / REJOIN_FILE
        self._random = random
        self._next = ""
        self.held: tuple[str, ...] = ()

    def load(self) -> None:
        """Take what an earlier life left; what others could read is not used, for they may have."""
        try:
            self.held = _read(self._path)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            told = {"path": str(self._path), "reason": str(error)}
            log.error("the rejoin secrets on disk are not used: this host needs a join token", extra=told)

    def prepare(self) -> str:
        """Return the digest of the next secret, which is on disk; the same one until a call has been sent with it.

        Raises:
            OSError: the disk is full, or the folder is not ours.
        """
        if not self._next:
            following = make_secret(self._random(SECRET_BYTES))
            self._write((following, *self.held))
            self._next = following
        return digest_of(self._next)

    def accepted(self) -> None:
        """The control plane has taken the next secret: it is the only one now.

        Raises:
            OSError: as `prepare`; the file then still holds the others, which costs nothing.
        """
        if self._next:
            self.held, self._next = (self._next,), ""
            self._write(self.held)

    def unsure(self) -> None:
        """The end of a call with the next secret is not known: both sides of it are possible."""
        if self._next:
            held = (self._next, *self.held)
            # The oldest is the one that was confirmed; those between have been refused as unknown many times.
            self.held = held if len(held) <= MAX_HELD else (*held[: MAX_HELD - 1], held[-1])
            self._next = ""

    def _write(self, held: tuple[str, ...]) -> None:
        write_atomically(self._path, json.dumps({"secrets": held}) + "\n", mode=0o600)


def _read(path: Path) -> tuple[str, ...]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, encoding="ascii") as file:
        found = os.fstat(descriptor)
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != os.geteuid() or mode & 0o077:
            raise ValueError(f"mode {mode:04o} and owner {found.st_uid}, right would be 0600 and {os.geteuid()}")
        document = json.loads(file.read(MAX_FILE_BYTES))
    held = document.get("secrets") if isinstance(document, dict) else None
    if not isinstance(held, list) or not all(isinstance(each, str) for each in held):
        raise ValueError("it is no list of secrets")
    return tuple(held[: MAX_HELD + 1])
