"""The agent: a host's standing in the mesh. A shell; what it decides stands in `renewal`, `names` and `gates`.

In: agent.json, a join token, the service's definition. Out: an identity on a unix socket (SDS and the SPIFFE
Workload API), names over DNS, health reports, the sidecar's bootstrap, and an HTTP port that says what it waits for.
The private key is made here, lives in memory, and leaves only through the unix socket.

Read in this order: settings, identity, renewal, then one file per thing served, and main last.
"""
