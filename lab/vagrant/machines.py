"""Vagrant: machines booted a few at a time, found, and destroyed with everything they had."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.driver import LabError, Progress, checkout
from lab.topology import load
from lab.vagrant import patience
from lab.vagrant.place import Place
from lab.vagrant.way_in import Machine, machines_from

BOOT_LIMIT_S = {"kvm": 180.0, "tcg": 600.0}
HOW = {"kvm": "hardware virtualisation", "tcg": "software emulation"}
TOGETHER = {"kvm": 4, "tcg": 2}  # machines that boot side by side; more of them, emulated, would only be slower
VAGRANT_TIMEOUT_S = 300.0
PROBE_TIMEOUT_S = 30.0
CONSOLE_LINES = 6
BOOTED = re.compile(r"==> ([\w.-]+): Machine booted and ready!")


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines of one lab."""

    place: Place

    @property
    def provider(self) -> str:
        """Return what Vagrant makes machines with: libvirt, or what VAGRANT_DEFAULT_PROVIDER says."""
        return os.environ.get("VAGRANT_DEFAULT_PROVIDER") or "libvirt"

    def require_tools(self) -> None:
        """Refuse a machine that cannot make machines.

        Raises:
            LabError: Vagrant or what it needs is missing or does not answer; the text says what mends it.
        """
        if not shutil.which("vagrant"):
            raise LabError("this machine has no vagrant; next: apt-get install vagrant vagrant-libvirt qemu-system-x86")
        if self.provider == "libvirt" and not self._libvirt_answers():
            raise LabError(
                "libvirt does not answer; next: systemctl start libvirtd, or .ci/libvirt start where no systemd runs"
            )

    def require_ours(self) -> None:
        """Refuse to replace the machines of another checkout's lab of the same name.

        Raises:
            LabError: there are some; the text says where their lab is.
        """
        theirs = self._of_others(self._machine_names()) if self.provider == "libvirt" else {}
        for name, folder in sorted(theirs.items()):
            raise LabError(f"{name} is a machine of the lab in {folder}; end it there first: lab down")

    def accel(self) -> str:
        """Return how machines run here: kvm or tcg.

        Raises:
            LabError: it could not be found out.
        """
        return self._script("accel.sh", PROBE_TIMEOUT_S) if self.provider == "libvirt" else "kvm"

    def require_box(self, *, began: float, limit_s: float) -> Iterator[Progress]:
        """Have the box that machines start from; it is built when it is not there."""
        log = self.place.log("box")
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield from patience.follow(
                [str(checkout() / "lab/vagrant/make-box.sh")],
                log,
                at=lambda: "the box is made from Debian packages",
                began=began,
                limit_s=limit_s,
                cwd=checkout(),
                environment=os.environ,
            )
        except LabError as error:
            said = "\n".join(f"  {line}" for line in patience.last_lines(log, CONSOLE_LINES))
            raise LabError(f"{error}\n{said}", exit_code=error.exit_code) from None

    def boot(self, hosts: Sequence[str], accel: str, *, began: float) -> Iterator[Progress]:
        """Boot machines, a few at a time; ends when each answers ssh.

        Raises:
            LabError: one did not boot; the text names it and what its console said last.
        """
        (self.place.path / "console").mkdir(parents=True, exist_ok=True)
        together = int(os.environ.get("LAB_BOOT_TOGETHER") or TOGETHER[accel])
        for batch in batches(hosts, together):
            yield from self._boot(batch, accel, began=began)
            taken = time.monotonic() - began
            yield Progress(f"{', '.join(batch)} up ({HOW[accel]})", elapsed_s=taken)

    def _boot(self, hosts: Sequence[str], accel: str, *, began: float) -> Iterator[Progress]:
        limit_s = float(os.environ.get("LAB_BOOT_TIMEOUT") or BOOT_LIMIT_S[accel])
        log = self.place.log("vagrant")
        start = patience.size_of(log)

        def missing() -> list[str]:
            return [host for host in hosts if host not in BOOTED.findall(patience.text_since(log, start))] or list(
                hosts
            )

        try:
            yield from patience.follow(
                ["vagrant", "up", "--provider", self.provider, *hosts],
                log,
                at=lambda: f"{' and '.join(missing())} {'boots' if len(missing()) == 1 else 'boot'} with {HOW[accel]}",
                began=began,
                limit_s=limit_s,
                cwd=checkout(),
                environment=self._environment | {"LAB_VM_ACCEL": accel, "LAB_BOOT_TIMEOUT": str(int(limit_s))},
            )
        except LabError as error:
            raise LabError(f"{error}{self._said_of(missing())}", exit_code=error.exit_code) from None

    def _said_of(self, hosts: Sequence[str]) -> str:
        """Return the last words of machines that did not boot, and of Vagrant."""
        parts = {host: patience.last_lines(self.place.console(host), CONSOLE_LINES) for host in hosts}
        parts["vagrant"] = patience.last_lines(self.place.log("vagrant"), CONSOLE_LINES)
        return "".join(
            f"\n{name} said last:\n" + "\n".join(f"  {line}" for line in lines or ["nothing"])
            for name, lines in parts.items()
        )

    def found(self) -> list[Machine]:
        """Return where the running machines answer."""
        return machines_from(self._vagrant("ssh-config").stdout)

    def destroy(self, hosts: Sequence[str] = ()) -> None:
        """Destroy machines, all of them when none is named, also those that Vagrant has forgotten.

        Raises:
            LabError: something of them remains.
        """
        if self.place.dotfiles.exists():
            done = self._vagrant("destroy", "--force", *hosts)
            if done.returncode:
                raise LabError(f"destroying the machines: {(done.stderr or done.stdout).strip()[-1000:]}")
        if self.provider == "libvirt" and shutil.which("virsh") and self._libvirt_answers():
            self._sweep(hosts)

    def _sweep(self, hosts: Sequence[str]) -> None:
        """Take away what a crash in the middle of Vagrant's work left behind: by whole names, never more."""
        networks = {f"meshyard-{self.place.name}", f"meshyard-{self.place.name}-ssh"}
        wanted = self._machine_names(hosts)
        theirs = self._of_others(wanted)
        wanted -= set(theirs)
        for name in wanted.intersection(self._virsh("list", "--all", "--name").split()):
            self._virsh("destroy", name)
            self._virsh("undefine", name, "--managed-save", "--snapshots-metadata")
        for name in {f"{name}.img" for name in wanted}.intersection(self._virsh("vol-list", "default").split()):
            self._virsh("vol-delete", name, "default")
        if not hosts and not theirs:
            for network in sorted(networks.intersection(self._virsh("net-list", "--all", "--name").split())):
                self._virsh("net-destroy", network)
                self._virsh("net-undefine", network)

    def _of_others(self, names: Iterable[str]) -> dict[str, str]:
        """Return machine -> folder of its lab, of those of another checkout. Whose folder is gone is nobody's."""
        exist = set(names).intersection(self._virsh("list", "--all", "--name").split())
        folders = {name: Path(self._virsh("desc", name).strip()) for name in exist}
        ours = self.place.path.resolve()
        return {
            name: str(one)
            for name, one in folders.items()
            if one.is_absolute() and one.exists() and one.resolve() != ours
        }

    def _machine_names(self, hosts: Sequence[str] = ()) -> set[str]:
        """Return what libvirt calls the machines of some hosts, of all when none is named."""
        return {f"meshyard-{self.place.name}-{host}" for host in hosts or self._names()}

    def _names(self) -> list[str]:
        """Return the hosts that machines of this lab are or may be."""
        known = self.place.topology if self.place.topology.exists() else checkout() / "lab" / "topology.yaml"
        return list(load(known).hosts)

    @property
    def _environment(self) -> dict[str, str]:
        named = {"LAB_NAME": self.place.name, "LAB_HOSTS": "", "VAGRANT_DOTFILE_PATH": str(self.place.dotfiles)}
        return {**os.environ, **named, "VAGRANT_NO_COLOR": "1", "VAGRANT_CHECKPOINT_DISABLE": "1"}

    def _vagrant(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["vagrant", *arguments],
                cwd=checkout(),
                # What carries machines matters when they are made; else the Vagrantfile boots a kernel to find out.
                env={"LAB_VM_ACCEL": "tcg"} | self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=VAGRANT_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError:
            raise LabError("this machine has no vagrant; next: apt-get install vagrant vagrant-libvirt") from None
        except subprocess.TimeoutExpired:
            raise LabError(f"vagrant {arguments[0]}: not done after {VAGRANT_TIMEOUT_S:g} s", exit_code=124) from None

    def _libvirt_answers(self) -> bool:
        try:
            return self._run("virsh", "--quiet", "uri").returncode == 0
        except LabError:
            return False

    def _virsh(self, *arguments: str) -> str:
        return self._run("virsh", "--quiet", *arguments).stdout

    def _script(self, name: str, timeout_s: float) -> str:
        done = self._run(str(checkout() / "lab/vagrant" / name), timeout_s=timeout_s)
        if done.returncode:
            raise LabError(done.stderr.strip() or f"{name} failed")
        return done.stdout.strip()

    def _run(self, *argv: str, timeout_s: float = PROBE_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        environment = {"LIBVIRT_DEFAULT_URI": "qemu:///system", **os.environ}
        try:
            return subprocess.run(
                argv, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=checkout()
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise LabError(f"{argv[0]}: {error}") from None


def batches(hosts: Sequence[str], together: int) -> list[list[str]]:
    """Return the machines in the order in which they boot. Pure.

    The first one boots alone: it makes the networks, and the copy of the box that the others start from.
    """
    starts = [0, *range(1, len(hosts), together)] if hosts else []
    return [list(hosts[start : start + (together if start else 1)]) for start in starts]
