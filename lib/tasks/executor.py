"""Own how a task line becomes one run: phase tasks are merged, `pre` is declared and walked by us.

Invoke would run each pre-task on its own, with its own defaults; a dry run of a
later phase would then really run the earlier ones.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

from invoke import Call, Context, Executor, Exit

from lib.engine.plan import RunResult
from lib.errors import FAILED, INTERRUPTED, INTERRUPTION, ConfigurationError, GroundworkError, Problem, UsageError
from lib.secrets import mask
from lib.tasks.console import nobody_listens, print_json

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class PhaseCall(Call):
    """A call that tells its body, through the context, which phases the one run is for.

    `more` are flags that were typed for another phase of the line, and that this body does not have.
    """

    phases: tuple[str, ...] = ()
    more: Mapping[str, Any] = {}

    def make_context(self, config: Any) -> Context:
        """Return the context with both set; a body that finds none was called by another executor."""
        context: Context = super().make_context(config)
        context._set(phases=self.phases, more=self.more)
        return context


class OneRun(Executor):
    """Run neighbouring phase tasks of one line as one run; every other task as Invoke does."""

    _json_command = ""  # the command that owes stdout a JSON document

    def expand_calls(self, calls: list[Any]) -> list[Call]:
        """Merge phase calls; nothing is expanded: `pre` stays the declared graph."""
        owing = (
            getattr(call.task.body, "phase", call.called_as)
            for call in calls
            if call.kwargs.get("json") and not call.called_as.startswith("lab.")
        )
        self._json_command = next(owing, "")
        merged: list[Call] = []
        for call in calls:
            phase = getattr(call.task.body, "phase", None)
            if phase is None:
                merged.append(call)
                continue
            last = merged[-1] if merged else None
            if isinstance(last, PhaseCall):
                last.phases = (*last.phases, phase)
                own = {name: value for name, value in call.kwargs.items() if name in last.kwargs}
                _add_flags(last.kwargs, own)
                last.more = {**last.more, **{name: call.kwargs[name] for name in call.kwargs.keys() - own.keys()}}
                continue
            one = PhaseCall(call.task, called_as=call.called_as, args=call.args, kwargs=dict(call.kwargs))
            one.phases = (phase,)
            merged.append(one)
        return merged

    def execute(self, *tasks: Any) -> Any:
        """Run the line; whatever ends it early is told with its exit code, and under --json as a document too.

        Raises:
            Exit: with the exit codes of lib/errors.py.
        """
        _open_closed_streams()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a job that is cancelled ends as by Ctrl-C
        try:
            return super().execute(*tasks)
        except Exit:
            raise
        except GroundworkError as error:
            problems = error.problems if isinstance(error, ConfigurationError) else [error.report]
            self._end(str(error), error.exit_code, problems)
        except BrokenPipeError:
            nobody_listens(sys.stdout)
        except KeyboardInterrupt:
            self._end(str(INTERRUPTION), INTERRUPTED, [INTERRUPTION])
        except OSError as error:
            if error.errno in FULL and error.filename is None:
                error.filename = "disk"
            if error.filename is None:
                self._end_with_bug(error)
            problem = Problem(str(error.filename), error.strerror or str(error), "mend that, and run the command again")
            self._end(str(problem), FAILED, [problem])
        except Exception as error:  # noqa: BLE001  (a bug is told as one, with its traceback, secrets masked)
            self._end_with_bug(error)

    def _end_with_bug(self, error: Exception) -> NoReturn:
        fix = 'report it as CONTRIBUTING.md says ("Report a bug"), with the lines above'
        problem = Problem("Groundwork", f"has a bug ({type(error).__name__}: {error})", fix)
        self._end(f"{''.join(traceback.format_exception(error))}{problem}", FAILED, [problem])

    def _end(self, text: str, code: int, problems: list[Problem]) -> NoReturn:
        if self._json_command:
            try:
                print_json(RunResult(self._json_command, "", [], problems=problems))
            except OSError:  # the disk that it goes to may be what is full
                nobody_listens(sys.stdout)
        raise Exit(mask(text), code=code) from None


def _open_closed_streams() -> None:
    """Give a closed stdout or stderr (`>&-`) somewhere to go, and its number to no other file."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def _add_flags(first: dict[str, Any], more: dict[str, Any]) -> None:
    """Let the flags of several phase tasks hold together; two values for one flag are an error."""
    for name, value in more.items():
        old = first.get(name)
        if isinstance(value, list) and isinstance(old, list):
            first[name] = old + value
        elif old and value and old != value:
            flag = "--" + name.replace("_", "-")
            raise UsageError(flag, f"has two values on one line (got {old} and {value})", "give it once")
        else:
            first[name] = value or old
