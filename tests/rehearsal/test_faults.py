"""Every fault against every step of the foundation: mended or told with a fix, and then as if nothing had been."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest

from lib.lab import faults as fault
from lib.lab.faults import KINDS, Faults
from lib.lab.perverse import TOLD_LATER
from lib.lab.pve import guest_state
from lib.lab.world import World
from tests.perverse import errors
from tests.rehearsal.matrix import MATRIX, PAGE, STEPS, Strike, page, strikes
from tests.stage import BARE, FINISHED, Stage
from tests.worlds import told

LASTING = 0
# What keeps a cold foundation from going on to a step: the state that this step begins with.
BEFORE = {
    "validation": None,
    "tools_storage": None,
    "packer_user": ("500", "POST /access/roles"),
    "cloud_image": ("task-fail", "download"),
    "base_template": ("task-fail", "qmcreate"),
}


def set_before(stage: Stage, step: str) -> None:
    """Put the lab into the state before a step; the first time it is made, from a bare one."""
    name, hindrance = f"before {step}", BEFORE[step]
    if hindrance is not None:
        stage.make(name, lambda: _hindered(stage, hindrance))
    stage.take(FINISHED if step == "validation" else BARE if hindrance is None else name)


def _hindered(stage: Stage, hindrance: tuple[str, str]) -> None:
    stage.take(BARE)
    with stage.lab() as lab:
        lab.fault(*hindrance, LASTING)
        assert stage.run().returncode == 1
        lab.clear()


def begins(kind: str, cell: Strike) -> Callable[[int, str, Faults], None]:
    """Return what adds the fault when the journal has come to its line."""
    waits = [True]

    def on_line(number: int, said: str, faults: Faults) -> None:
        if waits and cell.after and cell.after in said:
            waits.clear()
            faults.add(kind, cell.match, cell.times)

    return on_line


@pytest.mark.parametrize(("step", "kind"), strikes())
def test_a_fault_is_mended_or_told(stage: Stage, monkeypatch: pytest.MonkeyPatch, step: str, kind: str) -> None:
    cell = MATRIX[step][kind]
    assert isinstance(cell, Strike)
    monkeypatch.setattr(fault, "SLOW_SECONDS", 0.3)
    set_before(stage, step)
    with stage.lab(on_line=begins(kind, cell)) as lab:
        if not cell.after:
            lab.fault(kind, cell.match, cell.times)
        slow = ("--timeout", "3") if kind == "timeout" else ()
        struck = stage.once("--rerun", step, *slow) if step == "validation" else stage.once(*slow)
        left = lab.clear()
        if stage.seed is None:  # else a run may end before it comes there, and for other reasons
            assert all(one["used"] and not one["times"] for one in left), f"it struck nothing, or too seldom: {left}"
            judge(struck, step, cell.outcome)
        assert struck.returncode in (0, 1)
        assert len(errors(struck)) >= struck.returncode
        if struck.returncode:
            # else the host cannot be told, or a download goes on of which two answers were lost
            if kind != "partition" and stage.seed is None:
                assert not [line for line in told(stage.checkout) if "groundwork-unfinished" in line]
            after = stage.run()
            assert after.returncode == 0, after.stdout + after.stderr
    assert stage.differences() == []  # so the next run changes nothing either: that is the world of the test below


@pytest.mark.parametrize("what", ["POST /nodes/node1/qemu", "POST /nodes/node1/qemu/9002/template"])
def test_a_task_that_ends_while_it_is_looked_for_is_not_begun_again(stage: Stage, what: str) -> None:
    begun: list[str] = []

    def on_line(number: int, said: str, faults: Faults) -> None:
        if said == what:
            begun.append(said)
        elif begun and said == "GET /cluster/resources":
            threading.Event().wait(0.5)  # the task, whose answer was lost, ends before the next request

    set_before(stage, "base_template")
    with stage.lab(task_seconds=0.1, on_line=on_line) as lab:
        lab.fault("reset", f"*{what} (after)")
        done = stage.run()
        assert done.returncode == 0, done.stdout + done.stderr
    assert begun == [what] or stage.seed is not None  # a perverse lab lets tasks fail, and loses a second answer
    assert stage.differences() == []


def end_of_tasks(stage: Stage, seconds: float) -> None:
    """Let what still runs in a lab that was stopped end so many seconds from now."""
    world = World(stage.checkout / ".lab" / "world.sqlite")
    for upid, task in world.all("task").items():
        world.put("task", upid, task | {"due": time.time() + seconds})
    world.close()


def test_a_download_that_a_killed_run_began_is_waited_for_and_taken(stage: Stage) -> None:
    victim: list[int] = []
    begun: list[str] = []

    def on_line(number: int, said: str, faults: Faults) -> None:
        if said.startswith("POST") and said.endswith("/download-url"):
            begun.append(said)
            if victim:
                os.kill(victim.pop(), signal.SIGKILL)

    set_before(stage, "cloud_image")
    with stage.lab(task_seconds=4, on_line=on_line):
        process = stage.begin()
        victim.append(process.pid)
        process.communicate(timeout=60)
    end_of_tasks(stage, 2)
    with stage.lab(on_line=on_line):
        done = stage.run()
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(begun) == 1 or stage.seed is not None  # a perverse lab loses answers, and lets tasks fail
    assert stage.differences() == []


def test_a_guest_that_a_killed_run_is_still_making_is_ours(stage: Stage) -> None:
    victim: list[int] = []

    def on_line(number: int, said: str, faults: Faults) -> None:
        if victim and said == "POST /nodes/node1/qemu":
            os.kill(victim.pop(), signal.SIGKILL)

    set_before(stage, "base_template")
    with stage.lab(task_seconds=4, on_line=on_line):
        process = stage.begin()
        victim.append(process.pid)
        process.communicate(timeout=60)
        planned = stage.once("--dry-run")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        came_there = not victim or stage.seed is None  # in a perverse lab something before may have failed
        assert ("~ guest: being made → VM 9002" in planned.stdout) == came_there
    end_of_tasks(stage, 2)
    with stage.lab():
        done = stage.run()
        assert done.returncode == 0, done.stdout + done.stderr
    assert stage.differences() == []


def test_a_template_is_known_before_the_listing_tells_of_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = guest_state.resource

    def untold(*args: Any) -> dict[str, Any]:
        return {key: value for key, value in listed(*args).items() if key not in TOLD_LATER} | {"status": "unknown"}

    monkeypatch.setattr(guest_state, "resource", untold)
    set_before(stage, "base_template")
    with stage.lab():
        done = stage.run()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "\nfoundation: unchanged" in stage.run().stdout
    assert stage.differences() == []


def test_the_world_of_an_undisturbed_run_is_left_unchanged(stage: Stage) -> None:
    stage.take(FINISHED)
    with stage.lab():
        last = stage.run()
        assert "\nfoundation: unchanged" in last.stdout, last.stdout + last.stderr
    assert stage.differences() == []


def judge(struck: CompletedProcess[str], step: str, outcome: str) -> None:
    printed = struck.stdout + struck.stderr
    assert "Traceback" not in printed
    assert (outcome, struck.returncode) in (("mended", 0), ("told", 1)), printed
    if outcome == "told":
        error = rf"  ✗ {step} +failed .*\n      \S.*: \S.*\n(?:        .*\n)*      Fix: \S"
        assert re.search(error, struck.stdout), printed


def test_what_asks_no_guest_and_no_name_is_not_struck(stage: Stage) -> None:
    stage.take(BARE)
    with stage.lab() as lab:
        for kind in ("agent-silent", "dns-servfail"):
            lab.fault(kind, "", LASTING)
        assert stage.run().returncode == 0
        assert [one["used"] for one in lab.clear()] == [0, 0]


@pytest.mark.parametrize(
    ("kind", "match", "times", "code", "says"),
    [
        ("reset", "*POST /pools (after)", 1, 0, ""),
        ("reset", "POST /pools", 3, 0, ""),
        ("500", "POST /pools", 1, 1, "Fix: see `journalctl"),
        ("reset", "*DELETE /pools/groundwork-lock (after)", 1, 0, ""),
        ("500", "DELETE /pools/groundwork-lock", 3, 0, ""),
        (
            "500",
            "DELETE /pools/groundwork-lock",
            4,
            0,
            "warning: cluster lock: pool groundwork-lock could",
        ),
    ],
)
def test_the_lock_survives_faults(stage: Stage, kind: str, match: str, times: int, code: int, says: str) -> None:
    stage.take(FINISHED)
    with stage.lab() as lab:
        lab.fault(kind, match, times)
        struck = stage.run()
        assert lab.clear() == []
        assert struck.returncode == code
        printed = struck.stdout + struck.stderr
        assert says in printed
        assert ("warning" in printed) == says.startswith("warning")
        if says:
            assert stage.run().returncode == 0
    assert stage.differences() == []


def test_a_dead_holder_s_lock_is_taken_though_the_answer_to_its_removal_is_lost(stage: Stage) -> None:
    stage.take(FINISHED)
    with stage.lab() as lab:
        lab.fault("500", "DELETE /pools/groundwork-lock", 4)
        assert "warning: cluster lock" in stage.run().stdout
        lab.fault("reset", "*DELETE /pools/groundwork-lock (after)")
        done = stage.run()
        assert done.returncode == 0, done.stdout + done.stderr
        assert lab.clear() == []
    assert stage.differences() == []


@pytest.mark.parametrize("action", ["add", "remove"])
def test_an_administrator_s_token_whose_answer_is_lost_is_made_anew(stage: Stage, action: str) -> None:
    stage.take(FINISHED)
    (stage.checkout / ".lab" / ".groundwork" / "admin-token.json").unlink()
    with stage.lab() as lab:
        lab.fault("ssh-drop", f"pveum user token {action}")
        done = stage.run()
        assert "unchanged" in done.stdout, done.stdout + done.stderr
        assert lab.clear() == []
    assert stage.differences() == []


def test_an_administrator_s_token_that_the_cluster_forgot_is_made_anew(stage: Stage) -> None:
    stage.take(FINISHED)
    world = World(stage.checkout / ".lab" / "world.sqlite")
    (token,) = (key for key in world.keys("token") if key.startswith("root@pam!"))
    world.delete("token", token)
    world.close()
    with stage.lab():
        assert "unchanged" in stage.run().stdout
    assert stage.differences() == []


def test_every_kind_has_its_cell_for_every_step() -> None:
    assert tuple(MATRIX) == STEPS
    assert all(set(cells) == set(KINDS) for cells in MATRIX.values())


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "stale: run `nox -s docs`"
