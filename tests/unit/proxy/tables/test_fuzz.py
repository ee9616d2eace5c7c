"""Whatever bytes a control plane sends, they are taken or refused with a ConfigNack; nothing else is raised."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf import any_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.proxy.tables.compile_clusters import compile_cluster
from mesh.proxy.tables.compile_endpoints import compile_endpoints
from mesh.proxy.tables.compile_listeners import compile_listener
from mesh.proxy.tables.compile_routes import compile_routes
from mesh.proxy.tables.nack import ConfigNack
from mesh.xds.build.resources import build_resources
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.fakes.sample_mesh import ACCESS_LOG, LEDGER, PAYMENT

COMPILERS = {
    CLUSTER: compile_cluster,
    ENDPOINTS: compile_endpoints,
    LISTENER: compile_listener,
    ROUTES: compile_routes,
}
SAMPLES = [
    (url, name, one.body)
    for snapshot in (PAYMENT, LEDGER)
    for url, resources in build_resources(snapshot, ACCESS_LOG).items()
    for name, one in resources.items()
]
EDITS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255), st.booleans()), min_size=1, max_size=3)


@pytest.mark.slow
@settings(max_examples=600)
@given(st.sampled_from(SAMPLES), EDITS)
def test_broken_resources_are_refused_in_words(
    sample: tuple[str, str, bytes], edits: list[tuple[int, int, bool]]
) -> None:
    url, name, body = sample
    wrapped = any_pb2.Any.FromString(body)
    content = bytearray(wrapped.value)
    for place, value, is_insert in edits:
        at = place % len(content)
        content[at : at if is_insert else at + 1] = bytes([value])
    wrapped.value = bytes(content)
    with contextlib.suppress(ConfigNack):
        COMPILERS[url](name, wrapped.SerializeToString())


@given(st.sampled_from(list(COMPILERS)), st.binary(max_size=200))
def test_bytes_that_are_nothing(url: str, body: bytes) -> None:
    with contextlib.suppress(ConfigNack):
        COMPILERS[url]("name", body)
