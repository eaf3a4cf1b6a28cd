"""Own how a task line becomes one run: phase tasks are merged, `pre` is declared and walked by us.

Invoke would run each pre-task on its own, with its own defaults; a dry run of a
later phase would then really run the earlier ones.
"""

from __future__ import annotations

import sys
from typing import Any

from invoke import Call, Context, Executor, Exit

from lib.errors import BAD_CONFIGURATION, INTERRUPTED, GroundworkError
from lib.secrets import mask
from lib.tasks.console import nobody_listens


class PhaseCall(Call):
    """A call that tells its body, through the context, which phases the one run is for."""

    phases: tuple[str, ...] = ()

    def make_context(self, config: Any) -> Context:
        """Return the context with `phases` set; a body that finds none was called by another executor."""
        context: Context = super().make_context(config)
        context._set(phases=self.phases)
        return context


class OneRun(Executor):
    """Run neighbouring phase tasks of one line as one run; every other task as Invoke does."""

    def expand_calls(self, calls: list[Any]) -> list[Call]:
        """Merge phase calls; nothing is expanded: `pre` stays the declared graph."""
        merged: list[Call] = []
        for call in calls:
            phase = getattr(call.task.body, "phase", None)
            if phase is None:
                merged.append(call)
                continue
            last = merged[-1] if merged else None
            if isinstance(last, PhaseCall):
                last.phases = (*last.phases, phase)
                _add_flags(last.kwargs, call.kwargs)
                continue
            one = PhaseCall(call.task, called_as=call.called_as, args=call.args, kwargs=dict(call.kwargs))
            one.phases = (phase,)
            merged.append(one)
        return merged

    def execute(self, *tasks: Any) -> Any:
        """Run the line; a known error ends it with its text and exit code, never a traceback.

        Raises:
            Exit: with the exit codes of lib/errors.py.
        """
        try:
            return super().execute(*tasks)
        except GroundworkError as error:
            raise Exit(mask(str(error)), code=error.exit_code) from None
        except BrokenPipeError:
            nobody_listens(sys.stdout)
        except KeyboardInterrupt:
            raise Exit("interrupted; the next run finishes what this one began", code=INTERRUPTED) from None


def _add_flags(first: dict[str, Any], more: dict[str, Any]) -> None:
    """Let the flags of several phase tasks hold together; two values for one flag are an error."""
    for name, value in more.items():
        old = first.get(name)
        if isinstance(value, list) and isinstance(old, list):
            first[name] = old + value
        elif old and value and old != value:
            flag = name.replace("_", "-")
            raise Exit(f"--{flag}: has two values on one line (got {old} and {value})", code=BAD_CONFIGURATION)
        else:
            first[name] = value or old
