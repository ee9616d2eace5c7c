"""What is stored comes back the same, and what is no entry is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import ConfigError, Position
from mesh.config.entries import (
    ConfigEntry,
    HttpMatch,
    Limits,
    PassiveHealthCheck,
    Protocol,
    ProxyDefaults,
    RouteDestination,
    ServiceDefaults,
    ServiceIntentions,
    ServiceRoute,
    ServiceRouter,
    UpstreamPolicy,
)
from mesh.config.stored import from_json, to_json
from tests.fakes.intention_strategies import entries, http_matches

positions = st.builds(Position, st.text(max_size=5), st.integers(1, 99), st.integers(1, 99))
metas = st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2)
seconds = st.floats(0, 86400, allow_nan=False)
policies = st.builds(
    UpstreamPolicy,
    name=st.none() | st.just("a"),
    connect_timeout_s=seconds,
    limits=st.builds(Limits, st.none() | st.integers(0, 9)),
    passive_health_check=st.none() | st.builds(PassiveHealthCheck, interval_s=seconds),
    at=positions,
)
service_defaults = st.builds(
    ServiceDefaults,
    name=st.just("a"),
    protocol=st.none() | st.sampled_from(Protocol),
    upstream_defaults=st.none() | policies,
    upstream_overrides=st.lists(policies, max_size=2).map(tuple),
    local_request_timeout_s=st.none() | seconds,
    meta=metas,
    at=positions,
)
destinations = st.builds(
    RouteDestination,
    service=st.none() | st.just("b"),
    request_timeout_s=st.none() | seconds,
    retry_on=st.none() | st.lists(st.sampled_from(["5xx", "reset"]), max_size=2).map(tuple),
    retry_on_status_codes=st.lists(st.integers(100, 599), max_size=2).map(tuple),
)
routes = st.builds(ServiceRoute, st.none() | st.just(HttpMatch()) | http_matches, destinations, positions)
routers = st.builds(ServiceRouter, st.just("a"), st.lists(routes, max_size=3).map(tuple), metas, positions)
proxy_defaults = st.builds(ProxyDefaults, protocol=st.none() | st.sampled_from(Protocol), meta=metas, at=positions)
all_entries = st.one_of(entries(), entries("*"), service_defaults, routers, proxy_defaults)


@pytest.mark.slow
@given(all_entries)
def test_what_is_stored_comes_back_the_same(entry: ConfigEntry) -> None:
    assert from_json(json.loads(json.dumps(to_json(entry)))) == entry


def test_the_form_is_short_and_readable() -> None:
    entry = ServiceDefaults("a", Protocol.HTTP, at=Position("a.hcl", 1, 1))
    assert to_json(entry) == {"kind": "service-defaults", "name": "a", "protocol": "http", "at": ["a.hcl", 1, 1]}


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"kind": "mesh", "name": "a"}, id="an unknown kind"),
        pytest.param({"kind": ["mesh"], "name": "a"}, id="a kind that is no text"),
        pytest.param({"kind": "service-defaults"}, id="a field too few"),
        pytest.param({"kind": "service-defaults", "name": "a", "x": 1}, id="a field too many"),
        pytest.param({"kind": "service-defaults", "name": 1}, id="a number for a text"),
        pytest.param({"kind": "service-defaults", "name": "a", "protocol": "grpc"}, id="an unknown word"),
        pytest.param({"kind": "service-defaults", "name": "a", "protocol": []}, id="a list for a word"),
        pytest.param({"kind": "service-defaults", "name": "a", "meta": {"a": 1}}, id="a number in a mapping"),
        pytest.param({"kind": "service-defaults", "name": "a", "meta": []}, id="a list for a mapping"),
        pytest.param({"kind": "service-defaults", "name": "a", "at": ["f", 1]}, id="half a position"),
        pytest.param({"kind": "service-defaults", "name": "a", "at": ["f", 1, True]}, id="a boolean for a number"),
        pytest.param({"kind": "service-defaults", "name": "a", "upstream_overrides": {}}, id="an object for a list"),
        pytest.param({"kind": "service-defaults", "name": "a", "upstream_defaults": 1}, id="a number for an object"),
        pytest.param({"kind": "service-intentions", "name": "a", "sources": None}, id="null for a list"),
    ],
)
def test_what_is_no_entry_is_refused(stored: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="reading a stored entry"):
        from_json(stored)


def test_a_stored_entry_of_intentions_keeps_its_kind() -> None:
    assert isinstance(from_json({"kind": "service-intentions", "name": "a", "sources": []}), ServiceIntentions)
