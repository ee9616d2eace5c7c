"""What benchmarks read: the files of /proc, and what wrk and h2load print."""

from __future__ import annotations

import pytest

from tests.bench import load, procfs


def stat(name: str, user: int, system: int) -> str:
    """Return a /proc/PID/stat as proc(5) describes it."""
    return f"4711 ({name}) S 1 4711 4711 0 -1 4194560 1 0 0 0 {user} {system} 0 0 20 0 1 0 100 1000 10"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("envoy", id="a plain name"),
        pytest.param("python (old) 1", id="a name with brackets and spaces"),
    ],
)
def test_cpu_is_user_and_system_time(name: str) -> None:
    assert procfs.cpu_seconds(stat(name, 150, 50)) == 200 / procfs.TICKS


@pytest.mark.parametrize("text", [pytest.param("", id="empty"), pytest.param("1 (x) S 1", id="cut off")])
def test_a_stat_without_times_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="has no times"):
        procfs.cpu_seconds(text)


def test_memory_is_the_share_of_pages() -> None:
    text = "55-7f ---p 00000000 00:00 0 [rollup]\nRss:   4096 kB\nPss:   2048 kB\nPss_Dirty:  100 kB\n"
    assert procfs.memory_mib(text) == 2.0


def test_memory_that_is_not_told_is_refused() -> None:
    with pytest.raises(ValueError, match="has no Pss"):
        procfs.memory_mib("Rss: 1 kB\n")


REPORT = (
    'REPORT {"requests": 1000, "duration_us": 2000000, "bytes": 5000, '
    '"errors": {"connect": 1, "read": 0, "write": 0, "status": 2, "timeout": 0}, '
    '"p50_us": 500, "p90_us": 900, "p99_us": 9900, "p999_us": 20000, "max_us": 30000}'
)


def test_a_closed_loop_is_read_from_the_last_report() -> None:
    found = load.read_closed_loop(f"Running 2s test\n{REPORT}\n")
    assert (found.rps, found.errors, found.p50_ms, found.max_ms) == (500, 3, 0.5, 30.0)


def test_a_silent_wrk_is_refused() -> None:
    with pytest.raises(ValueError, match="told nothing: unable to connect"):
        load.read_closed_loop("unable to connect")


def test_an_open_loop_is_read_from_its_log() -> None:
    log = "".join(f"{1000 + n}\t{200 if n else 503}\t{(n + 1) * 1000}\n" for n in range(100))
    found = load.read_open_loop(log, seconds=2.0, size=64)
    assert (found.requests, found.rps, found.errors, found.bytes_read) == (100, 50, 1, 6400)
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (50, 99, 100)


def test_each_connection_has_its_part_of_the_rate() -> None:
    argv = load.open_loop("http://x/", rate=100, connections=64, seconds=5, log="/tmp/x")
    assert argv[argv.index("--rps") + 1] == "1.5625"


def test_a_missing_program_is_told_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/openssl" if name == "openssl" else None)
    with pytest.raises(load.MissingProgram, match=r"no wrk, h2load; next: apt-get install wrk nghttp2-client"):
        load.require_programs(("wrk", "openssl", "h2load"))


def test_what_nobody_answered_is_read_from_the_summary_of_h2load() -> None:
    said = "requests: 9 total, 9 started, 9 done, 6 succeeded, 3 failed, 1 errored, 2 timeout"
    assert load.read_failures(f"finished in 2s\n{said}\nstatus codes: 6 2xx") == 3


def test_a_silent_h2load_is_refused() -> None:
    with pytest.raises(ValueError, match="told nothing: no such host"):
        load.read_failures("no such host")
