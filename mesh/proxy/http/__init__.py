"""HTTP/1.1 as the sidecar speaks it: strict, bounded, and the same in every segmentation.

In: bytes from a socket. Out: heads, payload and leftover bytes; bytes to write; or a RemoteProtocolError whose
status answers the peer. Nothing here opens a socket, reads a clock or waits. Only mesh.proxy imports it.

Read in this order: limits (the numbers), grammar (the bytes), fields (a header block), authority and path (where to),
head and response (the two kinds of head), framing and body (how long), reader (heads out of segments), trusted and
emit (what the other side gets).
"""
