"""Own the tasks of the rendered DNS files: dns.render, dns.check. They ask no server."""

from __future__ import annotations

import difflib
from pathlib import Path

from invoke import Context, Exit, task

from lib.errors import FAILED

PLACES = ("dnsmasq.conf", "named.conf", "zones/*.zone")


def _files() -> tuple[Path, dict[str, str], dict[str, str]]:
    """Return the folder, the tracked files and the freshly rendered ones (path below it → text).

    Raises:
        ConfigurationError: an input file is wrong.
    """
    from lib.config.records import load_records
    from lib.tasks.run import root
    from lib.zones import MARK, render_files

    folder = root() / "dns"
    cluster, records = load_records(root())
    # bytes, for a line end is a part of what is compared
    tracked = {
        path.relative_to(folder).as_posix(): path.read_bytes().decode(errors="replace")
        for place in PLACES
        for path in sorted(folder.glob(place))
    }
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
