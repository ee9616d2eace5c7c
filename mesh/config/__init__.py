"""What a team writes: HCL or JSON in, checked values out, or errors that show the place and say what would be right.

In: the text of a file (`load.load_text`), or a stored entry (`stored.from_json`). Out: `Loaded` with the values of
`entries`, or `ConfigErrors` with every fault found. `hcl` reads text into a tree with positions; `decode` turns trees
into values, a file per kind; `references` checks what spans several entries.

Everything above may import it; it imports `base`. It opens no file: a shell reads, this room judges.
"""
