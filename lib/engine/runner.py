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
from typing import Any, Generic, Protocol

from lib.engine.evidence import Evidence
from lib.engine.plan import StepResult
from lib.engine.planning import Node, Options, Planning
from lib.engine.runlog import RunLog
from lib.engine.step import C, Step, Unknown
from lib.errors import INTERRUPTED, GroundworkError, LostAnswerError, Problem, RefusedError

THREADS = 8
A_MOMENT = 0.2  # s
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
        self._planning = Planning(steps, options, located)
        self._clients = clients
        self._options = options
        self._evidence = evidence
        self._digest = inputs_digest
        self._log = log
        self._progress = progress
        self._clock = clock
        self.stopped = False

    def run(self, may_go_on: Callable[[], None] = lambda: None) -> list[StepResult]:
        """Make the run and return a result per step, in the order given.

        `may_go_on` is asked before each step is applied; it raises GroundworkError where that must not be.
        """
        self._may_go_on = may_go_on
        self._observe_all()
        for node in self._planning.nodes.values():
            self._planning.plan(node)
        refused = self._options.guard and self._planning.refuse()
        if not self._options.dry_run and not refused:
            self._apply_all()
        self._finish()
        return [node.result for node in self._planning.nodes.values()]

    # ------------------------------------------------------------ observe

    def _observe_all(self) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(self._observe, node, True) for node in self._planning.nodes.values()]
            for future in futures:
                future.result()

    def _observe(self, node: Node, may_be_recent: bool) -> None:
        step, began = node.step, self._clock()
        current_step.set(step.name)
        self._progress.began(step.name, "observe")
        age = self._evidence[step.name].age_of_check(step.name, self._digest) if step.max_age is not None else None
        trusted = not self._options.deep and step.name not in self._options.rerun
        node.recent = may_be_recent and trusted and age is not None and age < (step.max_age or 0)
        node.age = age or 0.0
        node.error = None
        try:
            node.seen = step.observe(self._clients, node.recent)
        except GroundworkError as error:
            node.error = error.report
        node.result.seconds += self._clock() - began

    # -------------------------------------------------------------- apply

    def _apply_all(self) -> None:
        for node in self._planning.nodes.values():
            node.done = not node.todo and not self._planning.upstream(node, lambda n: not n.done)
            if node.done:
                self._say(node)
        running: dict[Future[None], Node] = {}
        with ThreadPoolExecutor(THREADS) as pool, self._stopped_by_ctrl_c():
            while True:
                for node in [] if self.stopped else self._ready():
                    node.begun = True
                    running[pool.submit(self._apply, node)] = node
                if not running:
                    break
                # A Ctrl-C that does not wake this thread is seen when the wait ends: so none is long.
                for future in wait(running, A_MOMENT, FIRST_COMPLETED).done:
                    running.pop(future).done = True
                    future.result()

    @contextlib.contextmanager
    def _stopped_by_ctrl_c(self) -> Iterator[None]:
        """Let Ctrl-C begin no further step, and a second one end the process; an exception could come anywhere."""

        def stop(*_: object) -> None:
            if self.stopped:
                os._exit(INTERRUPTED)
            self.stopped = True
            self._progress.stopping(
                [name for name, node in self._planning.nodes.items() if node.begun and not node.done]
            )

        ours = [  # others are ignored, or somebody else's
            number
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) is signal.default_int_handler
        ]
        for number in ours:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number in ours:
                signal.signal(number, signal.default_int_handler)

    def _ready(self) -> list[Node]:
        return [
            node
            for node in self._planning.nodes.values()
            if not node.done and not node.begun and not self._planning.upstream(node, lambda n: not n.done)
        ]

    def _is_settled(self, node: Node) -> bool:
        """Return whether a step failed or was refused for good; one that could not be observed may be by now."""
        if node.error is not None:
            return not self._changed_before(node)
        return node.result.outcome in ("failed", "refused")

    def _changed_before(self, node: Node) -> bool:
        return self._planning.upstream(node, lambda n: n.result.outcome == "changed")

    def _plan_again(self, node: Node) -> bool:
        """Compare once more where something before it was applied; return whether there is something to do."""
        if not self._planning.broken(node) and (self._changed_before(node) or isinstance(node.wanted, Unknown)):
            # What came before has changed the world: look again before acting on it.
            self._observe(node, True)
            self._planning.plan(node)
        elif self._planning.upstream(node, lambda n: n.result.outcome != "unchanged"):
            self._planning.plan(node)
        return node.todo and not self._planning.refuse_one(node)

    def _apply(self, node: Node) -> None:
        step, result = node.step, node.result
        current_step.set(step.name)
        if self._is_settled(node) or not self._plan_again(node):
            self._say(node)
            return
        began = self._clock()
        self._progress.began(step.name, "apply")
        self._log.write("apply", step=step.name, changes=[c.attribute for c in result.changes])
        try:
            self._may_go_on()
            try:
                self._change(node)
            except LostAnswerError as lost:
                self._change_again(node, lost)
        except GroundworkError as error:
            self._planning.fail(node, error.report)
            if isinstance(error, RefusedError):
                result.outcome = "refused"
        result.seconds += self._clock() - began
        self._say(node)

    def _change(self, node: Node) -> None:
        step, result = node.step, node.result
        output = step.apply(self._clients, node.seen, node.wanted)
        node.applied = True
        self._progress.began(step.name, "verify")
        node.seen = step.observe(self._clients, False)
        node.recent = False
        if self._planning.has_problems(node):
            return
        result.remarks = list(step.remarks(node.seen))
        left = [c for c in step.changes(node.seen, node.wanted) if not c.refresh]
        if left:
            what = "; ".join(f"{c.attribute} (got {c.before}, want {c.after})" for c in left)
            problem = f"is not as desired after it was applied: {what}"
            self._planning.fail(
                node, Problem(step.name, problem, "run the same command again; if it stays, see the run log")
            )
            return
        self._planning.outputs[step.name] = output if output is not None else step.output(node.seen, node.wanted)
        fresh = all(change.refresh for change in result.changes)
        result.outcome = "refreshed" if fresh else "changed"
        result.reason = step.reason(node.seen, node.wanted)
        node.todo = False

    def _change_again(self, node: Node, lost: LostAnswerError) -> None:
        """Look what became of a change whose answer was lost, and do what is left; once."""
        changes, seconds = node.result.changes, node.result.seconds
        self._progress.waiting(node.step.name, "a second look", 0.0, str(lost))
        self._log.write("lost", step=node.step.name, problem=lost.report.problem)
        self._observe(node, False)
        self._planning.plan(node)
        node.result.changes, node.result.seconds = changes, seconds
        if node.result.outcome != "failed" and not self._planning.refuse_one(node):
            self._change(node)

    def _say(self, node: Node) -> None:
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
        for node in self._planning.nodes.values():
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
