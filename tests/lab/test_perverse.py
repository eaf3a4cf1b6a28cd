"""The perverse mode: what it changes, what it never changes, and that the product lives with it."""

from __future__ import annotations

import pytest

from lib.lab import perverse
from lib.lab.perverse import NEW_KEY, OPTIONAL, SLOW_SECONDS, Perverse
from lib.lab.pve.answers import Answer
from lib.lab.world import World
from tests.conftest import Run
from tests.perverse import settled

ROWS = [{"id": str(number), "cpu": "host", "comment": "set", "level": ""} for number in range(20)]


def answer() -> Answer:
    return Answer(200, "OK", {"data": [dict(row) for row in ROWS]})


def test_lists_are_reordered_keys_added_and_nothing_that_was_set_is_lost() -> None:
    data = (Perverse(1).twist("/things", answer()).body or {})["data"]
    data = list({row["id"]: row for row in data}.values())
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


def test_some_lists_have_an_entry_twice_some_answers_are_slow_or_lost() -> None:
    mischief = Perverse(1)
    lengths = {len((mischief.twist("/things", answer()).body or {})["data"]) for _ in range(50)}
    assert lengths == {len(ROWS), len(ROWS) + 1}
    delays = [mischief.delay() for _ in range(1000)]
    assert 20 < sum(delay > 0 for delay in delays) < 300
    assert max(delays) <= SLOW_SECONDS
    assert 5 < sum(mischief.loses(answer()) for _ in range(1000)) < 50
    assert not any(mischief.loses(Answer(500, "no", None)) for _ in range(1000)), "what was refused is told"


def test_some_tasks_fail_and_none_without_a_seed() -> None:
    world = World()
    world.put("meta", "lab", {"perverse": 7})
    failing = sum(perverse.fails(world, {"pid": pid}) for pid in range(1000))
    assert 40 < failing < 140
    world.put("meta", "lab", {"perverse": None})
    assert not any(perverse.fails(world, {"pid": pid}) for pid in range(1000))
    assert perverse.of(world) is None
    world.close()


@pytest.mark.parametrize("seed", [3, 4])  # the whole of tests/rehearsal under several: nox -s chaos
def test_a_foundation_converges_in_a_perverse_lab(run: Run, seed: int) -> None:
    assert run("lab.start", "--perverse", str(seed), "--task-seconds", "0").returncode == 0
    done = settled(lambda: run("foundation"), seed)
    assert done.returncode == 0, done.stdout + done.stderr
    last = run("foundation")
    assert "foundation: unchanged" in last.stdout + last.stderr
