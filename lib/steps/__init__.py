"""One resource a file, each a noun; phases.py says which phase has which."""
