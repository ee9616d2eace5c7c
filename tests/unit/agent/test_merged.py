"""Two pages of metrics become one that Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from mesh.agent.merged import merge_metrics

AGENT = """# HELP mesh_up Up.
# TYPE mesh_up gauge
mesh_up{unit="agent"} 1
"""
SIDECAR = """# HELP mesh_up Up, said by somebody else.
# TYPE mesh_up gauge
mesh_up{unit="sidecar"} 1
# HELP mesh_wait_seconds Waiting.
# TYPE mesh_wait_seconds histogram
mesh_wait_seconds_bucket{le="+Inf"} 2
mesh_wait_seconds_sum 3
mesh_wait_seconds_count 2
"""


def test_a_metric_of_both_is_described_once_and_stands_together() -> None:
    page = merge_metrics(AGENT, SIDECAR)
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert len(families["mesh_up"].samples) == 2
    assert families["mesh_up"].documentation == "Up."
    assert len(families["mesh_wait_seconds"].samples) == 3
    assert page.count("# TYPE mesh_up ") == 1


def test_a_sidecar_that_says_nothing_changes_nothing() -> None:
    assert merge_metrics(AGENT, "") == AGENT
    assert merge_metrics("", "") == ""


def test_series_without_description_are_kept() -> None:
    assert merge_metrics("a 1\n", "b 2\na 3\n") == "a 1\na 3\nb 2\n"
