"""What the driver writes down before it does something that can be cut short."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.driver import Progress
from lab.topology import load
from lab.vagrant.driver import VagrantDriver
from lab.vagrant.machines import Machines

ROOT = Path(__file__).parents[4]
TOPOLOGY = load(ROOT / "lab/topology.yaml")
RUNS = ("cp-1", "order-1")


class NoMachines(Machines):
    """Boots for ever, and notes what was to go."""

    def boot(self, hosts: Sequence[str], accel: str, *, began: float) -> Iterator[Progress]:
        while True:
            yield Progress(f"{hosts} boots, {accel}", elapsed_s=began)

    def destroy(self, hosts: Sequence[str] = ()) -> None:
        self.place.log("destroyed").write_text(" ".join(hosts))


def driver(folder: Path) -> VagrantDriver:
    made = VagrantDriver("trial", folder)
    made.machines = NoMachines(made.place)
    return made


def test_an_added_host_is_known_from_the_moment_it_boots_so_that_a_renewal_takes_it_away(tmp_path: Path) -> None:
    killed = driver(tmp_path)
    killed.place.path.mkdir(parents=True)
    killed.place.write_topology(TOPOLOGY.only(RUNS))
    killed.place.save({"accel": "tcg", "ports": {}, "added": []})
    with contextlib.closing(killed.add_host(TOPOLOGY.hosts["pulse-1"], timeout_s=60)) as adding:
        next(adding)  # whoever is killed here says nothing more
        next_one = driver(tmp_path)
        assert next_one.place.saved()["added"] == ["pulse-1"]
        next_one._remove(next_one.place.saved()["added"])
        assert next_one.place.log("destroyed").read_text() == "pulse-1"
        assert sorted(driver(tmp_path).hosts.topology.hosts) == sorted(RUNS)
        assert next_one.place.saved()["added"] == []
