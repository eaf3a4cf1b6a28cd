"""Own the tasks across all phases: plan, status, drift, doctor, trust."""

from __future__ import annotations

from typing import Any

from invoke import Context, task

from lib.tasks.flags import HELP

LOOK = {key: HELP[key] for key in ("json", "timeout", "verbose")} | {
    "detailed-exitcode": "End with 3 where changes are pending.",
}


def _look(command: str, json: bool, timeout: str, verbose: bool, detailed: bool, markdown: bool = False) -> None:
    from lib.tasks.run import Flags, run, seconds

    shown: dict[str, Any] = {"as_json": json, "as_markdown": markdown, "verbose": verbose, "detailed": detailed}
    run(command, (), Flags(dry_run=True, guard=command == "plan", timeout=seconds(timeout), **shown))


@task(help=LOOK | {"markdown": "Print the plan as Markdown, for a review."})
def plan(
    c: Context,
    json: bool = False,
    markdown: bool = False,
    timeout: str = "",
    verbose: bool = False,
    detailed_exitcode: bool = False,
) -> None:
    """Show what a run of every phase would change; change nothing."""
    _look("plan", json, timeout, verbose, detailed_exitcode, markdown)


@task(help=LOOK)
def drift(
    c: Context, json: bool = False, timeout: str = "", verbose: bool = False, detailed_exitcode: bool = False
) -> None:
    """Show what the world has become that the configuration does not say."""
    _look("drift", json, timeout, verbose, detailed_exitcode)


@task(help={key: HELP[key] for key in ("json", "timeout", "verbose")})
def status(c: Context, json: bool = False, timeout: str = "", verbose: bool = False) -> None:
    """Show every step as it is now, and when it was last made so."""
    _look("status", json, timeout, verbose, False)


@task(help={"json": HELP["json"], "timeout": HELP["timeout"]})
def doctor(c: Context, json: bool = False, timeout: str = "") -> None:
    """Repeat every slow check of the foundation, and prove as Packer's token itself each privilege on each path."""
    from lib.tasks.run import Flags, run, seconds

    run("doctor", ("foundation",), Flags(dry_run=True, guard=False, as_json=json, timeout=seconds(timeout), deep=True))


@task(help={"replace": "Address of a host whose recorded key is to be replaced (it was reinstalled)."})
def trust(c: Context, replace: str = "") -> None:
    """Show the hosts' SSH keys and the cluster CA's fingerprint, and record them as trusted."""
    from lib.tasks.trust import record

    record(replace)
