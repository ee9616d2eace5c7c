"""Whoever watches the sidecar asks seldom while all is well, and at once when something happened."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from mesh.agent import dataplane
from mesh.agent.dataplane import SidecarWatch
from mesh.agent.holders import Holders
from mesh.agent.settings import AgentSettings
from mesh.xds.server.delta import DeltaStream
from mesh.xds.types import SECRET

DEADLINE_S = 2.0
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
            )
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
        running = asyncio.create_task(watch.run(None, tell))  # type: ignore[arg-type]  # nobody asks by it here
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
        running = asyncio.create_task(watch.run(None, lambda reason: None))  # type: ignore[arg-type]
        async with asyncio.timeout(DEADLINE_S):
            while watch.asked < 3:
                await asyncio.sleep(0)
        running.cancel()
        return watch.asked

    assert asyncio.run(scene()) == 3
