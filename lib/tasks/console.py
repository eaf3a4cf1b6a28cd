"""Own what a run prints: a line per step while it happens, errors with their fix, one JSON document on request."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from lib.engine.plan import RunResult, StepResult
from lib.secrets import mask

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.text import Text

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
VERBS = {"observe": "looking", "apply": "changing", "verify": "looking again"}
SAY_AFTER = 2.0  # seconds of waiting before plain output says so
NARROW = 60  # columns: below it nothing is indented to stand in a column


class Screen:
    """Prints to stdout, or to stderr where stdout belongs to a JSON document; inside `with` a terminal is live."""

    def __init__(self, as_json: bool, verbose: bool) -> None:
        """Colours and the live line come only on a terminal without CI; NO_COLOR takes the colours."""
        self._stream: TextIO = sys.stderr if as_json else sys.stdout
        self._verbose = verbose
        self._lock = threading.RLock()
        self._said: dict[str, float] = {}
        self._doing: dict[str, str] = {}
        self._width = 16
        self._rich: Console | None = None
        self._live: Status | None = None
        if self._stream.isatty() and "CI" not in os.environ:
            from rich.console import Console  # only a terminal pays for the import

            self._rich = Console(file=self._stream, highlight=False, soft_wrap=True)

    def __enter__(self) -> Screen:
        if self._rich is not None and self._rich.is_terminal:
            self._live = self._rich.status("connecting")
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def line(self, text: str, style: str = "", indent: int = 8) -> None:
        """Print a line; on a terminal what does not fit goes on below, that many columns in."""
        text = mask(text)
        if self._rich is not None and len(text) > self._rich.width:
            inner = " " * (indent if self._rich.width >= NARROW else 0)
            text = textwrap.fill(
                text, self._rich.width, subsequent_indent=inner, break_on_hyphens=False, drop_whitespace=True
            )
        with self._lock:
            try:
                if self._rich is not None:
                    self._rich.print(text, style=style or None, markup=False, emoji=False)
                else:
                    print(text, file=self._stream, flush=True)
            except OSError:  # the reader has left, or the disk is full that the output goes to
                nobody_listens(self._stream)

    def title(self, text: str) -> None:
        """Print the first line of a run: what, and against which cluster."""
        self.line(text, "bold")

    # ------------------------------------------------------- engine's Progress

    def expect(self, names: list[str]) -> None:
        """Align for these step names."""
        self._width = max([self._width, *(len(name) for name in names)])

    def began(self, step: str, verb: str) -> None:
        """Say what is being done: live on a terminal, as a line on request."""
        if verb == "apply":  # every step has been looked at by now
            self._doing = {name: text for name, text in self._doing.items() if text != VERBS["observe"]}
        self._show(step, VERBS[verb])
        if self._verbose:
            self.line(f"  … {step}: {VERBS[verb]}", "dim")

    def waiting(self, step: str, what: str, seconds: float, last: str) -> None:
        """Say what is waited for: live, or as a line after some seconds and then ever more rarely."""
        waited = f" for {seconds:.0f} s" if seconds >= 1 else ""
        text = f"waits{waited}: {what} ({last})"
        self._show(step, text)
        due = self._said.get(step, SAY_AFTER)
        if self._verbose or (seconds >= due and self._live is None):
            self._said[step] = max(seconds * 2, due * 2)
            self.line(f"  … {step} {text}", "dim")

    def stopping(self, steps: Sequence[str]) -> None:
        """Say what is still waited for after Ctrl-C."""
        self.line(f"  interrupted: waits for {', '.join(steps)} to end; Ctrl-C again stops at once", "yellow")

    def _show(self, step: str, text: str | None) -> None:
        """Let the live line say what every running step does."""
        if self._live is None or self._rich is None:
            return
        with self._lock:
            self._doing.pop(step, None)
            if text is not None:
                self._doing[step] = mask(text)
            told = " · ".join(f"{step}: {text}" for step, text in reversed(self._doing.items()))
            self._live.update(_plain(textwrap.shorten(told, self._rich.width - 4, placeholder=" …")))

    def ended(self, result: StepResult) -> None:
        """Print a step's line, its changes and its error, and nothing of another step between them."""
        with self._lock:
            self._ended(result)

    def _ended(self, result: StepResult) -> None:
        self._show(result.name, None)
        mark, style = MARKS[result.outcome]
        word = WORDS.get(result.outcome, result.outcome)
        head = f"  {mark} {result.name:<{self._width}}  {word:<9} {result.seconds:6.2f} s  "
        reason = result.reason if result.error is None else ""  # the error says it in full
        self.line(f"{head}{reason}".rstrip(), style, indent=len(head))
        if result.outcome in ("changed", "pending", "refused") or self._verbose:
            for change in result.changes:
                if not change.refresh or self._verbose:
                    self._change(change.attribute, change.before, change.after)
        for remark in result.remarks:
            self.line(f"      note: {remark}", "yellow")
        if result.error is not None:
            place = f"[{result.error.where}]"
            where = f" {place}" if result.error.where and place not in result.error.problem else ""
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
        outcome = run.problems[0].problem if run.problems else run.outcome
        self.line(f"{run.command}: {outcome} in {run.seconds:.2f} s: {told}{suffix}", "bold")


def _plain(text: str) -> Text:
    from rich.text import Text

    return Text(text, style="dim", no_wrap=True)


def nobody_listens(stream: TextIO) -> None:
    """Go on in silence where the reader has left (`… | head`): what is being done is finished all the same."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_json(run: RunResult) -> None:
    """Print the one document on stdout."""
    print(json.dumps(run.document(), ensure_ascii=False), flush=True)
