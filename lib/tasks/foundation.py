"""Own `invoke foundation`: its flags, and their way into one run."""

from __future__ import annotations

from typing import Any

from invoke import Context, task

from lib.tasks.flags import HELP, flags_of


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
    from lib.tasks.run import run

    flags = flags_of(
        c,
        dry_run=dry_run,
        json=json,
        timeout=timeout,
        rerun=rerun,
        allow=allow,
        only=only,
        verbose=verbose,
        status=status,
        force_rebuild=force_rebuild,
        reset_state=reset_state,
        skip_phases=skip_phases,
        backup=backup,
        detailed_exitcode=detailed_exitcode,
    )
    run("foundation", c.phases, flags)


foundation.body.phase = "foundation"
