"""Every test folder finds `tests.*` and `mesh.*` from the checkout; properties run the same everywhere.

Hypothesis takes fixed seeds (a red build is red again), keeps no folder of examples, and sets no time limit per
example: a busy machine is no failure.
"""

from hypothesis import settings

settings.register_profile("mesh", deadline=None, derandomize=True, database=None)
settings.load_profile("mesh")
