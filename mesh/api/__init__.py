"""The mesh's own interfaces: gRPC messages between agent and control plane, JSON shapes of the HTTP API, a client.

In: names and values. Out: message classes, method paths, typed answers. Imports downwards only; the control plane
serves it, agent, CLI and lab call it.
"""
