"""Who may call whom: the rule itself, its neutral translation, and what a careful reader would remark.

In: checked `ServiceIntentions` (from `mesh.config`) and a question: this source, this request, this protocol.
Out: a `Decision` with the rule that gave it (`evaluate`), the ordered rule list that becomes RBAC (`rows`), one
list out of an exact and a `*` destination (`precedence`), remarks (`lint`), and words for a person (`explain`).

`xds`, `api`, the control plane and the command line may import it; it imports `config` and `base`. No sockets, no
clock: the same question has the same answer for ever.
"""
