"""From trees to values: one file for each kind of entry, and the `reader` they share.

In: an `ObjectNode` and a `Report`. Out: a value of `mesh.config.entries`; what is wrong goes into the report, which
collects, so that an author sees all his faults at once. Only `mesh.config.load` imports it.

A key is written in any of Consul's spellings (`PathExact`, `path_exact`, `pathexact`). A key that no kind knows is
refused, and so is one that Consul knows and Meshyard does not implement, each saying exactly that: nothing that
somebody wrote is ignored.
"""
