"""Preflight: can this machine carry a lab? What comes in is a driver's name, what goes out is a list of findings.

`probes.py` looks at the machine, changes nothing, and writes down facts (`machine.py`). `table.py` decides: for each
driver a table of checks, each a pure function from facts to one finding, which has the command that mends it.
"""
