"""Tables made from a change that is told are those made by looking at everything, and only what it touches is new."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.proxy.tables.compile import Compiler
from mesh.proxy.tables.kinds import Change
from mesh.proxy.tables.model import FilterChain, ProxyTables
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.fakes.sample_mesh import ORDER, PAYMENT
from tests.fakes.xds import HeldResource, held_by

CHANGES = st.lists(
    st.tuples(st.sampled_from([CLUSTER, ENDPOINTS, LISTENER, ROUTES]), st.integers(0, 5), st.sampled_from("+-*")),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(CHANGES)
def test_told_what_changed_it_makes_the_tables_of_everything_looked_at_anew(
    changes: list[tuple[str, int, str]],
) -> None:
    """Come, go and change in any order; the clusters that are said to be touched are those that are other objects."""
    whole = held_by(PAYMENT)
    held: dict[str, dict[str, HeldResource]] = {url: dict(resources) for url, resources in whole.items()}
    told, looking = Compiler(), Compiler()
    told.apply(held)
    looking.apply(held)
    for number, (url, which, what) in enumerate(changes):
        name = sorted(whole[url])[which % len(whole[url])]
        held = {one: dict(resources) for one, resources in held.items()}
        if what == "-":
            held[url].pop(name, None)
        else:
            version = whole[url][name].version if what == "+" else f"change {number}"
            held[url][name] = HeldResource(version, whole[url][name].body)
        for one, wanted in told.wanted.items():  # what nothing points at is not held, as with a client
            held[one] = {key: value for key, value in held[one].items() if key in wanted or (one, key) == (url, name)}
        before = told.tables
        after = told.apply(held, Change(url, frozenset({name})))
        expected = looking.apply(held)
        assert described(after) == described(expected)
        assert told.warming == looking.warming
        assert told.wanted == looking.wanted
        names = before.clusters.keys() | after.clusters.keys()
        assert after.touched is not None
        assert {one for one in names if before.clusters.get(one) is not after.clusters.get(one)} <= after.touched


def described(tables: ProxyTables) -> object:
    """Return what matters of tables, without functions, which are never equal."""
    chains = {
        (name, key): (chain.name, sorted(getattr(getattr(chain.app, "routes", None), "by_domain", ())))
        for name in tables.listeners
        for key, chain in chains_of(tables, name).items()
    }
    return dict(tables.clusters), chains


def chains_of(tables: ProxyTables, name: str) -> dict[object, FilterChain]:
    listener = tables.listeners[name]
    return {**listener.by_address_and_port, **listener.by_address, **listener.by_port}


def test_a_change_of_routes_touches_their_chain_and_no_other() -> None:
    compiler = Compiler()
    held = held_by(ORDER)
    before = compiler.apply(held)
    held[ROUTES]["payment-service"] = HeldResource("another version", held[ROUTES]["payment-service"].body)
    after = compiler.apply(held, Change(ROUTES, frozenset({"payment-service"})))
    had, has = chains_of(before, "outbound"), chains_of(after, "outbound")
    assert {chain.name for key, chain in had.items() if has[key] is not chain} == {"outbound_payment-service"}
    assert after.listeners["inbound"] is before.listeners["inbound"]
