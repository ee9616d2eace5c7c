"""How hard the proxy tries, whom it picks, and when it stops: retries, outlier detection, balancing, breakers.

In: values of `mesh.proxy.tables.model`, outcomes of tries, `now` (monotonic seconds) and `rng`.
Out: decisions (retry after so many seconds, give up with this flag, this endpoint is ejected) and counters.
Who may import it: the filters, connections and shell of the proxy. Nothing here opens a socket or reads a clock.
"""
