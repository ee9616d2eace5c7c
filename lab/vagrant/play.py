"""Ansible: what is put onto machines that boot, told while it happens."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

from lab.driver import LabError, Progress, checkout
from lab.vagrant import patience
from lab.vagrant.place import Place

TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?:[\w.-]+ : )?(.*?)\] \**$", re.MULTILINE)
SAID_LINES = 12


def run(
    playbook: str,
    place: Place,
    *,
    hosts: Sequence[str] = (),
    began: float,
    limit_s: float,
    is_emulated: bool,
    log: str = "ansible",
) -> Generator[Progress]:
    """Run a playbook of ansible/ against the machines of a lab.

    Args:
        playbook: its file in ansible/.
        place: the lab.
        hosts: only these; empty for all.
        began: monotonic seconds; when the whole command began.
        limit_s: how long it may take.
        is_emulated: the machines are slow.
        log: where what it says goes.

    Raises:
        LabError: a task failed, or it took too long; with what Ansible said last.
    """
    folder, said = checkout() / "ansible", place.log(log)
    argv = [str(Path(sys.prefix) / "bin" / "ansible-playbook"), playbook]
    if hosts:
        argv += ["--limit", ",".join(hosts)]
    start = patience.size_of(said)
    try:
        yield from patience.follow(
            argv,
            said,
            at=lambda: f"ansible: {task_of(patience.text_since(said, start))}",
            began=began,
            limit_s=limit_s,
            cwd=folder,
            environment=environment_of(place) | (frugal() if is_emulated else {}),
        )
    except LabError as error:
        raise LabError(f"{error}\n{what_failed(patience.text_since(said, start))}", exit_code=error.exit_code) from None


def environment_of(place: Place) -> dict[str, str]:
    """Return Ansible's environment: this lab, and the connections that are open already."""
    return {
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "LAB": "vagrant",
        "LAB_NAME": place.name,
        "LAB_TOPOLOGY": str(place.topology),
        "ANSIBLE_CONFIG": str(checkout() / "ansible" / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        # Not its own connections: the configuration of the lab names the shared ones.
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto",
    }


def frugal() -> dict[str, str]:
    """Return what lets Ansible keep one Python on each host, instead of starting a new one for every task.

    A start with everything that a module imports costs an emulated machine seconds: docs/decisions/.
    """
    found = importlib.util.find_spec("ansible_mitogen")
    if found is None or found.origin is None:
        raise LabError("this checkout lacks mitogen; have it installed with: make bootstrap")
    return {
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(Path(found.origin).parent / "plugins" / "strategy"),
        "ANSIBLE_DEPRECATION_WARNINGS": "False",  # a strategy that is not Ansible's own is one; its version is pinned
    }


def task_of(log: str) -> str:
    """Return the task that Ansible is at. Pure."""
    names = TASK.findall(log)
    return names[-1] if names else "it starts"


def what_failed(log: str) -> str:
    """Return what Ansible said of the first task that failed, or its last lines. Pure."""
    lines = [line for line in log.splitlines() if line.strip()]
    fatal = next((number for number, line in enumerate(lines) if re.match(r"(fatal|\[ERROR\]|ERROR!)", line)), None)
    chosen = lines[-SAID_LINES:] if fatal is None else lines[fatal : fatal + SAID_LINES]
    return "\n".join(f"  {line[: patience.MAX_LINE]}" for line in chosen)
