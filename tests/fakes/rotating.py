"""A control plane's root with nothing around it: real keys, a real store on disk, a clock that is told the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from mesh.controlplane import records as r
from mesh.controlplane.acknowledgements import Acknowledgements
from mesh.controlplane.authorities import open_authorities
from mesh.controlplane.proxies import Proxies
from mesh.controlplane.rotation import RootRotation
from mesh.controlplane.settings import ControlPlaneSettings
from mesh.controlplane.state import MeshState
from mesh.controlplane.store import Store
from mesh.controlplane.writer import Plan, Writer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class ToldClock:
    """A clock that stands still until it is told another time."""

    now: datetime = NOW

    def utcnow(self) -> datetime:
        return self.now

    def epoch_s(self) -> float:
        return self.now.timestamp()

    def monotonic(self) -> float:
        return (self.now - NOW).total_seconds()


class RotatingRoot:
    """The root of one data folder; `start` is what a control plane does at its start, `crash` ends it anywhere."""

    def __init__(self, folder: Path, **settings: object) -> None:
        values = {"datacenter": "east", "datacenters": ["east", "west"], "address": "10.0.0.1", "data_dir": folder}
        self.settings = ControlPlaneSettings.model_validate({**values, **settings})
        self.clock = ToldClock()
        self.said = Acknowledgements()
        self.serial = 0
        self._store: Store | None = None

    async def start(self) -> None:
        """Open the store and the keys."""
        self.settings.data_dir.mkdir(mode=0o700, exist_ok=True)
        self._store = Store(self.settings.data_dir / "state.db")
        state = MeshState()
        index, found = self._store.load()
        if index:
            state.apply(index, found)
        opened = open_authorities(self.settings, state.authorities, state.rotation, now=self.clock.now)
        self.writer = Writer(self._store, state)
        self.rotation = RootRotation(self.settings, opened, self.writer, self.said, Proxies(), self.clock, Random(1))
        await self.writer.write(lambda state: Plan(opened.records, None))

    def crash(self) -> None:
        """Forget everything that is not on disk."""
        if self._store is not None:
            self._store.close()
        self._store, self.said = None, Acknowledgements()

    async def issue(self, host: str, *, life: timedelta = timedelta(hours=24)) -> int:
        """Note a certificate of a host below the root that signs; return its serial number."""
        self.serial += 1
        generation = self.writer.state.rotation.current
        issued = r.IssuedCertificate(self.serial, f"{host}-service", host, "east", self.clock.now + life, generation)
        await self.writer.write(lambda state: Plan([r.issued_record(issued)], None))
        return self.serial

    def acknowledge(self, host: str, serial: int) -> None:
        """Have a host say that it holds the present roots and a certificate, and its sidecar too."""
        digest = self.rotation.authority.bundle.digest
        self.said.note(host, digest=digest, serial=serial, holders=1, behind=0)

    def files(self) -> set[str]:
        """Return every file below the folder of the keys."""
        ca = self.settings.data_dir / "ca"
        return {str(path.relative_to(ca)) for path in ca.rglob("*") if path.is_file()}
