"""The certificate authorities: a root, an intermediate per datacenter, leaves from CSRs, join tokens, rotation.

In: a CSR and the identity its sender has *proven*, keys, `now`, random bytes. Out: certificates, token records,
the next state of an authority's slots. Pure: keys come in and go out as values, the store of the control plane
does the files. Imported by the control plane (which signs), the agent (which makes CSRs) and tests.
"""
