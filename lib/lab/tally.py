"""Own the count of answers by provenance: read from the journal, which has them all, as far as it was not read yet."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from lib.lab import sftp
from lib.lab.dns import service
from lib.lab.programs import table
from lib.lab.provenance import KINDS, RECORDED, Provenance, undeclared
from lib.lab.pve import api


def source_of(line: dict[str, Any]) -> Provenance | None:
    """Return what the answer in a journal line rests on; None where a fault of the lab's answered, or nobody."""
    if line["kind"] == "api":
        return _of_request(line["method"], line["path"], line["user"], line["status"])
    if line["kind"] == "ssh":
        return None if line["exit"] is None else table.source(line["argv"], line["exit"])
    if line["kind"] == "script":
        return table.source(line["argv"], line["exit"])
    if line["kind"] == "dns":
        return None if line["rcode"] is None else service.SOURCE
    return sftp.SOURCE if line["kind"] == "sftp" else undeclared(line["kind"])


def _of_request(method: str, path: str, user: str, status: int) -> Provenance | None:
    if not user and not api.anonymous_allowed(method, path):
        return RECORDED if status == 401 else None  # refused as recorded; anything else is a fault of the lab
    found = api.find(method, path)
    if found is None:
        return RECORDED  # so are unknown paths
    return found[0].by or undeclared(f"{method} {found[0].path}")


class Tally:
    """How many answers of each provenance one journal has."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._read = 0
        self._counts: Counter[Provenance] = Counter()

    def told(self) -> dict[str, Any]:
        """Return the answers given by kind, and the beliefs that some of them rest on."""
        self._go_on()
        answers = dict.fromkeys(KINDS, 0)
        for by, count in self._counts.items():
            answers[by.kind] += count
        beliefs = {by.believed: count for by, count in self._counts.most_common() if by.believed}
        return {"answers": answers, "beliefs": beliefs}

    def _go_on(self) -> None:
        with self._journal.open("rb") as file:
            file.seek(self._read)
            for text in file:
                with contextlib.suppress(ValueError):  # half a line, where the disk was full
                    self._counts.update(filter(None, [source_of(json.loads(text))]))
            self._read = file.tell()
