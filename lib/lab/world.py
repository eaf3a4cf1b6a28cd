"""Own the lab's world: everything the simulated cluster *is*, as JSON documents in one SQLite file.

Documents live under (kind, key). They are kept in memory and written through, so
that a killed lab comes back as it was. Whoever changes several documents for one
request does so inside `transaction()`: after a kill all of it is there or none.

The kinds (owned by the module named):
    meta, node                              lib/lab/topology.py
    user, group, role, acl, token, realm    lib/lab/pve/access.py
    pool, storage, guest, task, backup-job  lib/lab/pve/
    host                                    lib/lab/programs/ (packages, units, mounts … of one host)
    file, rbd                               lib/lab/files.py
    nameserver, loaded                      lib/lab/dns/ (the host, and what its service has read)
    process                                 lib/lab/programs/scripts.py
    fault                                   lib/lab/faults.py
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Document = dict[str, Any]
LASTING = frozenset({"fault"})  # a fault that struck is used up, though what it struck is taken back


class World:
    """A store of JSON documents with write-through and transactions; used by one thread."""

    def __init__(self, path: Path | None = None) -> None:
        """Open the world at `path`, or one in memory alone."""
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        # A killed process loses nothing with this; only a power cut could.
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = off")
        self._db.execute(
            "create table if not exists document"
            " (kind text, key text, body text, primary key (kind, key)) without rowid"
        )
        self._kinds: dict[str, dict[str, Document]] = {}
        self._undo: list[tuple[str, str, Document | None]] | None = None
        self._file_bytes: Counter[str] | None = None  # None: to be counted
        for kind, key, body in self._db.execute("select kind, key, body from document"):
            self._kinds.setdefault(kind, {})[key] = json.loads(body)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @property
    def lab(self) -> Document:
        """What is true of the whole lab (release, network, internet …), for reading alone."""
        return self.peek("meta", "lab") or {}

    @property
    def task_scale(self) -> float:
        """What the real duration of a task is multiplied by."""
        return float(self.lab.get("task_scale", 0.0))

    def get(self, kind: str, key: str) -> Document | None:
        """Return a copy of the document, or None."""
        found = self.peek(kind, key)
        return None if found is None else _copy(found)

    def peek(self, kind: str, key: str) -> Document | None:
        """Return the document itself, for reading alone and at once; whoever keeps or changes it takes `get`."""
        return self._kinds.get(kind, {}).get(key)

    def all(self, kind: str) -> dict[str, Document]:
        """Return a copy of every document of a kind, by key, in order of creation."""
        return {key: _copy(document) for key, document in self._kinds.get(kind, {}).items()}

    def keys(self, kind: str) -> list[str]:
        """Return the keys of a kind, in order of creation."""
        return list(self._kinds.get(kind, {}))

    def file_bytes(self, filesystem: str) -> int:
        """Return the bytes of all files on a filesystem (a file's key is that, a colon, and its path)."""
        if self._file_bytes is None:
            self._file_bytes = Counter()
            for key, file in self._kinds.get("file", {}).items():
                self._file_bytes[key.partition(":/")[0]] += int(file.get("size", 0))
        return self._file_bytes[filesystem]

    def put(self, kind: str, key: str, document: Document) -> None:
        """Create or replace a document."""
        self._remember(kind, key)
        self._kinds.setdefault(kind, {})[key] = _copy(document)
        self._write(kind, key)

    def delete(self, kind: str, key: str) -> bool:
        """Remove a document; return whether it was there."""
        self._remember(kind, key)
        there = self._kinds.get(kind, {}).pop(key, None) is not None
        self._write(kind, key)
        return there

    def _write(self, kind: str, key: str) -> None:
        """Write through what memory holds."""
        document = self.peek(kind, key)
        if document is None:
            self._db.execute("delete from document where kind = ? and key = ?", (kind, key))
        else:
            self._db.execute("insert or replace into document values (?, ?, ?)", (kind, key, json.dumps(document)))

    def _remember(self, kind: str, key: str) -> None:
        if kind == "file":
            self._file_bytes = None
        if self._undo is not None:
            self._undo.append((kind, key, self.peek(kind, key)))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside it stick together; an exception takes them back, but for lasting ones. Nests."""
        if self._undo is not None:
            yield
            return
        self._undo = []
        self._db.execute("begin")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            self._file_bytes = None
            for kind, key, before in reversed(self._undo):
                if kind in LASTING:
                    self._write(kind, key)
                elif before is None:
                    self._kinds.get(kind, {}).pop(key, None)
                else:
                    self._kinds.setdefault(kind, {})[key] = before
            raise
        else:
            self._db.execute("commit")
        finally:
            self._undo = None


def _copy(value: Any) -> Any:
    """Copy what JSON can hold: some four times as fast as `copy.deepcopy`, which looks for more."""
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    return [_copy(each) for each in value] if isinstance(value, (list, tuple)) else value
