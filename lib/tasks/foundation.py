"""Own `invoke foundation`: its flags, and their way into one run."""

from __future__ import annotations

from typing import Any

from invoke import Context, Exit, task

from lib.errors import FAILED

HELP = {
    "dry-run": "Show what would be changed; change nothing anywhere.",
    "json": "Print one JSON document on stdout; progress goes to stderr.",
    "timeout": "Upper bound in seconds for any one remote operation.",
    "rerun": "Steps to apply even where nothing differs (a,b).",
    "allow": "One thing that a guard refused, by the name it printed.",
    "only": "Run just this phase; what it needs is checked.",
    "verbose": "Say each wait, retry and refresh.",
}


def flags_of(
    c: Context, *, dry_run: bool, json: bool, timeout: str, rerun: Any, allow: Any, only: bool, verbose: bool
) -> dict[str, Any]:
    """Check the flags that every phase task takes; `invoke --dry` is --dry-run."""
    from lib.tasks.run import names, seconds

    if getattr(c, "phases", None) is None:
        raise Exit("run this through the project's own executor: keep invoke.yaml beside tasks.py", code=FAILED)
    return {
        "dry_run": dry_run or bool(c.config.run.dry),
        "as_json": json,
        "timeout": seconds(timeout),
        "rerun": names(rerun),
        "allow": names(allow),
        "only": only,
        "verbose": verbose,
    }


@task(
    iterable=["rerun", "allow", "skip_phases"],
    help=HELP
    | {
        "status": "Show what is and what would be changed; the same as `invoke plan`.",
        "force-rebuild": "Make image and template anew (a finished one needs --allow destroy-base-template).",
        "reset-state": "Drop the evidence of earlier runs first; costs time, never correctness.",
        "skip-phases": "Steps whose record is not trusted; the same as --rerun.",
        "backup": "With --force-rebuild: back the template up to this storage first (vzdump).",
        "detailed-exitcode": "With --status: end with 3 where changes are pending.",
    },
)
def foundation(
    c: Context,
    dry_run: bool = False,
    json: bool = False,
    timeout: str = "",
    rerun: Any = None,
    allow: Any = None,
    only: bool = False,
    verbose: bool = False,
    status: bool = False,
    force_rebuild: bool = False,
    reset_state: bool = False,
    skip_phases: Any = None,
    backup: str = "",
    detailed_exitcode: bool = False,
) -> None:
    """Build and verify the Proxmox foundation: tools, image, rights, base template.

    Six steps: validation, tools_storage, packer_user, cloud_image, base_template,
    packer_config. Each looks at the real world, says what differs, mends it, and
    looks again. Where nothing differs, it says why.
    """
    from lib.tasks.run import Flags, names, run

    common = flags_of(
        c,
        dry_run=dry_run or status,
        json=json,
        timeout=timeout,
        rerun=rerun or [],
        allow=allow or [],
        only=only,
        verbose=verbose,
    )
    common["rerun"] |= names(skip_phases or [])
    flags = Flags(
        **common, rebuild=force_rebuild, backup=backup, reset_state=reset_state, detailed=detailed_exitcode and status
    )
    run("foundation", c.phases, flags)


foundation.body.phase = "foundation"
