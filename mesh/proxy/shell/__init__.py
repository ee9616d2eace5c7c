"""The sidecar as a process: listeners, the talk with control plane and agent, logs, metrics, the admin page, the end.

In: a bootstrap file, signals, sockets. Out: a running data plane that goes on with the last good configuration when
everything that told it has gone. Thin: what is decided is decided in `tables`, `policy`, `filters` and
`mesh.xds.client`. Who may import it: `mesh.proxy.main`.
"""
