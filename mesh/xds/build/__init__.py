"""Snapshot in, resources out: one file per resource type, pinned by golden files.

In: a `ProxySnapshot` and the path of the access log. Out: `Resource` values, each encoded once. Imported by
controlplane.
"""
