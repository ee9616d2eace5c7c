"""Every way to change the mesh: what it does, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.base.errors import ConfigError, ConfigErrors, IdentityError, LocalProtocolError
from mesh.controlplane import commands
from mesh.controlplane.errors import ConflictError, NotFoundError
from mesh.controlplane.records import IssuedCertificate
from mesh.controlplane.state import MeshState
from mesh.registry.health import CheckStatus
from tests.fakes.mesh_state import StateDriver

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HTTP = 'Kind = "service-defaults"\nName = "{0}"\nProtocol = "http"\n'
ALLOW = (
    'Kind = "service-intentions"\nName = "payment-service"\nSources = [{ Name = "order-service" Action = "allow" }]\n'
)
ROUTER = (
    'Kind = "service-router"\nName = "payment-service"\n'
    'Routes = [{ Match { HTTP { PathPrefix = "/v2" } } Destination { Service = "payment-v2" } }]\n'
)


def token_for(driver: StateDriver, *, datacenter: str = "", ttl: timedelta = timedelta(hours=1)) -> str:
    text, _ = driver.run(
        lambda state: commands.create_token(
            state, service="a", host="a-1", datacenter=datacenter, ttl=ttl, now=NOW, secret=bytes(32)
        )
    )
    return text


def test_a_service_gets_its_name_with_its_first_instance_and_keeps_it_while_an_entry_names_it() -> None:
    driver = StateDriver()
    instance = driver.register("payment-service", "payment-1")
    driver.write(ALLOW)
    assert driver.state.catalog.names() == {"payment-service": "240.0.0.1"}
    driver.run(lambda state: commands.deregister(state, instance.id))
    assert driver.state.catalog.names() == {"payment-service": "240.0.0.1"}
    driver.run(lambda state: commands.delete_entry(state, "service-intentions", "payment-service"))
    assert driver.state.catalog.names() == {}


def test_a_freed_address_goes_to_the_next_service_in_the_same_step_at_the_earliest() -> None:
    driver = StateDriver()
    gone = driver.register("a", "a-1")
    driver.run(lambda state: commands.deregister(state, gone.id))
    driver.register("b", "b-1")
    assert driver.state.catalog.names() == {"b": "240.0.0.1"}


def test_a_declared_service_has_a_name_before_it_has_an_instance() -> None:
    driver = StateDriver()
    driver.write(HTTP.format("payment-service"))
    assert driver.state.catalog.virtual_ip("payment-service") == "240.0.0.1"


def test_writing_the_same_again_is_no_step() -> None:
    driver = StateDriver()
    driver.write(ALLOW)
    index = driver.state.index
    driver.write(ALLOW)
    assert driver.state.index == index


def test_a_dangling_route_is_refused_with_its_line_and_nothing_changes() -> None:
    driver = StateDriver()
    driver.write(HTTP.format("payment-service"))
    index = driver.state.index
    with pytest.raises(ConfigError, match="payment-v2") as refused:
        driver.write(ROUTER, "router.hcl")
    assert refused.value.at is not None
    assert (refused.value.at.path, refused.value.at.line) == ("router.hcl", 3)
    assert refused.value.source_line.startswith("Routes")
    assert driver.state.index == index


def test_what_a_route_needs_cannot_be_deleted() -> None:
    driver = StateDriver()
    driver.write(HTTP.format("payment-service"))
    driver.write(HTTP.format("payment-v2"))
    driver.write(ROUTER)
    with pytest.raises(ConflictError, match="still needs"):
        driver.run(lambda state: commands.delete_entry(state, "service-defaults", "payment-v2"))
    driver.run(lambda state: commands.delete_entry(state, "service-router", "payment-service"))
    driver.run(lambda state: commands.delete_entry(state, "service-defaults", "payment-v2"))


def test_a_declaration_that_a_route_needs_stays_though_everything_speaks_http() -> None:
    driver = StateDriver()
    driver.write('Kind = "proxy-defaults"\nName = "global"\nConfig { protocol = "http" }\n')
    driver.write(HTTP.format("payment-v2"))
    driver.write(ROUTER)
    with pytest.raises(ConflictError, match="no one registered or declared"):
        driver.run(lambda state: commands.delete_entry(state, "service-defaults", "payment-v2"))
    driver.register("payment-v2", "payment-9")
    driver.run(lambda state: commands.delete_entry(state, "service-defaults", "payment-v2"))


def test_what_is_not_there_cannot_be_deleted() -> None:
    with pytest.raises(NotFoundError):
        commands.delete_entry(MeshState(), "service-defaults", "a")


def test_one_wrong_entry_keeps_the_others_of_its_file_out() -> None:
    driver = StateDriver()
    both = f"config_entries {{ bootstrap {{ {ALLOW} }} bootstrap {{ {ROUTER} }} }}"
    with pytest.raises(ConfigErrors):
        driver.write(both)
    assert driver.state.entries == {}


def test_registering_again_keeps_what_checks_said() -> None:
    driver = StateDriver()
    instance = driver.register("a", "a-1", is_passing=False)
    driver.run(lambda state: commands.report(state, instance.id, "alive", CheckStatus.PASSING, "200"))
    index = driver.state.index
    driver.run(lambda state: commands.register(state, instance))
    assert driver.state.catalog.instances("a")[0].status is CheckStatus.PASSING
    assert driver.state.index == index


def test_a_host_cannot_fill_the_catalog() -> None:
    driver = StateDriver()
    first = driver.register("a", "a-1")
    for number in range(commands.MAX_INSTANCES_PER_HOST - 1):
        more = replace(first, id=f"a-1/{number}")
        driver.run(lambda state, more=more: commands.register(state, more))  # type: ignore[misc]
    with pytest.raises(IdentityError, match="64 instances already"):
        commands.register(driver.state, replace(first, id="a-1/more"))


def test_reports_of_what_nobody_registered_are_refused() -> None:
    driver = StateDriver()
    with pytest.raises(NotFoundError):
        commands.report(driver.state, "a-1/a", "alive", CheckStatus.PASSING, "")
    instance = driver.register("a", "a-1")
    with pytest.raises(LocalProtocolError):
        commands.report(driver.state, instance.id, "nothing", CheckStatus.PASSING, "")


@pytest.mark.parametrize(
    ("bound", "said", "answer"),
    [
        pytest.param("", "west", "west", id="an unbound token: the host says where it is"),
        pytest.param("west", "", "west", id="a bound token decides"),
        pytest.param("west", "west", "west", id="both agree"),
    ],
)
def test_the_datacenter_of_a_host(bound: str, said: str, answer: str) -> None:
    driver = StateDriver()
    text = token_for(driver, datacenter=bound)
    _, datacenter, _ = commands.redeem_token(driver.state, text, service="a", host="a-1", datacenter=said, now=NOW)
    assert datacenter == answer


@pytest.mark.parametrize(
    ("service", "host", "datacenter", "after", "words"),
    [
        pytest.param("b", "a-1", "", 0, "service", id="another service"),
        pytest.param("a", "a-2", "", 0, "host", id="another host"),
        pytest.param("a", "a-1", "east", 0, "datacenter", id="another datacenter"),
        pytest.param("a", "a-1", "", 3600, "expired", id="too late"),
    ],
)
def test_a_stolen_token_is_refused(service: str, host: str, datacenter: str, after: int, words: str) -> None:
    driver = StateDriver()
    text = token_for(driver, datacenter="west")
    now = NOW + timedelta(seconds=after)
    with pytest.raises(IdentityError, match=words):
        commands.redeem_token(driver.state, text, service=service, host=host, datacenter=datacenter, now=now)


@pytest.mark.parametrize(
    ("bound", "caller", "is_taken"),
    [
        pytest.param("10.77.1.12", "10.77.1.12", True, id="its host's address"),
        pytest.param("10.77.1.12", "10.77.1.66", False, id="a thief's address"),
        pytest.param("10.77.1.12", "", False, id="no address"),
        pytest.param("", "10.77.1.66", True, id="a token that is bound to none"),
    ],
)
def test_a_token_bound_to_an_address_is_taken_from_there_only(bound: str, caller: str, is_taken: bool) -> None:
    driver = StateDriver()
    plan = commands.create_token(
        driver.state, service="a", host="a-1", datacenter="", ttl=timedelta(hours=1), now=NOW, secret=b"s" * 32,
        address=bound,
    )  # fmt: skip
    driver.state.apply(driver.state.index + 1, plan.records)
    refused = contextlib.nullcontext() if is_taken else pytest.raises(IdentityError, match="not at")
    with refused:
        commands.redeem_token(
            driver.state, plan.answer[0], service="a", host="a-1", datacenter="", now=NOW, address=caller
        )


def test_a_token_works_once() -> None:
    driver = StateDriver()
    text = token_for(driver)
    used, _, _ = commands.redeem_token(driver.state, text, service="a", host="a-1", datacenter="", now=NOW)
    driver.state.apply(driver.state.index + 1, [used])
    with pytest.raises(IdentityError, match="used"):
        commands.redeem_token(driver.state, text, service="a", host="a-1", datacenter="", now=NOW)


def test_the_token_itself_is_kept_nowhere() -> None:
    driver = StateDriver()
    plan = commands.create_token(
        driver.state, service="a", host="a-1", datacenter="", ttl=timedelta(hours=1), now=NOW, secret=bytes(range(32))
    )
    assert all(plan.answer[0] not in str(record) for record in plan.records)


def test_serial_numbers_long_expired_are_dropped() -> None:
    driver = StateDriver()
    old = IssuedCertificate(1, "a", "a-1", "east", NOW)
    driver.state.apply(1, commands.issue(driver.state, old, now=NOW))
    fresh = IssuedCertificate(2, "a", "a-1", "east", NOW + timedelta(days=2))
    driver.state.apply(2, commands.issue(driver.state, fresh, now=NOW + timedelta(days=1)))
    assert set(driver.state.issued) == {2}


def test_of_many_serial_numbers_the_expired_are_dropped_now_and_then() -> None:
    driver = StateDriver()
    count = 3 * commands.DROP_EVERY
    for serial in range(count):
        driver.state.apply(serial + 1, commands.issue(driver.state, issued_at(serial, NOW), now=NOW))
    assert len(driver.state.issued) == count
    later = NOW + timedelta(days=1)
    for serial in range(count, count + commands.DROP_EVERY):
        driver.state.apply(serial + 1, commands.issue(driver.state, issued_at(serial, later), now=later))
    assert set(driver.state.issued) == set(range(count, count + commands.DROP_EVERY))


def issued_at(serial: int, moment: datetime) -> IssuedCertificate:
    return IssuedCertificate(serial, "a", "a-1", "east", moment)


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["come", "go", "declare", "undeclare"])), max_size=25
)


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(STEPS)
def test_names_follow_services_and_no_two_share_one(steps: list[tuple[str, str]]) -> None:
    driver, alive, declared = StateDriver(), set[str](), set[str]()
    for name, step in steps:
        index = driver.state.index
        if step == "come":
            driver.register(name, f"{name}-1")
            alive.add(name)
        elif step == "go":
            driver.run(lambda state, name=name: commands.deregister(state, f"{name}-1/{name}"))  # type: ignore[misc]
            alive.discard(name)
        elif step == "declare":
            driver.write(HTTP.format(name))
            declared.add(name)
        elif name in declared:
            driver.run(lambda state, name=name: commands.delete_entry(state, "service-defaults", name))  # type: ignore[misc]
            declared.discard(name)
        names = driver.state.catalog.names()
        assert set(names) == alive | declared
        assert len(set(names.values())) == len(names)
        assert driver.state.index >= index
