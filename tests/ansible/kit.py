"""Bare hosts for the roles, and playbooks run against them.

A bare host is a host of a lab on namespaces that runs nothing: a stranger. Its files are its own (the machine's are
there to read only), it has no users of the mesh, and a stand-in for systemctl (tests/fakes/systemctl.py). The lab needs
one host with the role control-plane; it is called `spare` and nobody talks to it. Ansible is given another topology, in
which the same hosts have their real roles.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ruamel.yaml import YAML

from lab.driver import Completed, checkout
from lab.netns.driver import NetnsDriver
from lab.payload import LISTS, sources_of
from lab.topology import load

PLAYBOOK_TIMEOUT_S = 900.0  # a minute or two; a machine with other work takes many times that
END_TIMEOUT_S = 10.0  # for Ansible to end its own children once it is told to end
TAIL_CHARS = 4000
BARE_USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
SPARE = "spare"

# Run on a host as root: after it nothing that a role writes lands on the machine.
MAKE_BARE = """
import os, shutil, subprocess, sys
from pathlib import Path
from lab.netns import mounts
needed = [path for path in sys.argv[1].split(":")]
for folder in ("/opt", "/root", "/srv", "/usr/local/sbin", "/var/cache"):
    mounts.cover(folder, needed)
for name, text in {"passwd": %(users)r, "group": "root:x:0:\\nnogroup:x:65534:\\n", "shadow": "", "gshadow": "",
                   "subuid": "", "subgid": ""}.items():
    path = Path("/etc", name)
    path.unlink(missing_ok=True)
    path.write_text(text)
for lock in (".pwd.lock", "passwd-", "group-", "shadow-", "gshadow-", "systemd"):
    Path("/etc", lock).unlink(missing_ok=True)
Path("/etc/systemd/system").mkdir(parents=True)
Path("/run/systemd/system").mkdir(parents=True)
for real in ("/run/real/etc", "/run/real/var/lib", "/run/real/var/log", "/"):
    subprocess.run(["mount", "-o", "remount,bind,ro", real], check=os.geteuid() == 0 and sys.argv[2] == "root")
stand_in = Path("/usr/local/sbin/systemctl")
stand_in.write_text(f"#!{sys.argv[3]}\\n" + sys.stdin.read())
stand_in.chmod(0o755)
"""


@dataclass(frozen=True, slots=True)
class Play:
    """What a run of a playbook gave."""

    exit_code: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """Return the last lines by host: ok, changed, unreachable, failed, ..."""
        lines = self.output.partition("PLAY RECAP")[2].splitlines()
        found = (re.match(r"(\S+)\s+: (.+)", line) for line in lines)
        return {m[1]: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", m[2])} for m in found if m}

    @property
    def changed(self) -> dict[str, list[str]]:
        """Return the tasks that changed a host, by host."""
        changed: dict[str, list[str]] = {}
        task = ""
        for line in self.output.splitlines():
            if named := re.match(r"(?:TASK|RUNNING HANDLER) \[(.+)\]", line):
                task = named[1]
            elif told := re.match(r"changed: \[([\w-]+)", line):
                changed.setdefault(told[1], []).append(task)
        return changed


class BareLab:
    """Bare hosts, and Ansible's way to them.

    Args:
        name: of the lab.
        hosts: the hosts of lab/topology.yaml to make.
        folder: for files of this test.
    """

    def __init__(self, name: str, hosts: Sequence[str], folder: Path) -> None:
        self.driver = NetnsDriver(name)
        self.name = name
        self.folder = folder
        self.hosts = tuple(hosts)
        self.project = project_of(checkout(), folder / "project")
        self.cache = checkout() / ".lab" / "cache" / "wheels"
        self.topology = folder / "topology.yaml"

    def up(self) -> None:
        """Make the hosts, bare."""
        yaml = YAML()
        raw = yaml.load((checkout() / "lab" / "topology.yaml").read_text())
        raw["hosts"] = {name: spec for name, spec in raw["hosts"].items() if name in self.hosts}
        with self.topology.open("w") as handle:
            yaml.dump(raw, handle)
        for spec in raw["hosts"].values():
            spec["role"] = "stranger"
            spec.pop("service", None)
            spec.pop("publish", None)
        raw["hosts"][SPARE] = {"datacenter": "east", "address": "10.77.1.250", "role": "control-plane"}
        bare = self.folder / "bare.yaml"
        with bare.open("w") as handle:
            yaml.dump(raw, handle)
        for _ in self.driver.up(load(bare), timeout_s=60):
            pass
        for host in self.hosts:
            self._make_bare(host)

    def _make_bare(self, host: str) -> None:
        needed = ":".join([str(checkout()), sys.prefix, sys.base_prefix])
        who = "root" if os.geteuid() == 0 else "user"
        argv = ["env", f"PYTHONPATH={checkout()}", sys.executable, "-c", MAKE_BARE % {"users": BARE_USERS}]
        stand_in = (checkout() / "tests" / "fakes" / "systemctl.py").read_text()
        done = self.driver.run(host, [*argv, needed, who, interpreter()], user="root", stdin=stand_in)
        assert done.exit_code == 0, done.stderr

    def down(self) -> None:
        """End the hosts."""
        self.driver.down()
        (checkout() / ".lab" / f"{self.name}.lock").unlink(missing_ok=True)

    def play(self, playbook: str, *argv: str, project: Path | None = None, **variables: Any) -> Play:
        """Run a playbook of ansible/ to its end."""
        log = self.folder / f"{Path(playbook).stem}.log"
        # A file and not a pipe: what was said is there also when the run has to be ended.
        with log.open("w") as told, self._playing(told, playbook, *argv, project=project, **variables) as process:
            try:
                process.wait(PLAYBOOK_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                _end(process)
                raise AssertionError(_where_it_hung(playbook, log.read_text(errors="replace"))) from None
        return Play(process.returncode, log.read_text(errors="replace"))

    def _playing(
        self, told: IO[str], playbook: str, *argv: str, project: Path | None = None, **variables: Any
    ) -> subprocess.Popen[bytes]:
        """Start a playbook whose output goes to a file; the caller waits for it."""
        said = {
            "base_manage_packages": False,  # the machine's packages are the host's
            "ansible_python_interpreter": interpreter(),
            "mesh_package_project": str(project or self.project),
            "mesh_package_cache": str(self.cache),
            "demo_service_cache": str(self.cache),
            **variables,
        }
        ansible = Path(sys.prefix) / "bin" / "ansible-playbook"
        return subprocess.Popen(
            [str(ansible), playbook, "-e", json.dumps(said), *argv],
            cwd=checkout() / "ansible",
            env={
                **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
                "LAB_NAME": self.name,
                "LAB": "netns",
                "LAB_TOPOLOGY": str(self.topology),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"),
                "ANSIBLE_CONFIG": str(checkout() / "ansible" / "ansible.cfg"),
                "PYTHONPATH": str(checkout()),
            },
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
        )

    def run(self, host: str, *argv: str, user: str = "root", stdin: str = "", timeout_s: float = 30.0) -> Completed:
        """Run a command on a host."""
        return self.driver.run(host, list(argv), user=user, stdin=stdin, timeout_s=timeout_s)

    def mesh(self, *argv: str) -> Any:
        """Run `mesh` on the control plane's host, as its operator; return its JSON."""
        done = self.run("cp-1", "/opt/meshyard/bin/mesh", "--output", "json", *argv)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    def said(self) -> Iterator[str]:
        """Yield the last that every unit of every host said, for a test that failed."""
        for host in self.hosts:
            done = self.run(host, "sh", "-c", "tail -n 5 /run/systemctl-stand-in/*.log; systemctl list-units")
            yield f"== {host}\n{done.stdout}{done.stderr}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _where_it_hung(playbook: str, output: str) -> str:
    """Return the task that did not end, and what was said last."""
    tasks = re.findall(r"^(?:TASK|RUNNING HANDLER) \[.+\]", output, re.MULTILINE)
    at = tasks[-1] if tasks else "its beginning"
    return f"{playbook} took more than {PLAYBOOK_TIMEOUT_S:g} s, it was at {at}\n{output[-TAIL_CHARS:]}"


def interpreter() -> str:
    """Return the Python of the hosts: the one that this checkout's virtual environment was made with."""
    return str(Path(sys.executable).resolve())


def project_of(source: Path, target: Path, changes: Mapping[str, str] | None = None) -> Path:
    """Copy what the mesh is built from, so that nobody's edits reach the hosts of a test half way through.

    Args:
        source: a checkout.
        target: a folder that is not there yet.
        changes: path below the project -> text that is appended to the file.
    """
    for name, content in sources_of(source):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (target / "requirements").mkdir()
    for name in LISTS.values():
        shutil.copy(source / "requirements" / name, target / "requirements")
    for name, text in (changes or {}).items():
        with (target / name).open("a") as handle:
            handle.write(text)
    return target
