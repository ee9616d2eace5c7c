"""What each spelling of a name means."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.agent.names import Answer, NameTable, Outcome, Zone, answer, from_text, to_text
from mesh.base.errors import RemoteProtocolError

TABLE = NameTable(7, {"payment-service": "240.0.0.3", "ledger-service": "240.0.0.2"})
ZONE = Zone("production", "dominos.internal", "east")
FOUND = Answer(Outcome.ADDRESS, "240.0.0.3")


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        pytest.param("payment-service", Outcome.ADDRESS, id="as applications write it"),
        pytest.param("Payment-Service.", Outcome.ADDRESS, id="any case, and the final dot"),
        pytest.param("payment-service.production", Outcome.ADDRESS, id="with the namespace"),
        pytest.param("payment-service.virtual.consul", Outcome.ADDRESS, id="Consul's virtual name"),
        pytest.param("payment-service.service.consul", Outcome.ADDRESS, id="Consul's service name"),
        pytest.param("payment-service.production.virtual.consul", Outcome.ADDRESS, id="with namespace and kind"),
        pytest.param("payment-service.service.east.consul", Outcome.ADDRESS, id="with the datacenter"),
        pytest.param("payment-service.production.dominos.internal", Outcome.ADDRESS, id="written out"),
        pytest.param("refund-service", Outcome.UNKNOWN, id="a service that is none"),
        pytest.param("refund-service.virtual.consul", Outcome.UNKNOWN, id="the same in Consul's words"),
        pytest.param("payment-service.node.consul", Outcome.UNKNOWN, id="a kind we do not have"),
        pytest.param("a.b.dominos.internal", Outcome.UNKNOWN, id="something under our trust domain"),
        pytest.param("consul", Outcome.UNKNOWN, id="a suffix alone"),
        pytest.param("payment-service.staging", Outcome.REFUSED, id="another namespace is not ours to answer"),
        pytest.param("example.com", Outcome.REFUSED, id="the world"),
        pytest.param("payment-service.production.dominos.internal.example.com", Outcome.REFUSED, id="ours as a prefix"),
        pytest.param("", Outcome.UNKNOWN, id="the root"),
    ],
)
def test_names(name: str, outcome: Outcome) -> None:
    assert answer(TABLE, ZONE, name, is_a=True).outcome is outcome


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        pytest.param("example.com", Outcome.FOREIGN, id="the world"),
        pytest.param("ledger-1", Outcome.FOREIGN, id="a neighbour that is no service, such as a container"),
        pytest.param("payment-1.compose", Outcome.FOREIGN, id="a neighbour with a suffix"),
        pytest.param("1.1.77.10.in-addr.arpa", Outcome.FOREIGN, id="whose address is this"),
        pytest.param("payment-service", Outcome.ADDRESS, id="a service"),
        pytest.param("payment-service.lan", Outcome.UNKNOWN, id="a service, with what a search line added"),
        pytest.param("Payment-Service.LAN.", Outcome.UNKNOWN, id="the same, loudly"),
        pytest.param("payment-service.staging", Outcome.UNKNOWN, id="a service in another namespace"),
        pytest.param("refund-service.production", Outcome.UNKNOWN, id="under our namespace"),
        pytest.param("refund-service.virtual.consul", Outcome.UNKNOWN, id="under Consul's"),
        pytest.param("x.dominos.internal", Outcome.UNKNOWN, id="under the trust domain"),
        pytest.param("dominos.internal", Outcome.REFUSED, id="the trust domain"),
        pytest.param("control-plane.mesh", Outcome.REFUSED, id="the control plane"),
        pytest.param("mesh", Outcome.UNKNOWN, id="the mesh's own suffix"),
        pytest.param("consul", Outcome.UNKNOWN, id="Consul's own suffix"),
        pytest.param("3.0.0.240.in-addr.arpa", Outcome.REFUSED, id="whose virtual address is this"),
        pytest.param("", Outcome.UNKNOWN, id="the root"),
    ],
)
def test_what_is_forwarded_and_what_never(name: str, outcome: Outcome) -> None:
    assert answer(TABLE, ZONE, name, is_a=True, forwards=True).outcome is outcome
    assert answer(TABLE, ZONE, name, is_a=True).outcome is not Outcome.FOREIGN


@given(st.sampled_from(sorted(TABLE.addresses)), st.lists(st.from_regex(r"[a-z0-9-]{1,9}", fullmatch=True), max_size=5))
def test_no_name_that_begins_with_a_service_is_ever_forwarded(service: str, rest: list[str]) -> None:
    found = answer(TABLE, ZONE, ".".join([service, *rest]), is_a=True, forwards=True)
    assert found.outcome is not Outcome.FOREIGN


def test_before_the_first_table_one_label_may_be_a_service_and_stays_here() -> None:
    assert answer(None, ZONE, "ledger-1", is_a=True, forwards=True) == Answer(Outcome.NOT_YET)
    assert answer(None, ZONE, "packages.example.org", is_a=True, forwards=True) == Answer(Outcome.FOREIGN)


def test_other_types_exist_without_records() -> None:
    assert answer(TABLE, ZONE, "payment-service", is_a=False) == Answer(Outcome.EMPTY)
    assert answer(TABLE, ZONE, "refund-service", is_a=False) == Answer(Outcome.UNKNOWN)


def test_before_the_first_table_nothing_is_denied() -> None:
    assert answer(None, ZONE, "payment-service", is_a=True) == Answer(Outcome.NOT_YET)
    assert answer(None, ZONE, "example.com", is_a=True) == Answer(Outcome.REFUSED)


@pytest.mark.parametrize(
    "names", [{"Payment": "240.0.0.1"}, {"payment": "240.0.0"}, {"payment": "::1"}, {"a.b": "1.2.3.4"}]
)
def test_a_table_with_a_wrong_row_is_refused(names: dict[str, str]) -> None:
    with pytest.raises(RemoteProtocolError, match="reading names"):
        NameTable(1, names)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"index": 1}', '{"index": "x", "names": {}}', '{"index":1,"names":[]}']
)
def test_a_file_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        from_text(text)


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
tables = st.builds(NameTable, st.integers(0, 10**9), st.dictionaries(labels, st.ip_addresses(v=4).map(str), max_size=5))


@settings(max_examples=25, deadline=None)
@given(tables)
def test_a_table_survives_the_disk(table: NameTable) -> None:
    assert from_text(to_text(table)) == table


@settings(max_examples=25, deadline=None)
@given(tables, st.text(max_size=40))
def test_an_address_is_never_made_up(table: NameTable, name: str) -> None:
    found = answer(table, ZONE, name, is_a=True)
    assert found.address in {*table.addresses.values(), ""}
