"""Listeners are open when the tables say so, and it is known which are not yet."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mesh.proxy.shell.listeners import Listeners
from tests.fakes.script import Script
from tests.fakes.sidecars import cluster_to, outbound


def test_a_listener_that_came_later_is_waited_for_like_the_first() -> None:
    async def run() -> None:
        tables = outbound(cluster_to("payment-service", 1))
        ((name, made),) = tables.listeners.items()
        first = replace(tables, listeners={name: replace(made, address="127.0.0.1", port=0)})
        both = replace(first, listeners={**first.listeners, "later": first.listeners[name]})
        listeners = Listeners(Script(tables).state)
        try:
            assert listeners.not_open(first) == [name]
            await listeners.follow(first)
            assert listeners.not_open(first) == []
            assert listeners.not_open(both) == ["later"]
            await listeners.follow(both)
            assert listeners.not_open(both) == []
        finally:
            listeners.close()

    asyncio.run(run())
