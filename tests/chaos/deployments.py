"""Own the kill of a deployment of DNS at a line of the journal, counted from its first change, and its judgement."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from lib.command import read
from lib.lab.faults import Faults
from tests.chaos.kills import Kill
from tests.rehearsal.deployed import PRINTER, STAGE, Rehearsal, left, until
from tests.rehearsal.test_interruption import started

_made: dict[str, Rehearsal] = {}  # of this process


def kill_deployment(product: Path, folder: Path, seed: int | None, backend: str, line: int) -> Kill:
    """Kill it there; at every second line the server itself may put the old file back before the next run comes."""
    if backend not in _made:
        own = folder / f"{os.getpid()}-{backend}"
        _made[backend] = Rehearsal(product, own, seed, "dns", "--only", bind=backend == "bind")
    made, kill = _made[backend], Kill(line)
    lines = 0
    victim: list[int] = []

    def on_line(number: int, said: str, faults: Faults) -> None:
        nonlocal lines
        command = not said.startswith(" ")  # a question changes nothing
        lines += bool(victim) and command and (bool(lines) or f"mkdir {STAGE}" in said)
        if victim and lines == line:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim.pop(), signal.SIGKILL)

    with made.lab(on_line), made.server() as host:
        before = made.file()
        waits = line % 2 == 0
        made.replace("rollback_after = 120", f"rollback_after = {2 if waits else 120}")
        made.append("dns/records.toml", PRINTER)
        process = started(made.checkout, made.environment, "dns", "--only")
        victim.append(process.pid)
        kill.struck = process.wait(120) == -signal.SIGKILL
        victim.clear()
        kill.runs = 1
        if waits and host.run(read("ls", "-A", STAGE, ok=frozenset(range(256)))).stdout.count("armed-"):
            until(lambda: not left(host))
            kill.wrong += [] if made.file() == before else ["the server has not put the old file back"]
        made.replace(f"rollback_after = {2 if waits else 120}", "rollback_after = 120")
        after, last = made.run("dns", "--only"), made.run("dns", "--only")
        kill.runs += 3
        kill.wrong += [] if after.returncode == 0 else [f"the next run ended with {after.returncode}\n{after.stdout}"]
        kill.wrong += [] if "\ndns: unchanged" in last.stdout else [f"the run after that changed\n{last.stdout}"]
        asked = made.run("dns.query", "--name", "printer")
        kill.wrong += [] if asked.returncode == 0 else ["the new record is not answered"]
        kill.orphans += [] if made.is_clean() else ["something beside our files is on the server"]
    return kill
