"""The xDS v3 language, both directions, without a socket.

In: a `ProxySnapshot` (build), the messages of a peer (server, client), what an agent knows of its host (bootstrap).
Out: encoded resources, the messages to send, and who has acknowledged what. Imported by controlplane, agent and proxy.
"""
