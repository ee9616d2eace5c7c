"""Server and client agree in the end, whatever happens between them; and nothing points at nothing on the way."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.xds.server.subscription import Status
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.fakes.discovery import BAD, Pair, View, resource

TYPES = st.sampled_from([CLUSTER, ENDPOINTS, LISTENER, ROUTES])
NAMES = st.sampled_from(["a", "b", "c"])
CONTENTS = st.sampled_from(["1", "2", "3", BAD, BAD + "2"])


class Agreement(RuleBasedStateMachine):
    """Pushes, ACKs, NACKs, subscription changes and cut streams, in any order."""

    is_delta: bool

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair({}, is_delta=self.is_delta)

    @rule(type_url=TYPES, name=NAMES, content=CONTENTS)
    def put(self, type_url: str, name: str, content: str) -> None:
        self.pair.change(type_url, name, resource(type_url, name, content))

    @rule(type_url=TYPES, name=NAMES)
    def remove(self, type_url: str, name: str) -> None:
        self.pair.change(type_url, name, None)

    @rule()
    def show_everything_without_saying_what_changed(self) -> None:
        self.pair.show(self.pair.view)

    @rule(count=st.integers(1, 4))
    def deliver_requests(self, count: int) -> None:
        for _ in range(count):
            self.pair.deliver_request()

    @rule(count=st.integers(1, 4))
    def deliver_responses(self, count: int) -> None:
        for _ in range(count):
            self.pair.deliver_response()

    @rule()
    def reconnect(self) -> None:
        self.pair.reconnect()

    @rule()
    def settle(self) -> None:
        self.pair.settle()

    @invariant()
    def nothing_refused_is_held(self) -> None:
        for of_type in self.pair.client.held.values():
            assert not any(BAD.encode() in held.body for held in of_type.values())

    def teardown(self) -> None:
        for type_url, of_type in self.pair.view.items():
            for name in of_type:
                if BAD.encode() in of_type[name].body:
                    self.pair.change(type_url, name, resource(type_url, name, "mended"))
        self.pair.settle()
        assert self.pair.held_versions() == self.pair.wanted_versions()
        assert {one.status for one in self.pair.server.status().values()} <= {Status.SYNCED, Status.NEVER}


class MakeBeforeBreak(RuleBasedStateMachine):
    """Whole views replace each other; listeners and routes always point at a cluster of their view."""

    is_delta: bool

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(view_pointing_at("a", "a", "1"), is_delta=self.is_delta)
        self.pair.settle()

    @rule(listener=NAMES, route=NAMES, content=st.sampled_from(["1", "2"]))
    def move(self, listener: str, route: str, content: str) -> None:
        self.pair.show(view_pointing_at(listener, route, content))

    @rule()
    def deliver_request(self) -> None:
        self.pair.deliver_request()

    @rule()
    def deliver_response(self) -> None:
        self.pair.deliver_response()

    @rule()
    def settle(self) -> None:
        self.pair.settle()

    @invariant()
    def what_is_pointed_at_is_there(self) -> None:
        held = self.pair.client.held
        for type_url in (LISTENER, ROUTES):
            for one in held.get(type_url, {}).values():
                target = one.body.rsplit(b">", 1)[1][:1].decode()
                assert target in held[CLUSTER]
                assert target in held[ENDPOINTS]

    def teardown(self) -> None:
        self.pair.settle()
        assert self.pair.held_versions() == self.pair.wanted_versions()


def view_pointing_at(listener: str, route: str, content: str) -> View:
    """Return a view with one listener and its routes, and just the clusters these point at."""
    targets = {listener, route}
    return {
        CLUSTER: {name: resource(CLUSTER, name, content) for name in targets},
        ENDPOINTS: {name: resource(ENDPOINTS, name) for name in targets},
        LISTENER: {"l": resource(LISTENER, "l", target=listener)},
        ROUTES: {"l": resource(ROUTES, "l", target=route)},
    }


def case(machine: type[RuleBasedStateMachine], *, is_delta: bool) -> type:
    """Return the machine as a test case for one mode."""
    made = type(machine.__name__, (machine,), {"is_delta": is_delta})
    made.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
    return pytest.mark.slow(made.TestCase)


TestDeltaAgreement = case(Agreement, is_delta=True)
TestSotwAgreement = case(Agreement, is_delta=False)
TestDeltaMakeBeforeBreak = case(MakeBeforeBreak, is_delta=True)
TestSotwMakeBeforeBreak = case(MakeBeforeBreak, is_delta=False)
