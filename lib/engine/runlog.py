"""Own the run log: one JSON line for everything a run did, secrets masked, the newest runs kept."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from lib.secrets import mask

KEEP = 20


class RunLog:
    """Append-only log of one run; safe from several threads."""

    def __init__(self, folder: Path | None) -> None:
        """Open `<folder>/<UTC time>.jsonl`; None logs nowhere (a dry run leaves no trace)."""
        self._lock = threading.Lock()
        self._file = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in sorted(folder.glob("*.jsonl"))[: -KEEP + 1]:
            old.unlink(missing_ok=True)
        path = folder / time.strftime("%Y%m%dT%H%M%SZ.jsonl", time.gmtime())
        self._file = path.open("a", buffering=1)
        path.chmod(0o600)

    def write(self, event: str, **fields: object) -> None:
        """Add one line: t (epoch seconds), event, and the fields."""
        if self._file is None:
            return
        line = json.dumps({"t": round(time.time(), 3), "event": event, **fields}, default=str)
        with self._lock:
            self._file.write(mask(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
