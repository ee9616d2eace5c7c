"""Silence makes an instance critical, once; a word brings it back."""

from __future__ import annotations

from mesh.registry.liveness import Liveness


def test_silence_for_the_timeout_is_told_once() -> None:
    liveness = Liveness(timeout_s=10, grace_s=30)
    liveness.heard("a", now=0.0)
    assert liveness.newly_silent(now=9.9) == ()
    assert liveness.newly_silent(now=10.0) == ("a",)
    assert liveness.newly_silent(now=11.0) == ()


def test_a_word_after_silence_is_noticed() -> None:
    liveness = Liveness(timeout_s=10, grace_s=30)
    assert liveness.heard("a", now=0.0) is False
    liveness.newly_silent(now=10.0)
    assert liveness.heard("a", now=12.0) is True
    assert liveness.heard("a", now=13.0) is False


def test_restored_instances_get_the_longer_deadline() -> None:
    liveness = Liveness(timeout_s=10, grace_s=30)
    liveness.restored(["a"], now=0.0)
    assert liveness.newly_silent(now=29.9) == ()
    assert liveness.newly_silent(now=30.0) == ("a",)


def test_who_left_is_not_missed() -> None:
    liveness = Liveness()
    liveness.heard("a", now=0.0)
    liveness.forget("a")
    assert liveness.newly_silent(now=1000.0) == ()
