"""Ansible's way onto a host of the lab on namespaces: the lab's own `exec`, with files over standard input."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleFileNotFound

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
    name: lab
    short_description: run tasks on hosts of a Meshyard lab
    description:
        - Runs commands as root on a host of a lab on network namespaces, through the lab's driver.
    author: Meshyard
    options:
        lab_name:
            description: Which lab the host is in.
            default: default
            env: [{name: LAB_NAME}]
            vars: [{name: ansible_lab_name}]
        host:
            description: The host's name in the topology; of a delegated task, the host that it is delegated to.
            default: inventory_hostname
            vars: [{name: inventory_hostname}, {name: ansible_host}]
    extends_documentation_fragment:
        - connection_pipelining
"""

COMMAND_TIMEOUT_S = 900.0


class Connection(ConnectionBase):
    """One host of the lab; nothing is kept open between tasks."""

    transport = "lab"
    has_pipelining = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        checkout = str(Path(__file__).resolve().parents[3])
        if checkout not in sys.path:
            sys.path.insert(0, checkout)
        self._driver: Any = None

    def _connect(self) -> Connection:
        if self._driver is None:
            from lab.netns.driver import NetnsDriver

            self._driver = NetnsDriver(self.get_option("lab_name"))
            self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command line on the host as root."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(["/bin/sh", "-c", cmd], in_data or b"")

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file to the host."""
        super().put_file(in_path, out_path)
        if not Path(in_path).exists():
            raise AnsibleFileNotFound(f"no file {in_path}")
        line = f"cat > {shlex.quote(out_path)}"
        code, _, errors = self._run(["/bin/sh", "-c", line], Path(in_path).read_bytes())
        if code:
            raise AnsibleConnectionFailure(f"writing {out_path}: {errors.decode(errors='replace')}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the host."""
        super().fetch_file(in_path, out_path)
        code, found, errors = self._run(["cat", in_path], b"")
        if code:
            raise AnsibleConnectionFailure(f"reading {in_path}: {errors.decode(errors='replace')}")
        Path(out_path).write_bytes(found)

    def close(self) -> None:
        """Nothing is open."""
        self._connected = False

    def _run(self, argv: list[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        from lab.driver import LabError

        self._connect()
        try:
            command = self._driver.command_for(self.get_option("host"), argv, user="root")
            done = subprocess.run(  # noqa: S603 - the lab's own way in
                command, input=stdin, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
            )
        except LabError as error:
            raise AnsibleConnectionFailure(str(error)) from error
        except subprocess.TimeoutExpired as error:
            raise AnsibleConnectionFailure(f"a command took longer than {COMMAND_TIMEOUT_S:g} s") from error
        return done.returncode, done.stdout, done.stderr
