"""What the comparison of pairs makes of its measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.topology import Role, Sidecar
from mesh.config.load import load_text
from tests.bench import report
from tests.bench.load import Load
from tests.bench.pairs import run, world
from tests.bench.pairs.cases import SHORT, WHOLE, chosen
from tests.bench.pairs.run import ENVOY_AGAIN, ORDER, OURS, PYTHON, Measured

CASE = "closed loop, 16, 1k"


def measured(pair: str, number: int, rps: float, cpu_us: float) -> Measured:
    found = Load(int(rps), 1.0, 0, 0, 1.0, 2.0, 3.0, 4.0, 5.0)
    return Measured(CASE, pair, number, found, cpu_us, cpu_us / 2, cpu_us / 2)


def results(again: float = 1000, **ours: tuple[float, float]) -> list[Measured]:
    """Return what three rounds found; `ours` is pair -> requests a second and CPU; others are as Envoy."""
    told = {ENVOY_AGAIN: (again, 100), "direct": (9000, 0), **ours}
    return [measured(pair, number, *told.get(pair, (1000, 100))) for number in range(3) for pair in ORDER]


def test_everything_is_held_against_envoy_on_both_sides() -> None:
    compared = run.ratios(results(**{PYTHON: (1500, 70)}))[CASE]
    assert compared["is_quiet"]
    assert compared[PYTHON]["rps"]["value"] == 1.5
    assert compared[PYTHON]["cpu_us"]["value"] == 0.7
    assert "cpu_us" not in compared["direct"], "there is no sidecar that could cost anything"


def test_a_noisy_machine_is_told() -> None:
    found = results(1200)
    compared = run.ratios(found)
    assert not compared[CASE]["is_quiet"]
    assert f"no result, the machine was too noisy: {CASE}" in run.shown(found, compared)


@pytest.mark.parametrize(
    ("ours", "broken"),
    [
        pytest.param((1000, 100), 0, id="as good as Envoy"),
        pytest.param((200, 100), 1, id="far too few requests"),
        pytest.param((1000, 400), 1, id="far too much CPU"),
    ],
)
@pytest.mark.parametrize("pair", OURS)
def test_gates_are_loose_and_there(pair: str, ours: tuple[float, float], broken: int) -> None:
    assert len(run.broken_gates(run.ratios(results(**{pair: ours})))) == broken


def test_every_pair_has_its_row() -> None:
    found = results(**{PYTHON: (1500, 70)})
    table = run.shown(found, run.ratios(found))
    told = [line.split("|")[2].strip() for line in table.splitlines()[2:]]
    assert told == list(ORDER)


def test_a_short_run_measures_what_the_whole_one_measures() -> None:
    assert {case.id for case in SHORT.cases} <= {case.id for case in WHOLE.cases}


def test_the_topology_has_every_pair_and_two_hosts_without_a_mesh(tmp_path: Path) -> None:
    topology = world.topology(tmp_path)
    by_role = {name: (host.role, host.sidecar) for name, host in topology.hosts.items()}
    for plane in Sidecar:
        assert by_role[f"caller-{plane}"] == by_role[f"responder-{plane}"] == (Role.SERVICE, plane)
    assert len({host.address for host in topology.hosts.values()}) == len(topology.hosts)
    assert {pair.caller for pair in world.PAIRS.values()} <= set(topology.hosts)
    assert [host.role for host in topology.hosts.values()].count(Role.STRANGER) == 2


def test_what_the_services_write_is_right_and_has_a_hundred_intentions(tmp_path: Path) -> None:
    world.topology(tmp_path)
    for folder in tmp_path.iterdir():
        for path in folder.glob("*.hcl"):
            loaded = load_text(path.read_text(), str(path))
            if path.name == "intentions.hcl":
                (entry,) = loaded.entries
                assert len(entry.sources) == 100


def test_a_table_is_aligned() -> None:
    lines = report.table(("what", "n"), [("a", 1), ("longer", 1000)]).splitlines()
    assert lines == ["| what   |    n |", "| ------ | ---: |", "| a      |    1 |", "| longer | 1000 |"]


def test_cases_are_chosen_by_a_part_of_their_names() -> None:
    some = chosen(SHORT, ["128", "open loop, 1000"])
    assert [one.id for one in some.cases] == ["closed loop, 128, 1k", "open loop, 1000/s, 1k"]
    assert (some.rounds, some.seconds) == (SHORT.rounds, SHORT.seconds)
    assert chosen(WHOLE, ["nothing is called so"]).cases == ()
