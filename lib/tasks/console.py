"""Own what a run prints: a line per step while it happens, errors with their fix, one JSON document on request."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from lib.engine.plan import RunResult, StepResult
from lib.secrets import mask

if TYPE_CHECKING:
    from rich.console import Console

MARKS = {
    "unchanged": ("=", "green"),
    "changed": ("✓", "bold green"),
    "refreshed": ("↻", "green"),
    "pending": ("~", "yellow"),
    "failed": ("✗", "bold red"),
    "blocked": ("·", "dim"),
    "refused": ("!", "bold red"),
}
WORDS = {"unchanged": "ok"}
SAY_AFTER = 2.0  # seconds of waiting before plain output says so


class Screen:
    """Prints to stdout, or to stderr where stdout belongs to a JSON document."""

    def __init__(self, as_json: bool, verbose: bool) -> None:
        """Colours and live lines come only on a terminal without NO_COLOR and CI."""
        self._stream: TextIO = sys.stderr if as_json else sys.stdout
        self._verbose = verbose
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._said: dict[str, float] = {}
        self._width = 16
        self._rich: Console | None = None
        if self._stream.isatty() and "CI" not in os.environ:
            from rich.console import Console  # only a terminal pays for the import

            self._rich = Console(file=self._stream, highlight=False, soft_wrap=False)

    def line(self, text: str, style: str = "") -> None:
        """Print a line."""
        text = mask(text)
        with self._lock:
            try:
                if self._rich is not None:
                    self._rich.print(text, style=style or None, markup=False)
                else:
                    print(text, file=self._stream, flush=True)
            except BrokenPipeError:
                nobody_listens(self._stream)

    def title(self, text: str) -> None:
        """Print the first line of a run: what, and against which cluster."""
        self.line(text, "bold")

    # ------------------------------------------------------- engine's Progress

    def expect(self, names: list[str]) -> None:
        """Align for these step names."""
        self._width = max([self._width, *(len(name) for name in names)])

    def began(self, step: str, verb: str) -> None:
        """Say on request what is being done."""
        if self._verbose:
            self.line(f"  … {step}: {verb}", "dim")

    def waiting(self, step: str, what: str, seconds: float, last: str) -> None:
        """Say what is waited for: at once where asked, else after some seconds, then ever more rarely."""
        due = self._said.get(step, SAY_AFTER)
        if self._verbose or seconds >= due:
            self._said[step] = max(seconds * 2, due * 2)
            waited = f" for {seconds:.0f} s" if seconds >= 1 else ""
            self.line(f"  … {step} waits{waited}: {what} ({last})", "dim")

    def ended(self, result: StepResult) -> None:
        """Print a step's line, its changes and its error."""
        mark, style = MARKS[result.outcome]
        word = WORDS.get(result.outcome, result.outcome)
        self.line(
            f"  {mark} {result.name:<{self._width}}  {word:<9} {result.seconds:6.2f} s  {result.reason}".rstrip(), style
        )
        if result.outcome in ("changed", "pending", "refused") or self._verbose:
            for change in result.changes:
                if not change.refresh or self._verbose:
                    self._change(change.attribute, change.before, change.after)
        for remark in result.remarks:
            self.line(f"      note: {remark}", "yellow")
        if result.error is not None:
            where = f" [{result.error.where}]" if result.error.where else ""
            for number, text in enumerate(f"{result.error.subject}: {result.error.problem}{where}".splitlines()):
                self.line(f"      {text}" if number == 0 else f"        {text.strip()}", "red")
            for number, text in enumerate(result.error.fix.splitlines()):
                self.line(f"      Fix: {text}" if number == 0 else f"           {text}")

    def _change(self, attribute: str, before: str | None, after: str | None) -> None:
        if before is None:
            self.line(f"      + {attribute}: {after}")
        elif after is None:
            self.line(f"      - {attribute}: {before}")
        else:
            self.line(f"      ~ {attribute}: {before} → {after}")

    # ------------------------------------------------------------------ result

    def result(self, run: RunResult, dry_run: bool) -> None:
        """Print the closing line."""
        counts: dict[str, int] = {}
        for step in (step for phase in run.phases for step in phase.steps):
            counts[step.outcome] = counts.get(step.outcome, 0) + 1
        told = ", ".join(f"{number} {WORDS.get(outcome, outcome)}" for outcome, number in counts.items())
        suffix = " (nothing was changed: dry run)" if dry_run else ""
        self.line(f"{run.command}: {run.outcome} in {run.seconds:.2f} s: {told}{suffix}", "bold")


def nobody_listens(stream: TextIO) -> None:
    """Go on in silence where the reader has left (`… | head`): what is being done is finished all the same."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_json(run: RunResult) -> None:
    """Print the one document on stdout."""
    print(json.dumps(run.document(), ensure_ascii=False))
