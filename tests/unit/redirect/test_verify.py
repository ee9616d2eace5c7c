"""Each way a host can differ from its plan is found and named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mesh.redirect.model import Family, RedirectPlan
from mesh.redirect.plan import rules_of
from mesh.redirect.render import render
from mesh.redirect.verify import Fault, verify
from tests.fakes.iptables import FakeTables

RULES = rules_of(RedirectPlan("10.77.1.13", "10.77.1.2", (8080,)), Family.V4)
Damage = Callable[[FakeTables], object]


def host() -> FakeTables:
    tables = FakeTables()
    tables.restore(render(RULES))
    return tables


def swap(tables: FakeTables) -> None:
    chain = tables.chains["nat"]["MESHYARD_OUTPUT"]
    chain[2], chain[3] = chain[3], chain[2]


@pytest.mark.parametrize(
    ("damage", "faults"),
    [
        pytest.param(lambda t: None, [], id="nothing"),
        pytest.param(lambda t: t.chains["nat"]["OUTPUT"].clear(), [Fault.MISSING], id="an entry is gone"),
        pytest.param(lambda t: t.chains["nat"]["MESHYARD_OUTPUT"].pop(), [Fault.MISSING], id="a rule is gone"),
        pytest.param(
            lambda t: t.chains["filter"]["MESHYARD_EGRESS"].insert(0, "-j ACCEPT"), [Fault.EXTRA], id="one more"
        ),
        pytest.param(
            lambda t: t.chains["nat"]["MESHYARD_OUTPUT"].append(t.chains["nat"]["MESHYARD_OUTPUT"][-1]),
            [Fault.EXTRA],
            id="a rule stands twice",
        ),
        pytest.param(swap, [Fault.ORDER], id="two rules changed places"),
        pytest.param(
            lambda t: t.chains["nat"]["OUTPUT"].insert(0, "-d 127.0.0.11/32 -j DOCKER_OUTPUT"),
            [Fault.FOREIGN_FIRST],
            id="Docker's rule comes first",
        ),
        pytest.param(
            lambda t: t.chains["nat"]["OUTPUT"].append("-d 127.0.0.11/32 -j DOCKER_OUTPUT"),
            [],
            id="Docker's comes later",
        ),
        pytest.param(
            lambda t: t.chains["nat"]["OUTPUT"].append("-j MESHYARD_OUTPUT"), [Fault.EXTRA], id="an entry stands twice"
        ),
        pytest.param(
            lambda t: t.chains["nat"].update(MESHYARD_OLD=[]), [Fault.EXTRA], id="a chain of an older version"
        ),
        pytest.param(
            lambda t: t.chains["filter"]["FORWARD"].append("-j MESHYARD_EGRESS"), [Fault.EXTRA], id="a strange entry"
        ),
    ],
)
def test_damage_is_found(damage: Damage, faults: list[Fault]) -> None:
    tables = host()
    damage(tables)
    assert [finding.fault for finding in verify(RULES, tables.saved())] == faults


def test_on_an_untouched_host_everything_is_missing() -> None:
    assert len(verify(RULES, FakeTables().saved())) == len(RULES)
