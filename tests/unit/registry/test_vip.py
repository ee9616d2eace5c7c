"""Virtual addresses: the lowest free one, never the probe's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import LocalProtocolError
from mesh.base.ports import PROBE_VIP
from mesh.registry.vip import lowest_free, require_virtual


@pytest.mark.parametrize(
    ("taken", "given_out"),
    [
        pytest.param([], "240.0.0.1", id="the first service gets the first address"),
        pytest.param(["240.0.0.1"], "240.0.0.2", id="the second gets the next"),
        pytest.param(["240.0.0.2"], "240.0.0.1", id="a freed address is reused"),
    ],
)
def test_lowest_free(taken: list[str], given_out: str) -> None:
    assert lowest_free(taken) == given_out


@pytest.mark.parametrize("address", [PROBE_VIP, "240.0.0.0", "255.255.255.255", "10.0.0.1"])
def test_some_addresses_are_never_given(address: str) -> None:
    with pytest.raises(LocalProtocolError):
        require_virtual(address)


@given(st.sets(st.integers(1, 40)))
def test_it_is_free_and_none_lower_is(offsets: set[int]) -> None:
    taken = {f"240.0.0.{offset}" for offset in offsets}
    found = lowest_free(taken)
    assert found not in taken
    assert {f"240.0.0.{offset}" for offset in range(1, int(found.rsplit(".")[-1]))} <= taken
