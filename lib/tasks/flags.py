"""Own the flags of the phase tasks: their help, and their way into the flags of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Context, Exit

from lib.errors import FAILED

if TYPE_CHECKING:
    from lib.tasks.run import Flags

HELP = {
    "dry-run": "Show what would be changed; change nothing anywhere.",
    "json": "Print one JSON document on stdout; progress goes to stderr.",
    "timeout": "Upper bound in seconds for any one remote operation.",
    "rerun": "Steps to apply even where nothing differs (a,b).",
    "allow": "One thing that a guard refused, by the name it printed.",
    "only": "Run just this phase; what it needs is checked.",
    "verbose": "Say each wait, retry and refresh.",
}


def flags_of(c: Context, **given: Any) -> Flags:
    """Check what was typed for the task itself and, on the same line, for other phases; `invoke --dry` is --dry-run.

    Raises:
        Exit: another executor called the task.
        UsageError: a value cannot be used.
    """
    from lib.tasks.run import Flags, names, seconds

    if getattr(c, "phases", None) is None:
        raise Exit("run this through the project's own executor: keep invoke.yaml beside tasks.py", code=FAILED)
    typed = dict(c.more) | given
    status = bool(typed.get("status"))
    rerun = [*(typed["rerun"] or []), *(typed.get("skip_phases") or []), *(["zones"] if typed.get("force") else [])]
    return Flags(
        dry_run=typed["dry_run"] or status or bool(c.config.run.dry),
        as_json=typed["json"],
        timeout=seconds(typed["timeout"]),
        rerun=names(rerun),
        allow=names(typed["allow"] or []),
        only=typed["only"],
        verbose=typed["verbose"],
        rebuild=bool(typed.get("force_rebuild")),
        backup=typed.get("backup") or "",
        reset_state=bool(typed.get("reset_state")),
        detailed=bool(typed.get("detailed_exitcode")) and status,
    )
