"""Own the lab's journal: one JSON line for everything that reached it, secrets masked, flushed at once.

What a line says is public (see the lab's attach points in the documentation). Reading
the journal is the business of whoever asks; nothing here reads it back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

MASK = "***"
SECRETS = frozenset(
    {
        "password",
        "cipassword",
        "confirmation-password",
        "keyring",
        "otp",
        "tfa-challenge",
        "encryption-key",
        "master-pubkey",
        "client-key",
        "certkey",
    }
)


def masked(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with every secret value replaced."""
    return {name: MASK if name in SECRETS else value for name, value in params.items()}


class Journal:
    """Appends to one file; `None` as its path keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.began = time.time()
        self.offset = 0  # where the lines of this start begin
        self._started = time.monotonic()
        self._file: IO[str] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
            path.chmod(0o600)
            self.offset = self._file.tell()

    def write(self, kind: str, **fields: Any) -> None:
        """Append one line; `t` is seconds since the lab started."""
        if self._file is None:
            return
        if isinstance(fields.get("params"), Mapping):
            fields["params"] = masked(fields["params"])
        line = {"t": round(time.monotonic() - self._started, 4), "kind": kind} | fields
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
