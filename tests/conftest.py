"""Every test folder finds `tests.*` and `mesh.*` from the checkout; properties run the same everywhere.

Hypothesis takes fixed seeds (a red build is red again), keeps no folder of examples, and sets no time limit per
example: a busy machine is no failure.
"""

from hypothesis import settings

from mesh.base.compiled import use_if_asked

use_if_asked()  # MESH_COMPILED: the same tests on the compiled data path, before anything imports the Python form
settings.register_profile("mesh", deadline=None, derandomize=True, database=None)
settings.load_profile("mesh")
