"""A reader for HCL 1, the language of Consul's files, and for JSON: text in, a tree with positions out.

In: text and the path to show in errors (`parse.parse_text`). Out: an `ObjectNode` or `ListNode` (`tree`), each node
and key with its line and column, or one `ConfigError` with the line, a caret and what would be right. `printer`
writes a tree as HCL again.

It is bounded (1 MiB, 100 000 tokens, 32 levels) and executes nothing: there is no interpolation, no function, no
include. Only `mesh.config` imports it.

Source: HCL 1 as github.com/hashicorp/hcl v1 reads it. Deliberately narrower: `${` is refused, so are numbers with
leading zeros (octal there, decimal to most readers), and a key may not be a number.
"""
