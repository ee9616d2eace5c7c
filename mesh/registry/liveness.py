"""Is the agent of an instance alive? Heartbeats say so; silence makes the instance critical.

An instance's checks run on its own host. When that host is gone nobody reports a failure, so the control plane
watches the reports themselves (Consul's serfHealth does the same job by gossip). After a restart of the control
plane every agent is silent through no fault of its own: restored instances get a longer first deadline.

All times are monotonic seconds, passed in.
"""

from __future__ import annotations

from collections.abc import Iterable

AGENT_ALIVE = "agent-alive"  # the id of the check that shows the verdict
TIMEOUT_S = 10.0
GRACE_S = 30.0  # first deadline after a restart: agents reconnect with back-off


class Liveness:
    """Deadlines of instances by id. Silent ones are told once, heard ones again once."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, grace_s: float = GRACE_S) -> None:
        self.timeout_s = timeout_s
        self.grace_s = grace_s
        self._deadlines: dict[str, float] = {}
        self._silent: set[str] = set()

    def restored(self, instance_ids: Iterable[str], *, now: float) -> None:
        """Begin to watch what was read from the store, with the longer deadline."""
        for instance_id in instance_ids:
            self._deadlines[instance_id] = now + self.grace_s

    def heard(self, instance_id: str, *, now: float) -> bool:
        """Note a heartbeat, a report or a registration; say whether the instance had been silent."""
        self._deadlines[instance_id] = now + self.timeout_s
        was_silent = instance_id in self._silent
        self._silent.discard(instance_id)
        return was_silent

    def forget(self, instance_id: str) -> None:
        """Stop watching an instance that left."""
        self._deadlines.pop(instance_id, None)
        self._silent.discard(instance_id)

    def newly_silent(self, *, now: float) -> tuple[str, ...]:
        """Return the instances whose deadline has passed and that were not returned before, sorted."""
        found = sorted(
            instance_id
            for instance_id, deadline in self._deadlines.items()
            if now >= deadline and instance_id not in self._silent
        )
        self._silent.update(found)
        return tuple(found)
