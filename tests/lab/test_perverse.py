"""The perverse mode: what it changes, what it never changes, and that the product lives with it."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from lib.lab import perverse
from lib.lab.perverse import NEW_KEY, OPTIONAL, SLOW_SECONDS, Mischief, Perverse
from lib.lab.pve.answers import Answer
from lib.lab.world import World
from tests.conftest import Run
from tests.perverse import settled

ROWS = [{"id": str(number), "cpu": "host", "comment": "set", "level": ""} for number in range(20)]
RUNS = ("000003E9:00000A11:69250001", "000003F2:0000BB12:69251234")  # of one task: process, its start, the time


def answer() -> Answer:
    return Answer(200, "OK", {"data": [dict(row) for row in ROWS]})


def asked(seed: int, path: str = "/things") -> Mischief:
    return Perverse(seed).request("a", "GET", path)


def twisted(seed: int) -> Answer:
    return asked(seed).twist(answer())


def task(pid: int, id: str) -> dict[str, Any]:
    return {"pid": pid, "node": "a", "type": "qmcreate", "id": id}


def test_lists_are_reordered_keys_added_and_nothing_that_was_set_is_lost() -> None:
    data = (twisted(1).body or {})["data"]
    data = list({row["id"]: row for row in data}.values())
    assert [row["id"] for row in data] != [row["id"] for row in ROWS]
    assert any(NEW_KEY in row for row in data)
    assert any("level" not in row for row in data)
    kept = [{key: row[key] for key in row if key not in OPTIONAL | {NEW_KEY}} for row in data]
    wanted = [{key: row[key] for key in row if key not in OPTIONAL} for row in ROWS]
    assert sorted(kept, key=lambda row: int(row["id"])) == wanted


def test_of_some_guests_of_the_cluster_only_their_configuration_is_known() -> None:
    guest = {"id": "qemu/9002", "type": "qemu", "vmid": 9002, "status": "stopped", "template": 1, "name": "base"}
    seeded = Perverse(1)
    listed = Answer(200, "OK", {"data": [guest | {"tags": "ours", "lock": "create"}]})
    found = [(seeded.request("a", "GET", "/cluster/resources").twist(listed).body or {})["data"][0] for _ in range(50)]
    late = [row for row in found if row["status"] == "unknown"]
    assert 5 < len(late) < 25
    assert all(row.keys() - {NEW_KEY} == {"id", "type", "vmid", "status", "tags", "lock"} for row in late)
    assert all(row["template"] == 1 for row in found if row not in late)


def test_the_same_seed_does_the_same_and_a_log_keeps_its_order() -> None:
    assert twisted(1) == twisted(1)
    assert twisted(1) != twisted(2)
    assert asked(1, "/nodes/a/tasks/u/log").twist(answer()) == answer()
    refused = Answer(403, "Permission check failed", {"data": None})
    assert asked(1).twist(refused) == refused


def test_what_befalls_a_request_does_not_follow_from_what_others_asked_before() -> None:
    alone, among = Perverse(1), Perverse(1)
    fates = []
    for seeded, others in ((alone, 0), (among, 3)):
        told = []
        for _ in range(50):
            for _ in range(others):
                seeded.request("a", "GET", "/others")
            mischief = seeded.request("a", "GET", "/things")
            told.append((mischief.delay, mischief.loses(answer()), mischief.twist(answer())))
        fates.append(told)
    assert fates[0] == fates[1]
    assert fates[0][0] != fates[0][1], "asked again, another thing befalls it"


def test_a_task_of_another_run_is_asked_after_with_the_same_mischief() -> None:
    one, other = (f"/nodes/a/tasks/UPID:a:{numbers}:qmcreate:9002:root@pam:/status" for numbers in RUNS)
    assert asked(1, one).delay == asked(1, other).delay
    assert asked(1, one).twist(answer()) == asked(1, other).twist(answer())


def test_some_lists_have_an_entry_twice_some_answers_are_slow_or_lost() -> None:
    seeded = Perverse(1)
    all_of_it = [seeded.request("a", "GET", "/things") for _ in range(1000)]
    assert {len((one.twist(answer()).body or {})["data"]) for one in all_of_it[:50]} == {len(ROWS), len(ROWS) + 1}
    assert 20 < sum(one.delay > 0 for one in all_of_it) < 300
    assert max(one.delay for one in all_of_it) <= SLOW_SECONDS
    assert 5 < sum(one.loses(answer()) for one in all_of_it) < 50
    assert not any(one.loses(Answer(500, "no", None)) for one in all_of_it), "what was refused is told"


def test_some_tasks_fail_and_none_without_a_seed() -> None:
    world = World()
    world.put("meta", "lab", {"perverse": 7})
    failing = sum(perverse.fails(world, task(number, f"{number}")) for number in range(1000))
    assert 40 < failing < 140
    world.put("meta", "lab", {"perverse": None})
    assert not any(perverse.fails(world, task(number, f"{number}")) for number in range(1000))
    assert perverse.of(world) is None
    world.close()


def test_whether_a_task_fails_follows_from_what_it_does_and_how_often_it_was_done() -> None:
    fates = []
    for others in (0, 3):
        world = World()
        world.put("meta", "lab", {"perverse": 7})
        told = []
        for number in range(60):
            for other in range(others):
                world.put("task", f"{number} {other}", task((others + 1) * number + other, "others"))
            mine = task((others + 1) * number + others, "mine")  # another process number than without the others
            world.put("task", f"{number} mine", mine)
            told.append(perverse.fails(world, mine))
        world.close()
        fates.append(told)
    assert fates[0] == fates[1]
    assert set(fates[0]) == {True, False}, "done again, it may end otherwise"


LATE = "  ✗ base_template  failed  0.1 s\n      base: the task failed: … (the lab is perverse)\n      Fix: again\n"
CUT = "  ✗ packer_user  failed\n      POST /pools: the connection was cut before an answer came\n      Fix: again\n"
OTHER = "  ✗ tools_storage  failed  0.1 s\n      ssh 10.10.1.21: connection lost\n      Fix: again\n"
LOST = [{"kind": "api", "method": "POST", "path": path, "lost": True} for path in ("/pools", "/access/roles")]


@pytest.mark.parametrize(
    ("printed", "lost", "runs"),
    [
        (LATE, 0, 2),
        (CUT, 2, 2),
        (CUT, 1, 1),
        (CUT, 0, 1),
        (LATE + CUT, 2, 2),
        (OTHER, 2, 1),
        (LATE + OTHER, 2, 1),
        (LATE + "  · base_template  blocked  0.0 s  needs cloud_image\nfoundation: failed in 0.1 s\n", 0, 2),
        ("base: … (the lab is perverse)\n  Fix: again\n", 0, 2),
        ("", 2, 1),
    ],
)
def test_a_line_is_run_again_where_nothing_but_the_lab_let_it_fail(
    tmp_path: Path, printed: str, lost: int, runs: int
) -> None:
    done = [CompletedProcess("line", 0, "", ""), CompletedProcess("line", 1, printed, "")]
    journal = tmp_path / ".lab" / "journal.jsonl"
    journal.parent.mkdir()
    journal.write_text("".join(json.dumps(line) + "\n" for line in LOST))  # of an earlier line

    def line() -> CompletedProcess[str]:
        with journal.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in LOST[:lost])
        return done.pop()

    assert settled(line, 1, tmp_path).returncode == (1 if runs == 1 else 0)
    assert len(done) == 2 - runs


@pytest.mark.parametrize("printed", ["Traceback (most recent call last):\n", LATE.replace("Fix: again", "")])
def test_a_bug_is_no_perversity(tmp_path: Path, printed: str) -> None:
    with pytest.raises(AssertionError):
        settled(lambda: CompletedProcess("line", 1, printed, ""), 1, tmp_path)


@pytest.mark.parametrize("seed", [3, 4])  # the whole of tests/rehearsal under several: nox -s chaos
def test_a_foundation_converges_in_a_perverse_lab(run: Run, checkout: Path, seed: int) -> None:
    assert run("lab.start", "--perverse", str(seed), "--task-seconds", "0").returncode == 0
    done = settled(lambda: run("foundation"), seed, checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    last = run("foundation")
    assert "foundation: unchanged" in last.stdout + last.stderr
