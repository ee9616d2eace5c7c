"""What becomes of a response that cannot be taken: it is refused, and the tables in force stay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster as ClusterMessage
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, Resource
from google.protobuf import any_pb2
from grpc import aio

from mesh.base.errors import LocalProtocolError, MeshError
from mesh.proxy.shell import xds_client
from mesh.proxy.shell.xds_client import XdsClient
from mesh.proxy.tables.model import EMPTY, ProxyTables
from mesh.proxy.tables.nack import ConfigNack
from mesh.telemetry.metrics import Metrics
from mesh.xds.bootstrap import Bootstrap
from mesh.xds.client.held import Update
from mesh.xds.types import CLUSTER, ENDPOINTS
from tests.fakes.xds import pack

BOOTSTRAP = Bootstrap("order-1", "order-service", "east", "10.0.0.2", 8502, "spiffe://a/cp", "cp", "/run/a.sock", True)


class Failing:
    """A compiler that fails in a given way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def apply(self, _: Any, __: Any) -> ProxyTables:
        raise self.error


def client(taken: list[ProxyTables]) -> XdsClient:
    return XdsClient(BOOTSTRAP, rng=Random(1), metrics=Metrics(), on_tables=taken.append)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(ConfigNack("c", "lb_policy", "is not implemented"), "lb_policy", id="a field we do not implement"),
        pytest.param(KeyError("x"), "a fault of this proxy, KeyError", id="a fault of our own is a refusal, too"),
        pytest.param(AttributeError("y"), "a fault of this proxy, AttributeError", id="whatever fault it is"),
    ],
)
def test_what_cannot_be_compiled_is_refused_and_nothing_changes(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[ProxyTables] = []
    refusing = client(taken)
    refusing.compiler = Failing(error)  # type: ignore[assignment]  # only `apply` is asked of it here
    with caplog.at_level(logging.CRITICAL), pytest.raises(MeshError, match=said):
        refusing._apply(Update(CLUSTER, frozenset(), frozenset(), {}))
    assert taken == []
    assert said in refusing.last_refusal


class Laborious:
    """A compiler that needs many steps, and may fail on the way."""

    def __init__(self, steps: int, error: Exception | None = None) -> None:
        self.steps, self.error = steps, error
        self.done = 0

    def prepare(self, _: Any, __: Any) -> Iterator[None]:
        for _ in range(self.steps):
            yield
            self.done += 1
        if self.error is not None:
            raise self.error


def test_others_have_their_turn_while_much_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xds_client, "MAX_SLICE_S", -1.0)  # each step is one too long
    monkeypatch.setattr(xds_client, "SLICE_S", -1.0)
    busy = client([])
    work = Laborious(100)
    busy.compiler = work  # type: ignore[assignment]
    seen: list[int] = []

    async def request() -> None:
        while work.done < work.steps:
            seen.append(work.done)
            await asyncio.sleep(0)

    async def both() -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(request())
            group.create_task(busy._prepare(Update(CLUSTER, frozenset(), frozenset(), {})))

    asyncio.run(both())
    assert len(set(seen)) > work.steps // 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(ConfigNack("c", "lb_policy", "no"), "", id="what is refused"),
        pytest.param(KeyError("x"), "compiling ahead failed", id="a fault of our own is logged"),
    ],
)
def test_a_fault_while_preparing_waits_for_the_decision(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    preparing = client([])
    preparing.compiler = Laborious(1, error)  # type: ignore[assignment]
    asyncio.run(preparing._prepare(Update(CLUSTER, frozenset(), frozenset(), {})))
    assert said in caplog.text
    assert bool(said) is bool(caplog.records)


class Order:
    """A compiler that notes what is asked of it, and does it."""

    def __init__(self, client: XdsClient) -> None:
        self.real, self.asked = client.compiler, list[str]()

    def prepare(self, held: Any, change: Any) -> Iterator[None]:
        self.asked.append(f"prepare {sorted(change.names)}")
        yield from self.real.prepare(held, change)

    def apply(self, held: Any, change: Any) -> ProxyTables:
        self.asked.append(f"apply {sorted(change.names)}")
        return self.real.apply(held, change)


def test_a_response_is_prepared_before_it_is_decided() -> None:
    taken: list[ProxyTables] = []
    asking = client(taken)
    compiler = asking.compiler = Order(asking)  # type: ignore[assignment]
    machine = asking._client
    machine.open()
    body = any_pb2.Any.FromString(pack(ClusterMessage(name="a", connect_timeout={"seconds": 1})))
    response = DeltaDiscoveryResponse(type_url=CLUSTER, nonce="n", resources=[Resource(name="a", resource=body)])

    async def answered() -> list[Any]:
        async with aio.insecure_channel("127.0.0.1:1") as channel:  # nobody is dialled
            return list(await asking.stream(channel)._answered(response))

    (ack,) = asyncio.run(answered())
    assert not ack.HasField("error_detail"), ack
    assert compiler.asked == ["prepare ['a']", "apply ['a']"]
    assert set(taken[-1].clusters) == set(machine.held[CLUSTER]) == {"a"}


class BrokenCall:
    """A stream that gives some responses, and breaks when the answer to the last of them is written."""

    def __init__(self, *responses: Any) -> None:
        self.responses, self.written = list(responses), list[Any]()

    async def read(self) -> Any:
        return self.responses.pop(0)

    async def write(self, request: Any) -> None:
        if not self.responses:
            raise ConnectionError("the stream broke")
        self.written.append(request)

    def cancel(self) -> None:
        """Nothing to end."""


def eds_cluster(*names: str, removed: tuple[str, ...] = ()) -> DeltaDiscoveryResponse:
    resources = []
    for name in names:
        message = ClusterMessage(name=name, type=ClusterMessage.EDS, connect_timeout={"seconds": 1})
        message.eds_cluster_config.eds_config.ads.SetInParent()
        resources.append(Resource(name=name, version=name, resource=any_pb2.Any.FromString(pack(message))))
    return DeltaDiscoveryResponse(type_url=CLUSTER, nonce="n", resources=resources, removed_resources=removed)


def endpoints(name: str) -> DeltaDiscoveryResponse:
    body = any_pb2.Any.FromString(pack(ClusterLoadAssignment(cluster_name=name)))
    return DeltaDiscoveryResponse(
        type_url=ENDPOINTS, nonce="n", resources=[Resource(name=name, version="1", resource=body)]
    )


def test_what_a_change_makes_needless_is_let_go_of_even_if_the_stream_breaks_right_after_it() -> None:
    """Else the client would list it as held on the next stream, and never be sent again what the compiler forgot."""
    asking = client([])
    asking._client.watch(CLUSTER, None)
    call = BrokenCall(eds_cluster("a"), endpoints("a"), eds_cluster(removed=("a",)))

    async def talk() -> None:
        async with aio.insecure_channel("127.0.0.1:1") as channel:
            stream = asking.stream(channel)
            stream._call = lambda **_: call
            await stream.run(lambda: None)

    with pytest.raises(ConnectionError):
        asyncio.run(talk())
    subscribed = [list(one.resource_names_subscribe) for one in call.written if one.type_url == ENDPOINTS]
    assert ["a"] in subscribed
    assert asking._client.held[ENDPOINTS] == {}
    assert not [one for one in asking._client.open() if one.type_url == ENDPOINTS]


def test_what_is_wanted_is_said_once() -> None:
    asking = client([])
    asking._client.open()
    update = asking._client.offer(eds_cluster("a", "b"))
    assert update is not None
    assert update.update is not None
    asking._apply(update.update)
    [request] = asking._follow_up()
    assert list(request.resource_names_subscribe) == ["a", "b"]
    assert asking._follow_up() == []


def test_what_compiles_is_in_force_at_once() -> None:
    taken: list[ProxyTables] = []
    client(taken)._apply(Update(CLUSTER, frozenset(), frozenset(), {}))
    assert len(taken) == 1
    assert taken[0].clusters == EMPTY.clusters


def test_a_fault_of_our_own_says_whose_fault_it_is() -> None:
    refusing = client([])
    refusing.compiler = Failing(TypeError("z"))  # type: ignore[assignment]
    with pytest.raises(LocalProtocolError):
        refusing._compiled(Update(CLUSTER, frozenset(), frozenset(), {}))
