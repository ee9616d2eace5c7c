"""Meshyard: a whole service mesh. `mesh/README.md` is the map of its rooms."""
