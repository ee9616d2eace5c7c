"""Programs that run on a host of the lab, whatever made it: one file each, with nothing but Python's standard library.

A host needs a Python and no copy of this project: whoever starts one hands it over. No room imports another's program.
"""
