"""Whoever watches the sidecar asks seldom while all is well, and at once when something happened."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mesh.agent import dataplane
from mesh.agent.dataplane import SidecarWatch
from mesh.agent.holders import Holders
from mesh.agent.settings import AgentSettings
from mesh.base.patience import LATE_S, SOON_S
from mesh.xds.server.delta import DeltaStream
from mesh.xds.types import SECRET
from tests.fakes.script import FakeClock

DEADLINE_S = 2.0
NO_SESSION: Any = None  # nobody asks by it here
assert dataplane.CALM_POLL_S > DEADLINE_S, "or a wake-up could not be told from the next look"


class Watch(SidecarWatch):
    """Says what the test wants, and counts how often it was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            AgentSettings.model_validate(
                {
                    "host": "order-1",
                    "address": "10.77.1.11",
                    "datacenter": "east",
                    "control_plane": {"address": "10.77.1.2"},
                    "state_dir": str(folder),
                }
            ),
            FakeClock(),
        )
        self.reason = ""
        self.asked = 0

    async def _ask(self, session: Any) -> str:
        self.asked += 1
        return self.reason


def test_the_end_of_a_secret_stream_makes_it_look_at_once(tmp_path: Path) -> None:
    async def scene() -> list[str]:
        told: list[str] = []
        heard = asyncio.Event()

        def tell(reason: str) -> None:
            told.append(reason)
            heard.set()

        async def next_word() -> None:
            heard.clear()
            async with asyncio.timeout(DEADLINE_S):
                await heard.wait()

        watch = Watch(tmp_path)
        holders = Holders(on_change=watch.look)
        running = asyncio.create_task(watch.run(NO_SESSION, tell))
        await next_word()
        with holders.holding(DeltaStream({}, (SECRET,))):
            await next_word()
            watch.reason = "its admin port does not answer"
        await next_word()
        running.cancel()
        return told

    assert asyncio.run(scene())[:3] == ["", "", "its admin port does not answer"]


def test_one_that_is_not_ready_is_asked_again_and_again(tmp_path: Path) -> None:
    async def scene() -> int:
        watch = Watch(tmp_path)
        watch.reason = "its /ready says 503 warming"
        running = asyncio.create_task(watch.run(NO_SESSION, lambda reason: None))
        async with asyncio.timeout(DEADLINE_S):
            while watch.asked < 3:
                await asyncio.sleep(0)
        running.cancel()
        return watch.asked

    assert asyncio.run(scene()) == 3


class Start(Watch):
    """A sidecar whose start takes so many seconds; time passes only while nobody asks."""

    def __init__(self, folder: Path, start_s: float) -> None:
        super().__init__(folder)
        self.time = FakeClock()
        self._clock = self.time
        self.ready_at = self.time.now + start_s
        self.pauses: list[float] = []

    async def _ask(self, session: Any) -> str:
        return "" if self.time.now >= self.ready_at else "its admin port does not answer"

    async def _woken_within(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time.now += seconds
        if seconds == dataplane.CALM_POLL_S:
            raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("start_s", "looks"),
    [
        pytest.param(0.2, 5, id="a short start is asked about every 50 ms"),
        pytest.param(60.0, 180, id="a minute three times a second and not twenty: who asks takes its processor"),
        pytest.param(600.0, 1260, id="a longer one twice a second"),
    ],
)
def test_the_longer_a_start_takes_the_more_seldom_it_is_asked_about(tmp_path: Path, start_s: float, looks: int) -> None:
    """The pauses of the test are the whole of its time, so that their number is exact."""
    watch = Start(tmp_path, start_s)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch.run(NO_SESSION, lambda reason: None))
    *unready, calm = watch.pauses
    assert calm == dataplane.CALM_POLL_S
    assert unready[0] == SOON_S
    assert max(unready) <= LATE_S
    assert unready == sorted(unready)
    assert len(unready) <= looks


def test_one_that_was_ready_and_died_is_asked_soon_again(tmp_path: Path) -> None:
    class Dies(Start):
        async def _woken_within(self, seconds: float) -> None:
            if seconds == dataplane.CALM_POLL_S and seconds not in self.pauses:
                self.pauses.append(seconds)
                self.time.now += 3600.0
                self.ready_at = self.time.now + SOON_S / 2
            else:
                await super()._woken_within(seconds)

    watch = Dies(tmp_path, 0.0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch.run(NO_SESSION, lambda reason: None))
    assert watch.pauses == [dataplane.CALM_POLL_S, SOON_S, dataplane.CALM_POLL_S]
