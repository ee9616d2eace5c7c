"""Every resource of a small mesh, byte for byte as people read it: tests/golden/xds/<host>/<type> <name>.json.

After a change that is meant: `UPDATE_GOLDEN=1 pytest tests/unit/xds/build/test_golden.py`, then read the diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.json_format import MessageToDict

from mesh.xds.build.cache import ResourceCache
from mesh.xds.build.resources import build_resources
from mesh.xds.snapshot import ProxySnapshot
from mesh.xds.types import SHORT_NAME, Resource
from tests.fakes.sample_mesh import ACCESS_LOG, LEDGER, ORDER, PAYMENT

GOLDEN = Path(__file__).parents[3] / "golden" / "xds"
IS_UPDATING = os.environ.get("UPDATE_GOLDEN") == "1"


def shown(resource: Resource) -> str:
    """Return a resource as JSON for people."""
    shape = MessageToDict(Any.FromString(resource.body), preserving_proto_field_name=True)
    return json.dumps(shape, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("snapshot", [pytest.param(one, id=one.host) for one in (ORDER, PAYMENT, LEDGER)])
def test_resources_are_as_written_down(snapshot: ProxySnapshot) -> None:
    folder = GOLDEN / snapshot.host
    made = {
        f"{SHORT_NAME[url]} {name}.json": shown(resource)
        for url, of_type in build_resources(snapshot, ACCESS_LOG).items()
        for name, resource in of_type.items()
    }
    if IS_UPDATING:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("*.json"):
            stale.unlink()
        for file, text in made.items():
            (folder / file).write_text(text)
    written = {path.name: path.read_text() for path in folder.glob("*.json")}
    assert written.keys() == made.keys()
    for file, text in made.items():
        assert text == written[file], f"{snapshot.host}/{file} differs"


def test_the_same_snapshot_is_the_same_bytes() -> None:
    assert build_resources(PAYMENT, ACCESS_LOG) == build_resources(PAYMENT, ACCESS_LOG)


def test_proxies_share_what_is_the_same_for_them() -> None:
    cache = ResourceCache()
    first = build_resources(ORDER, ACCESS_LOG, cache)
    built = cache.built
    second = build_resources(PAYMENT, ACCESS_LOG, cache)
    for url, of_type in first.items():
        for name in of_type.keys() - {"inbound", "self_probe", "local_app"}:
            assert second[url][name] is of_type[name], f"{name} was encoded twice"
    assert cache.built == built, "what only one proxy has is kept with that proxy"
