"""The sidecar: a proxy that knows the mesh only through xDS, and carries every call of one service.

In: connections that iptables sends, resources from the control plane (ADS), secrets from the agent (SDS).
Out: the same calls, proven, permitted, retried and counted. Who may import it: `mesh.cli`, and only `main`.

The life of a request, by function name. An application calls `http://payment-service:8080`; this host's sidecar:

 1. `shell.listeners.Doorman.connection_made`  a connection arrives on 15001; `original_destination` asks the kernel
                                               where it was going (a virtual IP); `Listeners.choose` finds the chain
 2. `connection.downstream.DownstreamHttp`     `incoming.Incoming` collects a head, `http.reader` parses it;
    `._begin`                                  the request takes the present `ProxyTables` and keeps them
 3. `connection.drive.Drive.start`             runs the filters by hand, from callbacks: no task per request
 4. `filters.access_record`, `.tracing`        note it at its end; continue or begin its trace
 5. `filters.router.router`                    `RouteTable.find`, then `forward`: the tries
 6. `policy.runtime.ClusterRuntime.pick_for`   a healthy endpoint, round robin, not one that was tried
 7. `filters.exchange.Send` -> `Drive._send`   the command; `connection.pool.Pool.acquire` has an idle connection, or
    `connection.connector.connect`             opens one: `TlsLayer`, `secrets.Identity.verify`: is it payment-service?

The sidecar of the other host, whose 15006 that connection reached:

 8. `TlsLayer._prove`                          the caller's certificate is verified before a byte of HTTP is read
 9. `Drive` again, with an inbound chain       `filters.authorization.proof`: does the certificate still hold?
10. `filters.trusted_headers`                  only what the certificate proves is passed on as identity
11. `filters.authorization.authorization`      intentions, compiled: `Authorizer.decide`; "no" is a 403 from here
12. `filters.router` -> cluster `local_app`    plain HTTP to 127.0.0.1, from 127.0.0.6 so that iptables lets it pass

And back: `UpstreamHttp.data_received` -> `Drive.on_answer` -> the router's `RetryState.after` (pass on, or once more)
-> `Outgoing.send_response`; `Drive._end` -> `shell.report.Report.request`: access log and metrics.

The rooms, from pure to shell, each importing only those before it:

    tables       what the control plane said, compiled          http     HTTP/1.1, strict, without I/O
    policy       retries, ejection, balancing, breakers         filters  the request path as a stack of coroutines
    connection   asyncio protocols, TLS, pool, driver           shell    listeners, xDS and SDS clients, logs, admin
"""
