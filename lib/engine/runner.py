"""Own the run: observe everything, plan, ask the guards, apply along the graph, observe again.

What is independent happens at the same time, on a bounded number of threads. A
failed step stops what needs it and lets the rest finish.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol

from lib.engine.evidence import Evidence
from lib.engine.plan import StepResult
from lib.engine.runlog import RunLog
from lib.engine.step import UNKNOWN, C, Change, Danger, Inputs, Step, Unknown
from lib.errors import INTERRUPTED, GroundworkError, LostAnswerError, Problem, RefusedError

THREADS = 8
current_step: ContextVar[str] = ContextVar("current_step", default="")


class Progress(Protocol):
    """Who is told what happens while it happens."""

    def began(self, step: str, verb: str) -> None:
        """Tell that a step is being observed, applied or verified."""

    def ended(self, result: StepResult) -> None:
        """Tell what became of a step."""

    def waiting(self, step: str, what: str, seconds: float, last: str) -> None:
        """Tell what a step waits for, how long already, and what was last seen."""

    def stopping(self, steps: Sequence[str]) -> None:
        """Tell that the user has asked to stop, and which steps are let finish."""


@dataclass(frozen=True)
class Options:
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


@dataclass
class _Node:
    step: Step[Any, Any, Any, Any]
    result: StepResult
    seen: Any = None
    wanted: Any = UNKNOWN
    recent: bool = False
    error: Problem | None = None
    todo: bool = False
    begun: bool = False
    done: bool = False
    applied: bool = False
    said: bool = False


class Runner(Generic[C]):
    """One run over a graph of steps, with one set of clients."""

    def __init__(
        self,
        steps: Sequence[Step[C, Any, Any, Any]],
        clients: C,
        options: Options,
        evidence: Mapping[str, Evidence],
        inputs_digest: str,
        log: RunLog,
        progress: Progress,
        located: Callable[[Problem], Problem] = lambda problem: problem,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the steps in an order in which each comes after what it needs, and where evidence of each is kept.

        `located` gives a problem its line.
        """
        self._nodes = {step.name: _Node(step, StepResult(step.name, "unchanged")) for step in steps}
        self._clients = clients
        self._options = options
        self._evidence = evidence
        self._digest = inputs_digest
        self._log = log
        self._progress = progress
        self._located = located
        self._clock = clock
        self._outputs: dict[str, object] = {}
        self._stopping = False

    def run(self) -> list[StepResult]:
        """Make the run and return a result per step, in the order given.

        Raises:
            KeyboardInterrupt: the user asked to stop; the running steps were let finish.
        """
        self._observe_all()
        for node in self._nodes.values():
            self._plan(node)
        refused = self._options.guard and self._refuse()
        if not self._options.dry_run and not refused:
            self._apply_all()
        self._finish()
        if self._stopping:
            raise KeyboardInterrupt
        return [node.result for node in self._nodes.values()]

    # ------------------------------------------------------------ observe

    def _observe_all(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(self._observe, node, True) for node in self._nodes.values()]
            for future in futures:
                future.result()

    def _observe(self, node: _Node, may_be_recent: bool) -> None:
        step, began = node.step, self._clock()
        current_step.set(step.name)
        self._progress.began(step.name, "observe")
        age = self._evidence[step.name].age_of_check(step.name, self._digest) if step.max_age is not None else None
        trusted = not self._options.deep and step.name not in self._options.rerun
        node.recent = may_be_recent and trusted and age is not None and age < (step.max_age or 0)
        node.error = None
        try:
            node.seen = step.observe(self._clients, node.recent)
        except GroundworkError as error:
            node.error = error.report
        node.result.seconds += self._clock() - began

    # --------------------------------------------------------------- plan

    def _plan(self, node: _Node) -> None:
        """Compare one step's world with its wish; leave the outcome in its result."""
        step, result = node.step, node.result
        node.todo = False
        result.changes, result.error, result.remarks = [], None, []
        if broken := self._broken(node):
            result.outcome, result.reason = "blocked", f"needs {', '.join(broken)}"
            return
        if node.error is not None:
            self._fail(node, node.error)
            return
        try:
            node.wanted = step.desired(Inputs(self._outputs))
            result.remarks = list(step.remarks(node.seen))
            if isinstance(node.wanted, Unknown):
                waits = [n for n in step.needs if n in self._nodes and self._nodes[n].todo]
                result.outcome, result.reason = "pending", f"known after {', '.join(waits) or 'apply'}"
                node.todo = True
                self._only_look(node)
                return
            if not self._has_problems(node):
                self._compare(node)
                self._only_look(node)
        except GroundworkError as error:
            self._fail(node, error.report)

    def _has_problems(self, node: _Node) -> bool:
        problems = [self._located(problem) for problem in node.step.problems(node.seen, node.wanted)]
        if problems:
            self._fail(node, _joined(node.step.name, problems))
        return bool(problems)

    def _compare(self, node: _Node) -> None:
        step, result = node.step, node.result
        result.changes = list(step.changes(node.seen, node.wanted))
        if step.name in self._options.rerun and not step.checks_only and all(c.refresh for c in result.changes):
            result.changes.append(Change("rerun", None, "asked for"))
        self._leave_alone(node)
        node.todo = bool(result.changes)
        if any(not change.refresh for change in result.changes):
            result.outcome = "pending"
            result.reason = f"{len(result.changes)} to change"
            self._outputs.pop(step.name, None)
            if step.promises:
                self._outputs[step.name] = step.output(node.seen, node.wanted)
            return
        self._outputs[step.name] = step.output(node.seen, node.wanted)
        result.outcome = "unchanged"
        result.reason = step.reason(node.seen, node.wanted)
        if node.recent:
            age = self._evidence[step.name].age_of_check(step.name, self._digest) or 0
            result.reason += f"; relies on slow checks made {_ago(age)}"
        if node.todo:
            result.reason += "; renewed at every run"

    def _broken(self, node: _Node) -> list[str]:
        return [name for name in node.step.needs if self._outcome(name) in ("failed", "blocked", "refused")]

    def _leave_alone(self, node: _Node) -> None:
        """Drop what would have to be allowed in a step that is only needed: it is stale, and said."""
        if node.step.name in self._options.needed and node.result.changes:
            stale = [danger.what for danger in self._refused(node)]
            if stale:
                node.result.changes = []
                node.result.remarks.append(f"{node.step.name} is left as it is: {'; '.join(stale)}")

    def _only_look(self, node: _Node) -> None:
        """Fail a step that would have to be applied and may only be looked at; what is renewed anyway is left."""
        if node.step.name not in self._options.checked:
            return
        if node.result.outcome == "pending":
            what = ", ".join(change.attribute for change in node.result.changes[:5]) or node.result.reason
            self._fail(node, Problem(node.step.name, f"is not as desired ({what})", "run it without --only"))
        node.todo = False

    def _outcome(self, name: str) -> str:
        return self._nodes[name].result.outcome if name in self._nodes else "unchanged"

    def _fail(self, node: _Node, problem: Problem) -> None:
        node.todo = False
        problem = self._located(problem)
        node.result.outcome, node.result.error = "failed", problem
        node.result.reason = problem.problem.split("\n", 1)[0]
        self._outputs.pop(node.step.name, None)

    # -------------------------------------------------------------- guard

    def _refuse(self) -> bool:
        """Refuse the plan as a whole where a danger is not allowed; return whether it was."""
        refused = [node for node in self._nodes.values() if self._refuse_one(node)]
        return bool(refused)

    def _refuse_one(self, node: _Node) -> bool:
        if not node.todo or isinstance(node.wanted, Unknown):
            return False
        dangers = self._refused(node)
        if not dangers:
            return False
        names = ",".join(dict.fromkeys(danger.override for danger in dangers))
        what = "; ".join(danger.what for danger in dangers)
        problem = Problem(node.step.name, f"refused: {what}", f"if that is what you want, add --allow {names}")
        self._fail(node, problem)
        node.result.outcome = "refused"
        return True

    def _refused(self, node: _Node) -> list[Danger]:
        """Return what of a step's plan is not allowed."""
        return [d for d in node.step.dangers(node.seen, node.wanted) if d.override not in self._options.allow]

    # -------------------------------------------------------------- apply

    def _apply_all(self) -> None:
        for node in self._nodes.values():
            node.done = not node.todo and not self._upstream(node, lambda n: not n.done)
            if node.done:
                self._say(node)
        running: dict[Future[None], _Node] = {}
        with ThreadPoolExecutor(THREADS) as pool, self._stopped_by_ctrl_c():
            while True:
                for node in [] if self._stopping else self._ready():
                    node.begun = True
                    running[pool.submit(self._apply, node)] = node
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    running.pop(future).done = True
                    future.result()

    @contextlib.contextmanager
    def _stopped_by_ctrl_c(self) -> Iterator[None]:
        """Let Ctrl-C begin no further step, and a second one end the process; an exception could come anywhere."""

        def stop(*_: object) -> None:
            if self._stopping:
                os._exit(INTERRUPTED)
            self._stopping = True
            self._progress.stopping([name for name, node in self._nodes.items() if node.begun and not node.done])

        before = signal.getsignal(signal.SIGINT)
        if before is not signal.default_int_handler:  # it is ignored, or somebody else's
            yield
            return
        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ready(self) -> list[_Node]:
        return [
            node
            for node in self._nodes.values()
            if not node.done and not node.begun and not self._upstream(node, lambda n: not n.done)
        ]

    def _upstream(self, node: _Node, test: Callable[[_Node], bool]) -> bool:
        return any(test(self._nodes[n]) for n in node.step.needs if n in self._nodes)

    def _is_settled(self, node: _Node) -> bool:
        """Return whether a step failed or was refused for good; one that could not be observed may be by now."""
        if node.error is not None:
            return not self._changed_before(node)
        return node.result.outcome in ("failed", "refused")

    def _changed_before(self, node: _Node) -> bool:
        return self._upstream(node, lambda n: n.result.outcome == "changed")

    def _plan_again(self, node: _Node) -> bool:
        """Compare once more where something before it was applied; return whether there is something to do."""
        if not self._broken(node) and (self._changed_before(node) or isinstance(node.wanted, Unknown)):
            # What came before has changed the world: look again before acting on it.
            self._observe(node, True)
            self._plan(node)
        elif self._upstream(node, lambda n: n.result.outcome != "unchanged"):
            self._plan(node)
        return node.todo and not self._refuse_one(node)

    def _apply(self, node: _Node) -> None:
        step, result = node.step, node.result
        current_step.set(step.name)
        if self._is_settled(node) or not self._plan_again(node):
            self._say(node)
            return
        began = self._clock()
        self._progress.began(step.name, "apply")
        self._log.write("apply", step=step.name, changes=[c.attribute for c in result.changes])
        try:
            try:
                self._change(node)
            except LostAnswerError as lost:
                self._change_again(node, lost)
        except GroundworkError as error:
            self._fail(node, error.report)
            if isinstance(error, RefusedError):
                result.outcome = "refused"
        result.seconds += self._clock() - began
        self._say(node)

    def _change(self, node: _Node) -> None:
        step, result = node.step, node.result
        output = step.apply(self._clients, node.seen, node.wanted)
        node.applied = True
        self._progress.began(step.name, "verify")
        node.seen = step.observe(self._clients, False)
        node.recent = False
        if self._has_problems(node):
            return
        result.remarks = list(step.remarks(node.seen))
        left = [c for c in step.changes(node.seen, node.wanted) if not c.refresh]
        if left:
            what = "; ".join(f"{c.attribute} (got {c.before}, want {c.after})" for c in left)
            problem = f"is not as desired after it was applied: {what}"
            self._fail(node, Problem(step.name, problem, "run the same command again; if it stays, see the run log"))
            return
        self._outputs[step.name] = output if output is not None else step.output(node.seen, node.wanted)
        fresh = all(change.refresh for change in result.changes)
        result.outcome = "refreshed" if fresh else "changed"
        result.reason = step.reason(node.seen, node.wanted)
        node.todo = False

    def _change_again(self, node: _Node, lost: LostAnswerError) -> None:
        """Look what became of a change whose answer was lost, and do what is left; once."""
        changes, seconds = node.result.changes, node.result.seconds
        self._progress.waiting(node.step.name, "a second look", 0.0, str(lost))
        self._log.write("lost", step=node.step.name, problem=lost.report.problem)
        self._observe(node, False)
        self._plan(node)
        node.result.changes, node.result.seconds = changes, seconds
        if node.result.outcome != "failed" and not self._refuse_one(node):
            self._change(node)

    def _say(self, node: _Node) -> None:
        if node.said:
            return
        node.said = True
        finished = self._evidence[node.step.name].of(node.step.name).get("finished") if self._options.history else None
        if finished is not None:
            node.result.reason += time.strftime("; made so %Y-%m-%d %H:%M", time.localtime(finished))
        self._log.write("step", **node.result.document())
        self._progress.ended(node.result)

    # ------------------------------------------------------------- finish

    def _finish(self) -> None:
        for node in self._nodes.values():
            self._say(node)
            if self._options.dry_run:
                continue
            if node.result.outcome in ("unchanged", "changed", "refreshed"):
                self._evidence[node.step.name].record(
                    node.step.name,
                    inputs=self._digest,
                    observed=node.seen,
                    seconds=node.result.seconds,
                    applied=node.applied,
                    checked=not node.recent,
                )
            elif node.result.outcome in ("failed", "refused"):
                self._evidence[node.step.name].forget(node.step.name)
        for evidence in dict.fromkeys(self._evidence.values()) if not self._options.dry_run else ():
            evidence.save()


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
