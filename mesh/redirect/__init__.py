"""Interception as values: which iptables rules a host needs, each with its reason, and how a host differs from them.

In: a `RedirectPlan` (users, ports, addresses) and what `iptables-save` printed. Out: ordered `Rule` values, text for
`iptables-restore`, a list of findings. The room is pure; `mesh.cli.redirect` runs the programs. The command line and
the agent's tests import it, nothing below does.

Read in this order: model (the values), nat, filter, answers and outside (the rules), plan (all of them), route (the one
route they need), render, saved, verify, reconcile.
"""
