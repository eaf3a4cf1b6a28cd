"""Own the DNS tasks: `dns` itself (dns.deploy), dns.query, and dns.render, dns.check, which ask no server."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from invoke import Context, Exit, task

from lib.errors import FAILED
from lib.tasks import foundation
from lib.tasks.flags import HELP, flags_of


def _files() -> tuple[Path, dict[str, str], dict[str, str]]:
    """Return the folder, the tracked files and the freshly rendered ones (path below it → text).

    Raises:
        ConfigurationError: an input file is wrong.
    """
    from lib.config.records import load_records
    from lib.tasks.run import root
    from lib.zones import MARK, render_files, tracked_files

    folder = root() / "dns"
    cluster, records = load_records(root())
    tracked = tracked_files(folder)
    fresh = render_files(cluster, records, tracked)
    ours = {path: text for path, text in tracked.items() if path in fresh or MARK in text.partition("\n")[0]}
    return folder, ours, fresh


@task
def render(c: Context) -> None:
    """Write the name server's files into dns/, from cluster.toml and dns/records.toml."""
    from lib.engine.evidence import write_file

    folder, tracked, fresh = _files()
    dry = bool(c.config.run.dry)
    for path, text in fresh.items():
        old = tracked.get(path)
        if old == text:
            print(f"  = dns/{path}")
            continue
        print(f"  {'+' if old is None else '~'} dns/{path}")
        if not dry:
            (folder / path).parent.mkdir(exist_ok=True)
            write_file(folder / path, text, 0o644)
    for path in tracked.keys() - fresh.keys():
        print(f"  - dns/{path}")
        if not dry:
            (folder / path).unlink()


@task
def check(c: Context) -> None:
    """Compare the files in dns/ with a fresh rendering; exit 1 and show the difference where they are stale."""
    _, tracked, fresh = _files()
    stale = [path for path in sorted({*tracked, *fresh}) if tracked.get(path) != fresh.get(path)]
    for path in stale:
        old, new = (texts.get(path, "").splitlines(keepends=True) for texts in (tracked, fresh))
        print("".join(difflib.unified_diff(old, new, f"dns/{path}", f"dns/{path} as rendered")), end="")
    if stale:
        files = ", ".join(f"dns/{path}" for path in stale)
        raise Exit(f"dns: is stale ({files})\n  Fix: invoke dns.render", FAILED)
    print(f"dns/ is current: {', '.join(fresh)}")


@task(
    default=True,
    pre=[foundation.foundation],
    iterable=["rerun", "allow"],
    help=HELP | {"force": "Deploy even where nothing differs; overrides no check. The same as --rerun zones."},
)
def deploy(
    c: Context,
    dry_run: bool = False,
    json: bool = False,
    timeout: str = "",
    rerun: Any = None,
    allow: Any = None,
    only: bool = False,
    verbose: bool = False,
    force: bool = False,
) -> None:
    """Make the name server say what cluster.toml and dns/records.toml say, and ask it for every record.

    Files are staged, checked there, moved with a rollback armed, and proven over UDP and
    TCP; what is not answered rightly is put back.
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
        force=force,
    )
    run("dns", c.phases, flags)


deploy.body.phase = "dns"


@task(help={"name": "A name (below dns.domain, or whole) or an address instead of all."})
def query(c: Context, name: str = "") -> None:
    """Ask the name server for every record: name, answer, and what was expected; exit 1 where they differ."""
    from lib.clients.dns import Question, Resolver
    from lib.config.records import load_records
    from lib.facts import answers as facts
    from lib.tasks.run import root
    from lib.tasks.target import choose

    cluster, records = load_records(root())
    target = choose(root(), os.environ, cluster)
    want = facts.wanted(records)
    if name:
        want = facts.named(name, cluster.dns.domain, want)
    if not want:
        raise Exit(f"dns.query: {name} is no name of ours\n  Fix: `invoke dns.query` lists them", FAILED)
    print(f"groundwork dns.query · {target.told}", flush=True)
    udp, tcp = Resolver(*target.dns_at).ask([Question(*key) for key in want])
    wrong = {one.key: one for one in facts.differences(want, facts.answers(udp), facts.answers(tcp), facts.long(tcp))}
    for key, answer in want.items():
        got, expected = wrong[key].sides() if key in wrong else (str(answer), "")
        mark, told = ("✗", f"{got} (want {expected})") if expected else ("=", got)
        print(f"  {mark} {key[1]:<5} {key[0]:<40} {told}")
    print(f"{len(want)} asked over UDP and TCP, {len(wrong)} not as expected")
    if wrong:
        raise Exit("dns.query: the name server does not say what it should\n  Fix: invoke dns", FAILED)
