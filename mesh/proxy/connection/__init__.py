"""Bytes: sockets' protocols on the data path, TLS, the pool of upstream connections, and the driver of filters.

In: bytes from sockets, `ProxyTables`, secrets. Out: bytes to sockets, and what has ended to the access log.
Everything here is an `asyncio.Protocol` or called by one: no task, future or queue per request. A task is made for
one thing only, opening an upstream connection. Who may import it: `mesh.proxy.shell`.

Reading order, as a request goes:

    downstream      a caller's connection; `incoming`, `outgoing` are its two directions, `timeouts` its patience,
                    `in_force` the chain that its next request gets
    drive           runs the filters of one request, with its `request_body` and its `deadline`
    pool, upstream  connections to instances; a `wish` is a request's wait for one,
                    `dials` and `connector` make them
    tcp             opaque streams; `tcp_upstream` is their far half
    tls_layer       TLS below any of them; `secrets` and `peer` say who is at the other end, `proof` whether still
    state           what all of them share
"""
