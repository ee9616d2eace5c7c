"""Run the host's own programs (iptables, ip): with a deadline, and with words when one is missing."""

from __future__ import annotations

import subprocess

from mesh.base.errors import MeshError

TIMEOUT_S = 30.0


class ToolError(MeshError):
    """A program of the host failed; the host is left closed or as it was."""


def run(program: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit code.

    Raises:
        ToolError: it is not there, or did not end in time.
    """
    try:
        return subprocess.run(  # noqa: S603 fixed programs, fixed arguments
            [program, *arguments], input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"running {program}: {error}") from error


def read(program: str, *arguments: str) -> str:
    """Return what a program prints.

    Raises:
        ToolError: as `run`, or it failed.
    """
    done = run(program, *arguments)
    if done.returncode:
        raise ToolError(f"running {program} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
