"""The perverse mode: what it changes, what it never changes, and that the product lives with it."""

from __future__ import annotations

from lib.lab import perverse
from lib.lab.perverse import NEW_KEY, OPTIONAL, Perverse
from lib.lab.pve.answers import Answer
from lib.lab.world import World
from tests.conftest import Run

ROWS = [{"id": str(number), "cpu": "host", "comment": "set", "level": ""} for number in range(20)]


def answer() -> Answer:
    return Answer(200, "OK", {"data": [dict(row) for row in ROWS]})


def test_lists_are_reordered_keys_added_and_nothing_that_was_set_is_lost() -> None:
    data = (Perverse(1).twist("/things", answer()).body or {})["data"]
    assert [row["id"] for row in data] != [row["id"] for row in ROWS]
    assert any(NEW_KEY in row for row in data)
    assert any("level" not in row for row in data)
    kept = [{key: row[key] for key in row if key not in OPTIONAL | {NEW_KEY}} for row in data]
    wanted = [{key: row[key] for key in row if key not in OPTIONAL} for row in ROWS]
    assert sorted(kept, key=lambda row: int(row["id"])) == wanted


def test_the_same_seed_does_the_same_and_a_log_keeps_its_order() -> None:
    assert Perverse(1).twist("/things", answer()) == Perverse(1).twist("/things", answer())
    assert Perverse(1).twist("/things", answer()) != Perverse(2).twist("/things", answer())
    assert Perverse(1).twist("/nodes/a/tasks/u/log", answer()) == answer()
    refused = Answer(403, "Permission check failed", {"data": None})
    assert Perverse(1).twist("/things", refused) == refused


def test_some_tasks_fail_and_none_without_a_seed() -> None:
    world = World()
    world.put("meta", "lab", {"perverse": 7})
    failing = sum(perverse.fails(world, {"pid": pid}) for pid in range(1000))
    assert 40 < failing < 140
    world.put("meta", "lab", {"perverse": None})
    assert not any(perverse.fails(world, {"pid": pid}) for pid in range(1000))
    assert perverse.of(world) is None
    world.close()


def test_a_foundation_converges_in_a_perverse_lab(run: Run) -> None:
    assert run("lab.start", "--perverse", "3", "--task-seconds", "0").returncode == 0
    codes = [run("foundation").returncode for _ in range(3)]
    assert set(codes) <= {0, 1}
    assert codes[-1] == 0
    last = run("foundation")
    assert "foundation: unchanged" in last.stdout + last.stderr
