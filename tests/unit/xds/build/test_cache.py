"""The cache makes each resource once per inputs, and does not grow without end."""

from __future__ import annotations

from mesh.xds.build.cache import MAX_VARIANTS, ResourceCache
from mesh.xds.types import CLUSTER, Resource

KEY = (CLUSTER, "a")


def made(version: str) -> Resource:
    return Resource(CLUSTER, "a", version, b"")


def test_the_same_inputs_are_the_same_resource() -> None:
    cache = ResourceCache()
    first = cache.get(KEY, (1, "x"), lambda: made("1"))
    assert cache.get(KEY, (1, "x"), lambda: made("never made")) is first
    assert cache.built == 1


def test_other_inputs_are_another_variant_and_both_stay() -> None:
    cache = ResourceCache()
    first = cache.get(KEY, (1,), lambda: made("1"))
    second = cache.get(KEY, (2,), lambda: made("2"))
    assert cache.get(KEY, (1,), lambda: made("never made")) is first
    assert cache.get(KEY, (2,), lambda: made("never made")) is second


def test_the_variant_that_was_not_used_for_longest_goes() -> None:
    cache = ResourceCache()
    for number in range(MAX_VARIANTS):
        cache.get(KEY, (number,), lambda: made("1"))
    cache.get(KEY, (0,), lambda: made("never made"))
    cache.get(KEY, ("one more",), lambda: made("1"))
    built = cache.built
    cache.get(KEY, (0,), lambda: made("never made"))
    assert cache.built == built
    cache.get(KEY, (1,), lambda: made("1"))
    assert cache.built == built + 1


def test_a_name_that_is_the_same_for_everybody_keeps_no_history() -> None:
    cache = ResourceCache()
    for number in range(3):
        cache.get(KEY, (number,), lambda: made("1"), keep=2)
    cache.get(KEY, (0,), lambda: made("1"), keep=2)
    assert cache.built == 4


def test_what_is_forgotten_is_made_again() -> None:
    cache = ResourceCache()
    cache.get(KEY, (), lambda: made("1"))
    cache.forget({"a"})
    cache.get(KEY, (), lambda: made("1"))
    assert cache.built == 2


def test_many_are_kept_as_one_thing_until_they_are_forgotten_and_count_for_nothing() -> None:
    cache = ResourceCache()
    first = cache.many((1,), lambda: ["made"])
    other = cache.many((2,), lambda: ["other"])
    assert cache.many((1,), lambda: ["never made"]) is first
    assert cache.many((2,), lambda: ["never made"]) is other
    assert cache.built == 0
    cache.forget_many()
    assert cache.many((1,), lambda: ["made again"]) == ["made again"]
