"""One Invoke module per phase: parse flags, start one run, print."""
