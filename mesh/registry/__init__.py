"""What is alive: services, their instances and checks, their virtual addresses.

In: registrations, check results, heartbeats, and the time. Out: values that say what changed. Pure: opens no
socket, reads no clock. The control plane keeps a catalog; the agent runs its checks through `health`.
"""
