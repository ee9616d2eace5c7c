"""Exit codes, the same for `mesh` and `lab`, and which error is which."""

from __future__ import annotations

OK = 0
FAILED = 1  # failed, denied, unhealthy, refused
USAGE = 2
UNREACHABLE = 4  # nobody answers at the control plane's address
PREFLIGHT = 5
TIMED_OUT = 124  # as timeout(1)
