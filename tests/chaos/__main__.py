"""Own `nox -s chaos`: kill the product at every line of the lab's journal, the lab at some; count what is left.

A cold foundation is killed, and a deployment of DNS on both back ends.
Exit 1 where a run after a kill does not converge, or leaves anything that an undisturbed one does not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.chaos.deployments import kill_deployment
from tests.chaos.kills import Kill, Killing, kill_lab, kill_product, on_stage
from tests.product import copy_product

LAB_EVERY = 9  # lines between two kills of the lab


def until_unstruck(pool: ProcessPoolExecutor, kill: Killing, every: int) -> Iterator[Kill]:
    """Yield a kill at every n-th line, until a run has no such line any more."""
    ahead: list[Future[Kill]] = []
    line, going = 1, True
    while going or ahead:
        while going and len(ahead) < 2 * (os.cpu_count() or 1):
            ahead.append(pool.submit(kill, line))
            line += every
        done = ahead.pop(0).result()
        going = going and done.struck
        yield done


def told(name: str, kills: list[Kill], seconds: float) -> bool:
    """Print the figures of one part; return whether all is well."""
    struck = [kill for kill in kills if kill.struck]
    orphans = sum(len(kill.orphans) for kill in kills)
    wrong = sum(len(kill.wrong) for kill in kills)
    print(f"{name}: {len(struck)} kills up to journal line {max((kill.line for kill in struck), default=0)},", end=" ")
    print(f"{sum(kill.runs for kill in kills)} runs, {seconds:.0f} s; {wrong} runs not as they should be,", end=" ")
    print(f"orphans found: {orphans}", flush=True)
    for kill in kills:
        for what in kill.wrong + kill.orphans:
            print(f"  line {kill.line}: {what}")
    return bool(struck) and not wrong and not orphans


def main() -> int:
    """Kill, judge, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="kill the product at each N-th line only")
    parser.add_argument("--perverse", type=int, metavar="SEED", help="in perverse labs")
    options = parser.parse_args()
    every = options.every
    with tempfile.TemporaryDirectory(prefix="groundwork-chaos-") as name:
        folder = Path(name)
        product = copy_product(folder / "product")
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(os.cpu_count(), spawn) as pool:
            well = True
            parts: list[tuple[str, Killing, int]] = [
                ("product killed", partial(on_stage, kill_product, product, folder, options.perverse), every),
                ("lab killed", partial(on_stage, kill_lab, product, folder, options.perverse), LAB_EVERY * every),
                (
                    "deployment on dnsmasq killed",
                    partial(kill_deployment, product, folder, options.perverse, "dnsmasq"),
                    every,
                ),
                (
                    "deployment on BIND killed",
                    partial(kill_deployment, product, folder, options.perverse, "bind"),
                    every,
                ),
            ]
            for title, kill, step in parts:
                began = time.monotonic()
                kills = list(until_unstruck(pool, kill, step))
                well = told(title, kills, time.monotonic() - began) and well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
