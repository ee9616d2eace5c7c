"""What happens to one HTTP request, as a stack of filters that reads from the first to the last.

In: a `Request` (head, the tables it was taken on with, facts of its connection). Out: commands to the driver that
asked (`Send` these bytes to that endpoint, `Sleep` so long), then one `Response`. A filter is

    async def filter(request: Request, call_next: Handler) -> Response

and may look, answer itself, or pass on. The stack of a chain, outermost first:

    access_record    note the request when its last byte has passed             (record.py)
    proof            is the caller's certificate still good                     (authorization.py)
    trusted_headers  believe about the caller only what its certificate proves  (trusted_headers.py)
    tracing          continue the trace and the request id, or start them       (tracing.py)
    authorization    who may call: the rule that decides, or 403                (authorization.py)
    router           which cluster, which endpoint, which tries                 (router.py)

Nothing here opens a socket, reads a clock or knows an event loop: the coroutines are driven by hand, by
`mesh.proxy.connection.drive` in the sidecar and by a script in the tests. Who may import it: connection and shell.
"""
