"""Who is who: SPIFFE IDs, X.509-SVIDs, trust bundles, and the verdict on a peer's certificate.

In: DER or PEM bytes, a trust bundle, `now`. Out: the proven `SpiffeId` (or an `IdentityError` that names the
fault), and the messages of the SPIFFE Workload API. Pure: no socket, no clock, no file. Every room above may
import it; it imports `mesh.base`.
"""
