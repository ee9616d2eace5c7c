"""The server's half of a discovery stream, as pure machines: requests and changes in, response bytes out.

In: what a proxy asks and the resources it may know. Out: encoded responses in a safe order, and the status per type.
Imported by controlplane (ADS) and agent (SDS).
"""
