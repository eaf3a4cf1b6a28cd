"""Own the replay of recorded command lines: what the simulated programs print, beside what the real ones printed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from lib.lab.faults import Faults
from lib.lab.programs.host import Host
from lib.lab.programs.table import run
from lib.lab.pve.api import Api
from lib.lab.replay.comparison import differences
from lib.lab.replay.recording import NODE, Result, blank
from lib.lab.world import World

# The machine's own: its kernel, how full its disks are.
_MACHINE = (
    (re.compile(r"running kernel: [^)]+"), "running kernel: "),
    (re.compile(r"^(\S+ +\S+ +active) +\d+ +\d+ +\d+ +[\d.]+%$", re.MULTILINE), r"\1 <sizes>"),
)
# How a table is framed hangs on the locale of whoever recorded it.
_FRAMES = str.maketrans("│─═┌┬┐├┼┤╞╪╡└┴┘", "|-=" + "+" * 12)
_USAGE = re.compile(r"(ERROR: [^\n]*\n)USAGE: .*", re.DOTALL)


def replay(world: World, commands: list[Mapping[str, Any]]) -> list[Result]:
    """Run the commands in order on one host; they build on each other."""
    host = Host(world, NODE, Api(world), Faults(world))
    results = []
    for number, recorded in enumerate(commands):
        output = run(host, shlex.split(recorded["command"]), b"")
        out = output.stdout if isinstance(output.stdout, str) else output.stdout.decode()
        got = {"exit": output.exit, "stdout": out, "stderr": output.stderr}
        results.append(Result(number, recorded["command"], list(_compare(got, recorded))))
    return results


def _compare(got: Mapping[str, Any], recorded: Mapping[str, Any]) -> Iterator[str]:
    if got["exit"] != recorded["exit"]:
        yield f"exit {got['exit']}, recorded {recorded['exit']}"
    for name in ("stdout", "stderr"):
        ours, theirs = _json(got[name]), _json(recorded[name])
        if ours is not None and theirs is not None:
            yield from differences(name, ours, theirs)
        elif _plain(got[name]) != _plain(recorded[name]):
            yield f"{name} {got[name]!r}, recorded {recorded[name]!r}"


def _json(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, (dict, list)) else None


def _plain(text: str) -> str:
    for pattern, replacement in _MACHINE:
        text = pattern.sub(replacement, text)
    # A list of every subcommand is cut in recordings, and the lab has those that it knows.
    return blank(_USAGE.sub(r"\1USAGE: ", text.translate(_FRAMES)))
