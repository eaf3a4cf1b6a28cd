"""Own how tests live with a perverse lab (`pytest --perverse SEED`): what it let fail is run again, as a user would."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

# What an error says that a perverse lab made: a task that failed at its end, an answer lost twice over.
MARKS = ("(the lab is perverse)", "the connection was cut before an answer came")
RUNS = 8

Line = Callable[[], "CompletedProcess[str]"]


def settled(line: Line, seed: int | None) -> CompletedProcess[str]:
    """Run a line; again, some times at most, while a perverse lab lets it fail, each time with a fix."""
    done = line()
    for _ in range(RUNS if seed is not None else 0):
        printed = done.stdout + done.stderr
        if done.returncode != 1 or not any(mark in printed for mark in MARKS):
            break
        assert "Traceback" not in printed
        assert "Fix: " in printed or '"fix": "' in printed
        done = line()
    return done


def with_seed(words: tuple[str, ...], seed: int | None) -> tuple[str, ...]:
    """Return the words of a line; a lab is started perverse, unless the test itself says how."""
    wants = seed is not None and words[:1] == ("lab.start",) and "--perverse" not in words
    return (*words, "--perverse", str(seed)) if wants else words
