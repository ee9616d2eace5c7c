"""Bytes: sockets' protocols on the data path, TLS, the pool of upstream connections, and the driver of filters.

In: bytes from sockets, `ProxyTables`, secrets. Out: bytes to sockets, and what has ended to the access log.
Everything here is an `asyncio.Protocol` or called by one: no task, future or queue per request. A task is made for
one thing only, opening an upstream connection. Who may import it: `mesh.proxy.shell`.

Reading order: `downstream` (a caller's connection), `drive` (runs the filters of one request), `pool` and `upstream`
(connections to instances), `tcp` (opaque streams), `tls_layer` and `secrets` (who is at the other end).
"""
