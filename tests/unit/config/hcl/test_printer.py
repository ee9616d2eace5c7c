"""What is printed reads as the same tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config.hcl.parse import parse_text
from mesh.config.hcl.printer import print_tree
from mesh.config.hcl.tree import ListNode, Member, Node, ObjectNode, Scalar

texts = st.one_of(st.text(max_size=10), st.text(alphabet='$${}"\\\n\r\t\x00', max_size=8))
scalars = st.builds(
    Scalar,
    texts | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(-1e15, 1e15, allow_nan=False),
)


def _members(values: st.SearchStrategy[Node]) -> st.SearchStrategy[ObjectNode]:
    plain = st.builds(Member, texts, values)
    labelled = st.builds(
        lambda key, label, inner: Member(key, ObjectNode((Member("a", inner),)), (label,)), texts, texts, values
    )
    return st.lists(plain | labelled, max_size=4).map(lambda members: ObjectNode(tuple(members)))


def _containers(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.lists(inner, max_size=3).map(lambda items: ListNode(tuple(items))) | _members(inner)


nodes: st.SearchStrategy[Node] = st.recursive(scalars, _containers, max_leaves=10)


@pytest.mark.slow
@given(_members(nodes))
def test_what_is_printed_reads_the_same(tree: ObjectNode) -> None:
    assert parse_text(print_tree(tree), "printed")[0] == tree


def test_it_is_written_as_people_do() -> None:
    text = 'service {\n  name = "web"\n  tags = ["a", "b"]\n  check "x" {\n    ttl = true\n  }\n  meta {}\n}\n'
    tree, _ = parse_text(text, "f")
    assert isinstance(tree, ObjectNode)
    assert print_tree(tree) == text
