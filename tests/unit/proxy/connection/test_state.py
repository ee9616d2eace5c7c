"""The timers of the data path go on, whatever one of them does."""

from __future__ import annotations

import pytest

from mesh.base.errors import LocalProtocolError
from tests.fakes.script import Script
from tests.fakes.sidecars import cluster_to, outbound


def test_a_timer_that_fails_stops_no_other() -> None:
    script = Script(outbound(cluster_to("payment-service", 1)))
    called: list[str] = []

    def fail() -> None:
        raise LocalProtocolError("a fault of ours")

    script.state.arm(script.clock.now + 0.05, fail)
    script.state.arm(script.clock.now + 0.05, lambda: called.append("together with it"))
    script.state.arm(script.clock.now + 0.20, lambda: called.append("later"))
    with pytest.raises(LocalProtocolError):
        script.passes(0.1)
    script.passes(0.3)
    assert called == ["together with it", "later"]
