"""Pure parsers of what clients return; no I/O."""
