"""Own one kill and its judgement: product or lab are killed at a line of the journal, then the next runs tell."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lib.lab import start as lab_process
from lib.lab.faults import Faults
from tests.product import stop_lab
from tests.stage import BARE, Stage

logging.getLogger("asyncio").setLevel(logging.ERROR)  # of a killed peer it warns at every write
TASK_SECONDS = 0.003  # so that tasks still run where a kill comes between their start and their end


@dataclass
class Kill:
    """One kill at a line: whether the run was alive to be killed, the runs it took, and what was found wrong."""

    line: int
    struck: bool = False
    runs: int = 0
    wrong: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def judge_next(self, stage: Stage) -> None:
        """Run until it should have converged: once to the end, once more with nothing to do."""
        after, last = stage.run(), stage.run()
        self.runs += 2
        if after.returncode != 0:
            self.wrong.append(f"the next run ended with {after.returncode}\n{after.stdout}{after.stderr}")
        if "\nfoundation: unchanged" not in last.stdout:
            self.wrong.append(f"the run after that was not without a change\n{last.stdout}{last.stderr}")


def kill_product(stage: Stage, line: int) -> Kill:
    """Kill a cold foundation when the lab writes that line of its journal: the effect is there, its answer is not."""
    kill = Kill(line)
    stage.take(BARE)
    victim: list[int] = []

    def on_line(number: int, said: str, faults: Faults) -> None:
        if number == line:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim[0], signal.SIGKILL)

    with stage.lab(TASK_SECONDS, on_line):
        process = stage.begin()
        victim.append(process.pid)
        process.communicate(timeout=120)
        kill.struck = process.returncode == -signal.SIGKILL
        kill.runs = 1
        kill.judge_next(stage)
    kill.orphans = stage.differences()
    return kill


def kill_lab(stage: Stage, line: int) -> Kill:
    """Kill the lab, a process of its own here, during a cold foundation; the next run starts it again."""
    kill = Kill(line)
    stage.take(BARE)
    journal = stage.checkout / ".lab" / "journal.jsonl"
    try:
        lab = lab_process.start(stage.checkout, task_seconds=TASK_SECONDS, perverse=stage.seed)
        process = stage.begin()
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline and journal.read_bytes().count(b"\n") < line:
            threading.Event().wait(0.001)
        kill.struck = process.poll() is None
        os.kill(int(lab["pid"]), signal.SIGKILL)
        printed, _ = process.communicate(timeout=120)
        kill.runs = 1
        finished = process.returncode == 0  # it had only to let go of the lock
        if kill.struck and ("Traceback" in printed or not (finished or re.search(r"(?m)^ +Fix: \S", printed))):
            kill.wrong.append(f"the run without its lab ended with {process.returncode} and no fix\n{printed}")
        kill.judge_next(stage)
    finally:
        stop_lab(stage.checkout)
    kill.orphans = stage.differences()
    return kill


Killing = Callable[[int], Kill]
_made: dict[str, Stage] = {}  # of this process


def on_stage(kill: Callable[[Stage, int], Kill], product: Path, folder: Path, seed: int | None, line: int) -> Kill:
    """Make one kill on this process's own stage; with a seed its labs are perverse."""
    if "stage" not in _made:
        own = folder / str(os.getpid())
        own.mkdir()
        _made["stage"] = Stage(product, own, folder / "states", seed)
    return kill(_made["stage"], line)
