"""Own how tests live with a perverse lab (`pytest --perverse SEED`): what it let fail, and that alone, is run again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

MARK = "(the lab is perverse)"  # what a task says that it let fail
CUT = re.compile(r"(\w+ /\S+): the connection was cut before an answer came")
AGAIN_ANYWAY = ("GET", "PUT")  # the product asks again by itself
RUNS = 8

Line = Callable[[], "CompletedProcess[str]"]


def settled(line: Line, seed: int | None, checkout: Path) -> CompletedProcess[str]:
    """Run a line; again, some times at most, where it failed through the lab's perversity and nothing else.

    That is said by each of its errors; of an answer that was lost the journal of the checkout's lab has to know.
    """
    journal = checkout / ".lab" / "journal.jsonl"
    for _ in range(RUNS):
        before = journal.stat().st_size if journal.exists() else 0
        done = line()
        if seed is None or done.returncode != 1:
            break
        found, lost = errors(done), _lost(journal, before)
        if not found or not all(_is_excused(error, lost) for error in found):
            break
    return done


def errors(done: CompletedProcess[str]) -> list[str]:
    """Return what a line tells as errors, of steps that failed or of what ended it; each has a fix, none is a bug."""
    printed = done.stdout + done.stderr
    assert "Traceback" not in printed, printed
    paragraphs = re.split(r"(?m)^(?=\S|  \S )", printed)
    found = [text for text in paragraphs if text.startswith("  ✗ ") or "\n  Fix: " in text]
    assert all(re.search(r"(?m)^ +Fix: \S", text) for text in found), printed
    return found


def _is_excused(error: str, lost: list[str]) -> bool:
    """Tell whether the lab is to blame: for one lost answer alone it is not, the product looks at the change again."""
    cut = CUT.search(error)
    return MARK in error or (cut is not None and cut[1] in lost and len(lost) > 1)


def _lost(journal: Path, since: int) -> list[str]:
    """Return the changes whose answer was lost, from that size of the journal on."""
    if not journal.exists():
        return []
    text = journal.read_bytes()[since:].decode()
    lines = [json.loads(line) for line in text.splitlines()]
    return [
        f"{line['method']} {line['path']}" for line in lines if line.get("lost") and line["method"] not in AGAIN_ANYWAY
    ]


def with_seed(words: tuple[str, ...], seed: int | None) -> tuple[str, ...]:
    """Return the words of a line; a lab is started perverse, unless the test itself says how."""
    wants = seed is not None and words[:1] == ("lab.start",) and "--perverse" not in words
    return (*words, "--perverse", str(seed)) if wants else words
