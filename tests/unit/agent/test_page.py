"""The agent's reference page names every key of agent.json and every gate."""

from __future__ import annotations

from pathlib import Path

from mesh.agent.gates import Gate
from mesh.agent.settings import AgentSettings

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "agent.md").read_text()


def test_every_key_is_explained() -> None:
    assert [key for key in AgentSettings.model_fields if f"`{key}`" not in PAGE and f"`{key}." not in PAGE] == []


def test_the_gates_stand_in_their_order() -> None:
    assert ", ".join(f"`{gate}`" for gate in Gate) in PAGE
