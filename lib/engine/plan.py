"""Own the plan and the result of a run as values: they render as text, JSON and Markdown.

Nothing here looks at the world or changes it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from lib.engine.step import Change
from lib.errors import Problem
from lib.secrets import mask

Outcome = Literal["unchanged", "changed", "refreshed", "pending", "failed", "blocked", "refused"]


class StepResult(msgspec.Struct):
    """What became, or would become, of one step. `seconds` is wall time, observation included."""

    name: str
    outcome: Outcome
    reason: str = ""
    changes: list[Change] = []
    seconds: float = 0.0
    error: Problem | None = None
    remarks: list[str] = []

    def document(self) -> dict[str, Any]:
        """Return the step as it stands in `--json`."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "reason": mask(self.reason),
            "changes": [
                {"attribute": c.attribute, "before": _masked(c.before), "after": _masked(c.after)} for c in self.changes
            ],
            "seconds": round(self.seconds, 3),
            "error": _error(self.error),
        }


def _masked(text: str | None) -> str | None:
    return None if text is None else mask(text)


def _error(error: Problem | None) -> dict[str, str] | None:
    if error is None:
        return None
    return {
        "subject": mask(error.subject),
        "problem": mask(error.problem),
        "fix": mask(error.fix),
        "where": error.where,
    }


# A run is as bad as its worst step; refreshed counts as unchanged.
_SEVERITY: list[Outcome] = ["refused", "failed", "blocked", "pending", "changed"]


def overall(outcomes: list[Outcome]) -> Outcome:
    """Return the outcome of a phase or run made of these."""
    for outcome in _SEVERITY:
        if outcome in outcomes:
            return "failed" if outcome == "blocked" else outcome
    return "unchanged"


class PhaseResult(msgspec.Struct):
    """A phase's steps in the order in which they are listed."""

    name: str
    steps: list[StepResult]

    @property
    def outcome(self) -> Outcome:
        """The worst of the steps' outcomes."""
        return overall([step.outcome for step in self.steps])


class RunResult(msgspec.Struct):
    """One run: what was asked, where, and what became of it; `problems` say why it did not begin, or not end."""

    command: str
    target: str
    phases: list[PhaseResult]
    seconds: float = 0.0
    problems: list[Problem] = []

    @property
    def outcome(self) -> Outcome:
        """The worst of the phases' outcomes; failed where the run did not begin or end."""
        if self.problems:
            return "failed"
        return overall([phase.outcome for phase in self.phases])

    def document(self) -> dict[str, Any]:
        """Return the `--json` document, schema 1."""
        told = [_error(problem) for problem in self.problems]
        return {
            "schema": 1,
            "command": self.command,
            "target": self.target,
            "outcome": self.outcome,
            "seconds": round(self.seconds, 3),
            **({"error": told[0], "errors": told} if told else {}),
            "phases": [
                {"name": p.name, "outcome": p.outcome, "steps": [s.document() for s in p.steps]} for p in self.phases
            ],
        }

    def markdown(self) -> str:
        """Return the plan as a Markdown table, for a review or a ticket."""
        lines = [f"# {self.command} on {self.target}: {self.outcome}", ""]
        lines += ["| step | outcome | attribute | before | after |", "| --- | --- | --- | --- | --- |"]
        for step in (step for phase in self.phases for step in phase.steps):
            for change in step.changes or [Change("–", None, None)]:
                cells = (step.name, step.outcome, change.attribute, change.before or "–", change.after or "–")
                lines.append("| " + " | ".join(mask(cell).replace("|", "\\|") for cell in cells) + " |")
        return "\n".join(lines) + "\n"
