"""Own what a run means to do: each step's world against its wish, what blocks or refuses it, and what is left alone.

Looks at nothing and applies nothing; `runner` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.engine.plan import StepResult
from lib.engine.step import UNKNOWN, Change, Danger, Inputs, Step, Unknown
from lib.errors import GroundworkError, Problem


class Options(msgspec.Struct, frozen=True):
    """The flags that hold for a whole run.

    `deep` relies on no recent check; without `guard` nothing is refused, for nothing is meant to be done;
    `history` adds when each step was last made so. Of the steps that are there only because others need
    them, those in `checked` are looked at and never applied; those in `needed` are left as they are where
    closing the difference would have to be allowed.
    """

    dry_run: bool = False
    guard: bool = True
    history: bool = False
    rerun: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()
    deep: bool = False
    checked: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()


class Node(msgspec.Struct):
    """A step in a run, and what is known of it; `age` of the check that a recent one relies on, in seconds."""

    step: Step[Any, Any, Any, Any]
    result: StepResult
    seen: Any = None
    wanted: Any = UNKNOWN
    recent: bool = False
    age: float = 0.0
    error: Problem | None = None
    todo: bool = False
    begun: bool = False
    done: bool = False
    applied: bool = False
    said: bool = False


class Planning:
    """The graph of a run's steps, the outcome of each as far as it is known, and what they give to one another."""

    def __init__(
        self, steps: Sequence[Step[Any, Any, Any, Any]], options: Options, located: Callable[[Problem], Problem]
    ) -> None:
        """Take the steps in an order in which each comes after what it needs; `located` gives a problem its line."""
        self.nodes = {step.name: Node(step, StepResult(step.name, "unchanged")) for step in steps}
        self.outputs: dict[str, object] = {}
        self._options = options
        self._located = located

    def plan(self, node: Node) -> None:
        """Compare one step's world with its wish; leave the outcome in its result."""
        step, result = node.step, node.result
        node.todo = False
        result.changes, result.error, result.remarks = [], None, []
        if broken := self.broken(node):
            result.outcome, result.reason = "blocked", f"needs {', '.join(broken)}"
            return
        if node.error is not None:
            self.fail(node, node.error)
            return
        try:
            node.wanted = step.desired(Inputs(self.outputs))
            result.remarks = list(step.remarks(node.seen))
            if isinstance(node.wanted, Unknown):
                waits = [n for n in step.needs if n in self.nodes and self.nodes[n].todo]
                result.outcome, result.reason = "pending", f"known after {', '.join(waits) or 'apply'}"
                node.todo = True
                self._only_look(node)
                return
            if not self.has_problems(node):
                self._compare(node)
                self._only_look(node)
        except GroundworkError as error:
            self.fail(node, error.report)

    def has_problems(self, node: Node) -> bool:
        """Fail a step that no apply of ours can mend; return whether it is one."""
        problems = [self._located(problem) for problem in node.step.problems(node.seen, node.wanted)]
        if problems:
            self.fail(node, _joined(node.step.name, problems))
        if self._options.guard and any(problem.refused for problem in problems):
            node.result.outcome = "refused"
        return bool(problems)

    def _compare(self, node: Node) -> None:
        step, result = node.step, node.result
        result.changes = list(step.changes(node.seen, node.wanted))
        if step.name in self._options.rerun and not step.checks_only and all(c.refresh for c in result.changes):
            result.changes.append(Change("rerun", None, step.on_rerun))
        left = self._leave_alone(node)
        node.todo = bool(result.changes)
        if any(not change.refresh for change in result.changes):
            result.outcome = "pending"
            result.reason = f"{len(result.changes)} to change"
            self.outputs.pop(step.name, None)
            if step.promises:
                self.outputs[step.name] = step.output(node.seen, node.wanted)
            return
        self.outputs[step.name] = step.output(node.seen, node.wanted)
        result.outcome = "unchanged"
        result.reason = step.reason(node.seen, node.wanted) + left
        if node.recent:
            result.reason += f"; relies on slow checks made {_ago(node.age)}"
        if node.todo:
            result.reason += "; renewed at every run"

    def broken(self, node: Node) -> list[str]:
        """Return what a step needs and does not have, since it failed."""
        return [name for name in node.step.needs if self._outcome(name) in ("failed", "blocked", "refused")]

    def _leave_alone(self, node: Node) -> str:
        """Drop what would have to be allowed in a step that is only needed: it is stale; return how that is said."""
        if node.step.name not in self._options.needed or not node.result.changes:
            return ""
        stale = "; ".join(danger.what for danger in self._refused(node))
        if stale:
            node.result.changes = []
        return f"; left as it is: {stale}" if stale else ""

    def _only_look(self, node: Node) -> None:
        """Fail a step that would have to be applied and may only be looked at; what is renewed anyway is left."""
        if node.step.name not in self._options.checked:
            return
        if node.result.outcome == "pending":
            what = ", ".join(change.attribute for change in node.result.changes[:5]) or node.result.reason
            self.fail(node, Problem(node.step.name, f"is not as desired ({what})", "run it without --only"))
        node.todo = False

    def _outcome(self, name: str) -> str:
        return self.nodes[name].result.outcome if name in self.nodes else "unchanged"

    def fail(self, node: Node, problem: Problem) -> None:
        """Leave a step with a problem, and without an output."""
        node.todo = False
        problem = self._located(problem)
        node.result.outcome, node.result.error = "failed", problem
        node.result.reason = problem.problem.split("\n", 1)[0]
        self.outputs.pop(node.step.name, None)

    def refuse(self) -> bool:
        """Refuse the plan as a whole where a part of it is not allowed; return whether it was."""
        refused = [node for node in self.nodes.values() if self.refuse_one(node) or node.result.outcome == "refused"]
        return bool(refused)

    def refuse_one(self, node: Node) -> bool:
        """Refuse a step with a danger that is not allowed; return whether it was refused."""
        if not node.todo or isinstance(node.wanted, Unknown):
            return False
        dangers = self._refused(node)
        if not dangers:
            return False
        what = "; ".join(danger.what for danger in dangers)
        fixes = [danger.fix for danger in dangers if not danger.override]
        if names := ",".join(dict.fromkeys(danger.override for danger in dangers if danger.override)):
            fixes.append(f"if that is what you want, add --allow {names}")
        self.fail(node, Problem(node.step.name, f"refused: {what}", "\n".join(fixes)))
        node.result.outcome = "refused"
        return True

    def _refused(self, node: Node) -> list[Danger]:
        """Return what of a step's plan is not allowed."""
        allowed = self._options.allow - {""}
        return [danger for danger in node.step.dangers(node.seen, node.wanted) if danger.override not in allowed]

    def upstream(self, node: Node, test: Callable[[Node], bool]) -> bool:
        """Tell whether the test holds for a step that this one needs."""
        return any(test(self.nodes[n]) for n in node.step.needs if n in self.nodes)


def _joined(step: str, problems: list[Problem]) -> Problem:
    if len(problems) == 1:
        return problems[0]
    text = f"{len(problems)} problems\n" + "\n".join(str(replace(problem, fix="")) for problem in problems)
    fixes = "\n".join(dict.fromkeys(p.fix for p in problems if p.fix))
    return Problem(step, text, fixes, next((p.where for p in problems if p.where), ""))


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago"
