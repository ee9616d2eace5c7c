"""Hosts as containers of Docker Compose, and the images they are made of.

In: a topology, a Docker Engine. Out: a Driver like the one of namespaces. `engine` finds the engine, `recipes` decides
purely which images a checkout needs, `wheels` fetches Python packages for them, `images` builds what is missing,
`bundle` packs and unpacks all of it for a machine without a network. Only `lab` imports it.

The lab itself: `render` writes the Compose file from the topology, `furnish` the files of a host (pure both, as
`report` and `subnets` are); `start` brings a lab up, `sweep` takes it down; `place` knows a lab's few files; `enter` is
the command behind `lab exec`; `driver` holds it together.
"""
