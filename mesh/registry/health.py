"""Health of one check: single results go in, a settled status comes out.

A probe answers once (`passing`, `warning`, `critical`). One answer is not yet the truth: thresholds say how many
in a row it takes, exactly as Consul's StatusHandler counts them. What the count says is a `Verdict`, and the
verdict moves the status along `TRANSITIONS`:

    critical --PASS--> passing --WARN--> warning --FAIL--> critical        (WAIT stays where it is)

A TTL check has no probe: the application reports, and silence longer than the TTL is the verdict EXPIRE.
A check that goes in and out of rotation too often is held critical by `mesh.registry.damping`.

The machine reads no clock: `now` is monotonic seconds, and `deadline` says when to come back without a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto

from mesh.base.durations import format_duration
from mesh.base.errors import LocalProtocolError
from mesh.config.entries import CheckDefinition, CheckKind
from mesh.registry.damping import FlapDamper, FlapRule

MAX_OUTPUT_BYTES = 4096  # what a check said is kept up to here, as Consul's CheckBufSize


class CheckStatus(StrEnum):
    """What a check says of its instance. Only `critical` takes an instance out of rotation (Consul)."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


class Verdict(StrEnum):
    """What the thresholds make of a result."""

    PASS = auto()
    WARN = auto()
    FAIL = auto()
    WAIT = auto()  # below a threshold: nothing is decided yet
    EXPIRE = auto()  # a TTL check that was silent for too long


TRANSITIONS: dict[tuple[CheckStatus, Verdict], CheckStatus] = {
    (CheckStatus.CRITICAL, Verdict.PASS): CheckStatus.PASSING,
    (CheckStatus.CRITICAL, Verdict.WARN): CheckStatus.WARNING,
    (CheckStatus.CRITICAL, Verdict.FAIL): CheckStatus.CRITICAL,
    (CheckStatus.CRITICAL, Verdict.WAIT): CheckStatus.CRITICAL,
    (CheckStatus.CRITICAL, Verdict.EXPIRE): CheckStatus.CRITICAL,
    (CheckStatus.WARNING, Verdict.PASS): CheckStatus.PASSING,
    (CheckStatus.WARNING, Verdict.WARN): CheckStatus.WARNING,
    (CheckStatus.WARNING, Verdict.FAIL): CheckStatus.CRITICAL,
    (CheckStatus.WARNING, Verdict.WAIT): CheckStatus.WARNING,
    (CheckStatus.WARNING, Verdict.EXPIRE): CheckStatus.CRITICAL,
    (CheckStatus.PASSING, Verdict.PASS): CheckStatus.PASSING,
    (CheckStatus.PASSING, Verdict.WARN): CheckStatus.WARNING,
    (CheckStatus.PASSING, Verdict.FAIL): CheckStatus.CRITICAL,
    (CheckStatus.PASSING, Verdict.WAIT): CheckStatus.PASSING,
    (CheckStatus.PASSING, Verdict.EXPIRE): CheckStatus.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many results in a row decide. 0 and 1 both mean: the first one.

    Source: Consul agent/checks/check.go, StatusHandler.updateCheck; failures_before_warning defaults to
    failures_before_critical there.
    """

    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0

    def judge(self, result: CheckStatus, *, successes: int, failures: int) -> Verdict:
        """Say what `result` means when it is number `successes` or `failures` of its kind in a row."""
        if result is not CheckStatus.CRITICAL:
            if successes < self.success_before_passing:
                return Verdict.WAIT
            return Verdict.PASS if result is CheckStatus.PASSING else Verdict.WARN
        if failures >= self.failures_before_critical:
            return Verdict.FAIL
        before_warning = self.failures_before_warning or self.failures_before_critical
        return Verdict.WARN if failures >= before_warning else Verdict.WAIT


@dataclass(frozen=True, slots=True)
class Transition:
    """A check changed: what to tell the control plane."""

    status: CheckStatus
    output: str
    is_held: bool = False


class CheckMachine:
    """The life of one check: counts, status, TTL and damping.

    Args:
        definition: the check as its author wrote it.
        now: monotonic seconds; a TTL starts to run here.
        flap_rule: when to hold a flapping check; None takes the default.
    """

    def __init__(self, definition: CheckDefinition, *, now: float, flap_rule: FlapRule | None = None) -> None:
        self.definition = definition
        self.output = "not checked yet"
        self._is_ttl = definition.kind is CheckKind.TTL
        self._thresholds = _thresholds(definition)
        self._settled = CheckStatus(definition.initial_status)
        self._successes = 0
        self._failures = 0
        self._ttl_deadline = now + definition.ttl_s
        self._damper = FlapDamper(flap_rule or FlapRule())
        self._told: CheckStatus | None = None  # so that the first result is always told, for its output

    @property
    def status(self) -> CheckStatus:
        """What the check says to the mesh: the settled status, or critical while it is held."""
        return CheckStatus.CRITICAL if self._damper.is_held else self._settled

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do without a new result, in monotonic seconds; None for never."""
        candidates = [self._damper.held_until]
        if self._is_ttl and self._settled is not CheckStatus.CRITICAL:
            candidates.append(self._ttl_deadline)
        return min((moment for moment in candidates if moment is not None), default=None)

    def record(self, result: CheckStatus, output: str, *, now: float) -> Transition | None:
        """Take one result in and say what changed, if anything did."""
        if self._is_ttl:
            self._ttl_deadline = now + self.definition.ttl_s
        if result is CheckStatus.CRITICAL:
            self._successes, self._failures = 0, self._failures + 1
        else:
            self._successes, self._failures = self._successes + 1, 0
        verdict = self._thresholds.judge(result, successes=self._successes, failures=self._failures)
        self.output = clip(output)
        return self._move(verdict, now=now)

    def tick(self, *, now: float) -> Transition | None:
        """Let time pass: expire a TTL, release a held check; say what changed."""
        if self._is_ttl and now >= self._ttl_deadline and self._settled is not CheckStatus.CRITICAL:
            self.output = f"no report within the ttl of {format_duration(self.definition.ttl_s)}"
            self._successes = 0
            return self._move(Verdict.EXPIRE, now=now)
        self._damper.tick(now=now)
        return self._tell() if self._told else None

    def _move(self, verdict: Verdict, *, now: float) -> Transition | None:
        before = self._settled
        self._settled = next_status(before, verdict)
        self._damper.tick(now=now)
        if (before is CheckStatus.CRITICAL) != (self._settled is CheckStatus.CRITICAL):
            self._damper.changed(now=now)
        return self._tell()

    def _tell(self) -> Transition | None:
        if self.status is self._told:
            return None
        self._told = self.status
        if self._damper.is_held:
            return Transition(self.status, clip(f"{self._damper.rule}; last output: {self.output}"), is_held=True)
        return Transition(self.status, self.output)


def next_status(status: CheckStatus, verdict: Verdict) -> CheckStatus:
    """Look the transition up.

    Raises:
        LocalProtocolError: the table does not have it.
    """
    try:
        return TRANSITIONS[status, verdict]
    except KeyError:
        raise LocalProtocolError(f"moving a check: no transition from {status!r} on {verdict!r}") from None


def clip(output: str) -> str:
    """Cut a check's output to MAX_OUTPUT_BYTES of UTF-8, at a character."""
    return output.encode("utf-8", "replace")[:MAX_OUTPUT_BYTES].decode("utf-8", "ignore")


def worst(statuses: list[CheckStatus]) -> CheckStatus:
    """Return the worst status of an instance's checks; no checks at all is passing (Consul)."""
    order = list(CheckStatus)
    return max(statuses, key=order.index, default=CheckStatus.PASSING)


def _thresholds(definition: CheckDefinition) -> Thresholds:
    if definition.kind is CheckKind.TTL:
        return Thresholds()  # Consul applies no thresholds to a TTL check: the application has already decided
    return Thresholds(
        definition.success_before_passing, definition.failures_before_warning, definition.failures_before_critical
    )
