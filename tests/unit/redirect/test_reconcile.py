"""From any state to the plan and back, without touching a rule of somebody else and without a leak in between."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.redirect.model import Family, RedirectPlan
from mesh.redirect.plan import rules_of
from mesh.redirect.reconcile import reconcile, remove
from mesh.redirect.verify import verify
from tests.fakes.iptables import KERNEL_CHAINS, FakeTables

PLAN = RedirectPlan("10.77.1.13", "10.77.1.2", (8080,))
FOREIGN = ("-p tcp -m tcp --dport 22 -j ACCEPT", "-d 127.0.0.11/32 -j DOCKER_OUTPUT", "-j LOG")
OURS = ("-j MESHYARD_OUTPUT", "-j MESHYARD_OLD", "-p tcp -j MESHYARD_INBOUND")


@st.composite
def messes(draw: st.DrawFn) -> FakeTables:
    """A host with rules of others, and whatever an older version or a dead run left behind."""
    tables = FakeTables()
    for table in KERNEL_CHAINS:
        for name in draw(st.sets(st.sampled_from(["MESHYARD_OUTPUT", "MESHYARD_OLD", "MESHYARD_INBOUND"]))):
            tables.chains[table][name] = draw(st.lists(st.sampled_from(FOREIGN), max_size=2))
        for chain in ("OUTPUT", "PREROUTING" if table != "filter" else "INPUT"):
            own = [text for text in OURS if text.split()[-1] in tables.chains[table]]
            tables.chains[table][chain] = draw(st.lists(st.sampled_from([*FOREIGN, *own]), max_size=4))
    return tables


def foreign(tables: FakeTables) -> dict[str, dict[str, list[str]]]:
    return {
        table: {
            chain: [text for text in texts if "MESHYARD_" not in text]
            for chain, texts in chains.items()
            if not chain.startswith("MESHYARD_")
        }
        for table, chains in tables.chains.items()
    }


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(tables=messes())
def test_any_host_reaches_the_plan_and_others_keep_their_rules(family: Family, tables: FakeTables) -> None:
    rules, before = rules_of(PLAN, family), foreign(tables)
    tables.restore(reconcile(rules, tables.saved()))
    assert verify(rules, tables.saved()) == ()
    assert foreign(tables) == before
    assert reconcile(rules, tables.saved()) == ""


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(tables=messes(), is_applied=st.booleans())
def test_remove_takes_exactly_ours_and_a_second_run_changes_nothing(tables: FakeTables, is_applied: bool) -> None:
    before = foreign(tables)
    if is_applied:
        tables.restore(reconcile(rules_of(PLAN, Family.V4), tables.saved()))
    tables.restore(remove(tables.saved()))
    assert tables.chains == before
    assert remove(tables.saved()) == ""


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(tables=messes(), commits=st.integers(1, 3))
def test_a_run_that_dies_leaves_the_host_closed_and_the_next_one_mends_it(tables: FakeTables, commits: int) -> None:
    rules, before = rules_of(PLAN, Family.V4), foreign(tables)
    tables.restore(reconcile(rules, tables.saved()), dies_after=commits)
    if verify(rules, tables.saved()):
        for chain in ("INPUT", "OUTPUT"):
            assert tables.chains["filter"][chain][0] == "-j MESHYARD_GUARD"
        assert tables.chains["filter"]["MESHYARD_GUARD"][-1] == "-j DROP"
    after_death = copy.deepcopy(tables)
    tables.restore(reconcile(rules, tables.saved()))
    assert verify(rules, tables.saved()) == ()
    after_death.restore(remove(after_death.saved()))
    assert after_death.chains == before


def test_a_host_as_planned_needs_no_text() -> None:
    tables = FakeTables()
    text = reconcile(rules_of(PLAN, Family.V4), tables.saved())
    tables.restore(text)
    assert tables.commits == ["filter", "mangle", "nat", "filter"]
    assert reconcile(rules_of(PLAN, Family.V4), tables.saved()) == ""
