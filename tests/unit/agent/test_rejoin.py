"""Whatever moment the power goes, the file holds the secret that the control plane holds the digest of."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.agent.rejoin import MAX_HELD, REJOIN_FILE, RejoinSecrets
from mesh.ca.rejoin import digest_of


def fresh(folder: Path, start: int = 0) -> RejoinSecrets:
    counter = itertools.count(start)
    return RejoinSecrets(folder, lambda size: next(counter).to_bytes(size, "big"))


def reloaded(folder: Path) -> tuple[str, ...]:
    after = RejoinSecrets(folder)
    after.load()
    return after.held


def test_a_secret_is_on_disk_and_private_before_it_is_named(tmp_path: Path) -> None:
    digest = fresh(tmp_path).prepare()
    [secret] = reloaded(tmp_path)
    assert digest_of(secret) == digest
    assert stat.S_IMODE((tmp_path / REJOIN_FILE).stat().st_mode) == 0o600


def test_what_was_never_sent_is_named_again(tmp_path: Path) -> None:
    secrets = fresh(tmp_path)
    assert secrets.prepare() == secrets.prepare()


def test_once_accepted_it_is_the_only_one(tmp_path: Path) -> None:
    secrets = fresh(tmp_path)
    secrets.prepare()
    secrets.accepted()
    first = secrets.held
    digest = secrets.prepare()
    assert len(reloaded(tmp_path)) == 2
    secrets.accepted()
    assert [digest_of(each) for each in secrets.held] == [digest]
    assert reloaded(tmp_path) == secrets.held != first


def test_while_nobody_knows_both_are_held_newest_first(tmp_path: Path) -> None:
    secrets = fresh(tmp_path)
    secrets.prepare()
    secrets.accepted()
    [confirmed] = secrets.held
    digest = secrets.prepare()
    secrets.unsure()
    assert (digest_of(secrets.held[0]), secrets.held[1]) == (digest, confirmed)
    assert reloaded(tmp_path) == secrets.held


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(ends=st.lists(st.sampled_from(["lost before", "lost after", "answered", "crash before", "crash after"])))
def test_a_host_always_comes_back_and_never_presents_a_used_secret(
    tmp_path_factory: pytest.TempPathFactory, ends: list[str]
) -> None:
    """Against a control plane of three lines: it takes a secret and keeps the next, or does not know it."""
    folder = tmp_path_factory.mktemp("state")
    secrets, lives = fresh(folder), itertools.count(1)
    kept, used = secrets.prepare(), set[str]()
    secrets.accepted()
    for end in [*ends, "answered"]:
        following = secrets.prepare()
        for secret in secrets.held:
            assert digest_of(secret) not in used, "an alarm about ourselves"
            if digest_of(secret) != kept:
                continue
            if not end.endswith("before"):
                used.add(kept)
                kept = following
            break
        else:
            raise AssertionError("locked out")
        if end == "answered":
            secrets.accepted()
        elif end.startswith("lost"):
            secrets.unsure()
        else:
            secrets = fresh(folder, next(lives) * 1000)
            secrets.load()
    assert digest_of(secrets.held[0]) == kept
    assert len(secrets.held) == 1


def test_the_number_is_bounded_and_the_confirmed_one_is_kept(tmp_path: Path) -> None:
    secrets = fresh(tmp_path)
    secrets.prepare()
    secrets.accepted()
    [confirmed] = secrets.held
    for _ in range(3 * MAX_HELD):
        secrets.prepare()
        secrets.unsure()
    assert (len(secrets.held), secrets.held[-1]) == (MAX_HELD, confirmed)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.chmod(0o640), id="readable by the group"),
        pytest.param(lambda path: path.chmod(0o604), id="readable by everybody"),
        pytest.param(lambda path: path.write_text("{"), id="cut short"),
        pytest.param(lambda path: path.write_text("[]"), id="another document"),
        pytest.param(lambda path: path.write_text(json.dumps({"secrets": [1]})), id="no texts"),
        pytest.param(lambda path: path.write_bytes(b"\xff"), id="no text at all"),
        pytest.param(lambda path: path.rename(path.with_name("x")) and path.symlink_to("x"), id="a link"),
        pytest.param(lambda path: path.unlink(), id="gone"),
    ],
)
def test_a_file_that_is_not_right_is_not_used_and_ends_nothing(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    secrets = fresh(tmp_path)
    secrets.prepare()
    secrets.accepted()
    spoil(tmp_path / REJOIN_FILE)
    assert reloaded(tmp_path) == ()


def test_a_disk_that_is_full_is_told_and_costs_no_secret(tmp_path: Path) -> None:
    secrets = RejoinSecrets(tmp_path / "no-such-folder")
    with pytest.raises(OSError, match="No such file"):
        secrets.prepare()
    assert secrets.held == ()
