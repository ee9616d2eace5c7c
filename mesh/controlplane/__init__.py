"""The control plane process: the one place where the truth of the mesh is written.

In: config entries and tokens from operators (HTTP), certificate requests, registrations and check reports from agents
(gRPC), subscriptions from proxies (xDS). Out: what was asked, pushed as it changes; every acknowledged write is on
disk first. Read in this order: records, state, commands (pure), store, writer, then the services and main.
Nobody imports it but `mesh.cli`.
"""
