"""The `mesh` command: each verb a thin call into a room, or the start of a process.

In: arguments, files, the control plane's address. Out: data on stdout, talk on stderr, an exit code that means
something (`exits`). Nothing imports it.
"""
