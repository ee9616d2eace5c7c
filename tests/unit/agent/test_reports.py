"""Reports keep the latest status of each check, and a new stream gets all of them."""

from __future__ import annotations

import asyncio

from mesh.agent.reports import Reports, instance_id, register_request
from mesh.config.entries import CheckDefinition, CheckKind, ServiceDefinition


def test_only_what_changed_is_told_and_only_its_latest() -> None:
    reports = Reports()
    reports.put("a", "critical", "1")
    reports.put("b", "passing", "")
    version, news = reports.since(0)
    assert [check for check, _, _ in news] == ["a", "b"]
    assert reports.since(version) == (version, [])
    reports.put("a", "warning", "2")
    reports.put("a", "passing", "3")
    assert reports.since(version)[1] == [("a", "passing", "3")]
    assert len(reports.since(0)[1]) == 2


def test_waiting_ends_with_news_and_is_over_at_once_when_there_are_some() -> None:
    async def scene() -> None:
        reports = Reports()
        reports.put("a", "critical", "")
        await reports.wait(0, 60.0)
        waiting = asyncio.create_task(reports.wait(1, 60.0))
        await asyncio.sleep(0)
        reports.put("a", "passing", "")
        await waiting
        await reports.wait(2, 0.0)

    asyncio.run(scene())


def test_the_service_is_announced_without_address_or_host() -> None:
    check = CheckDefinition("up", "is up", CheckKind.TCP, "localhost:8080")
    service = ServiceDefinition("payment-service", 8080, tags=("v1",), meta={"team": "money"}, checks=(check,))
    message = register_request(service).service
    assert (message.name, message.id, message.port) == ("payment-service", "payment-service", 8080)
    assert [(each.id, each.kind) for each in message.checks] == [("up", "tcp")]
    assert instance_id(ServiceDefinition("a", 1, id="a-1")) == "a-1"
