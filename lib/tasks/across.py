"""Own the tasks across all phases: plan, status, drift, doctor, trust."""

from __future__ import annotations

from typing import Any

from invoke import Context, task

from lib.errors import UsageError
from lib.tasks.flags import HELP

LOOK = {key: HELP[key] for key in ("json", "timeout", "verbose")} | {
    "phases": "Look at these phases, and at what they need, alone (a,b).",
}
DETAILED = LOOK | {"detailed-exitcode": "End with 3 where changes are pending."}


def _look(command: str, phases: str, **flags: Any) -> None:
    """Make a run that changes nothing.

    Raises:
        UsageError: there is no such phase.
    """
    from lib.phases import PHASES
    from lib.tasks.run import Flags, names, run, seconds

    wanted = names(phases)
    for name in sorted(wanted - PHASES.keys()):
        raise UsageError("--phases", f"no such phase: {name}", f"the phases are {', '.join(PHASES)}")
    flags["timeout"] = seconds(flags["timeout"])
    run(command, [name for name in PHASES if name in wanted], Flags(dry_run=True, guard=command == "plan", **flags))


@task(help=DETAILED | {"markdown": "Print the plan as Markdown, for a review."})
def plan(
    c: Context,
    phases: str = "",
    json: bool = False,
    markdown: bool = False,
    timeout: str = "",
    verbose: bool = False,
    detailed_exitcode: bool = False,
) -> None:
    """Show what a run of every phase would change; change nothing."""
    if json and markdown:
        raise UsageError("--markdown", "cannot stand beside --json", "ask for one of them")
    detailed, as_markdown = detailed_exitcode, markdown
    _look("plan", phases, as_json=json, as_markdown=as_markdown, timeout=timeout, verbose=verbose, detailed=detailed)


@task(help=DETAILED)
def drift(
    c: Context,
    phases: str = "",
    json: bool = False,
    timeout: str = "",
    verbose: bool = False,
    detailed_exitcode: bool = False,
) -> None:
    """Show what the world has become that the configuration does not say."""
    _look("drift", phases, as_json=json, timeout=timeout, verbose=verbose, detailed=detailed_exitcode)


@task(help=LOOK)
def status(c: Context, phases: str = "", json: bool = False, timeout: str = "", verbose: bool = False) -> None:
    """Show every step as it is now, and when it was last made so."""
    _look("status", phases, as_json=json, timeout=timeout, verbose=verbose)


@task(help=LOOK)
def doctor(c: Context, phases: str = "", json: bool = False, timeout: str = "", verbose: bool = False) -> None:
    """Repeat every slow check, and prove as Packer's token itself each privilege on each path."""
    _look("doctor", phases, as_json=json, timeout=timeout, verbose=verbose, deep=True)


@task(help={"replace": "Address of a host whose recorded key is to be replaced (it was reinstalled)."})
def trust(c: Context, replace: str = "") -> None:
    """Show the hosts' SSH keys and the cluster CA's fingerprint, and record them as trusted."""
    from lib.tasks.trust import record

    record(replace)
