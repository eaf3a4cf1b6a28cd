"""Own the requests that a recording leaves out, and how its own lists of tasks give them away.

Where a list of tasks shows one that no exchange began, requests are missing at that place. The
task is then put into the world before the exchange that follows it; and if it was about a guest,
the guest's options may have been changed at that place. They are taken from the next reading of
its configuration, once, and only options that the guest has: nothing else in a recording can say
what they became. Everything after that has to follow by the lab's rules again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lib.lab.pve.guest_options import is_drive
from lib.lab.replay.belongings import put_disk
from lib.lab.replay.recording import NODE, Exchange, blank, task_of
from lib.lab.world import World

_TASK_LISTS = ("/cluster/tasks", f"/nodes/{NODE}/tasks")
_Key = tuple[str, str, str, str]  # type, id, identity, exit status
_Known = tuple[int, _Key, Mapping[str, Any] | None]  # the exchange at (or before) which it ran; as listed


class Unrecorded(msgspec.Struct, frozen=True):
    """A task that no exchange began; it ended before the exchange `before` was sent."""

    before: int
    shown: Mapping[str, Any]


def unrecorded(exchanges: list[Exchange]) -> list[Unrecorded]:
    """Return the tasks that the lists show and no exchange began, in the order in which they ran."""
    line: list[_Known] = []  # what is known to have run, in order
    for number, exchange in enumerate(exchanges):
        begun = task_of(exchange.data)
        if begun is not None:
            line.append((number, (*begun, str((exchange.task or {}).get("exitstatus", ""))), None))
        shown = exchange.data if exchange.method == "GET" and exchange.path in _TASK_LISTS else None
        if isinstance(shown, list):
            line = _merged(line, [entry for entry in reversed(shown) if {"status", "upid"} <= set(entry)], number)
    return [Unrecorded(number, shown) for number, _, shown in line if shown is not None]


def _key(entry: Mapping[str, Any]) -> _Key:
    return (*(task_of(entry["upid"]) or ("", "", "")), str(entry["status"]))


def _merged(line: list[_Known], listed: list[Mapping[str, Any]], number: int) -> list[_Known]:
    """Put what is listed and not known yet at its place between what is known."""
    keys = [_key(entry) for entry in listed]
    merged: list[_Known] = []
    done, shown = 0, 0
    for known, index in _aligned([key for _, key, _ in line], keys):
        merged += line[done:known]
        merged += [(line[known][0], keys[each], listed[each]) for each in range(shown, index)]
        merged.append(line[known])
        done, shown = known + 1, index + 1
    merged += line[done:]
    return merged + [(number, keys[each], listed[each]) for each in range(shown, len(listed))]


def _aligned(known: Sequence[_Key], listed: Sequence[_Key]) -> list[tuple[int, int]]:
    """Return the pairs of a longest common subsequence; among equals the latest, since lists show the newest."""
    rows, columns = len(known), len(listed)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            same = best[row - 1][column - 1] + 1 if known[row - 1] == listed[column - 1] else 0
            best[row][column] = max(same, best[row - 1][column], best[row][column - 1])
    pairs: list[tuple[int, int]] = []
    row, column = rows, columns
    while row and column:
        if known[row - 1] == listed[column - 1]:
            row, column = row - 1, column - 1
            pairs.append((row, column))
        elif best[row - 1][column] >= best[row][column - 1]:
            row -= 1
        else:
            column -= 1
    return pairs[::-1]


class Gaps:
    """Fills the gaps of a recording while it is replayed."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self._tasks = unrecorded(exchanges)
        self._changed: set[str] = set()

    def fill(self, world: World, number: int, exchange: Exchange) -> None:
        """Do to the world what ran unrecorded before an exchange."""
        while self._tasks and self._tasks[0].before <= number:
            shown = self._tasks.pop(0).shown
            _put_task(world, shown)
            if world.get("guest", str(shown["id"])) is not None:
                self._changed.add(str(shown["id"]))
        match = exchange.is_("GET", rf"/nodes/{NODE}/qemu/(\d+)/config")
        if match and match[1] in self._changed and exchange.status == 200 and not exchange.params:
            self._changed.discard(match[1])
            _adopt(world, match[1], exchange.data)


def _put_task(world: World, shown: Mapping[str, Any]) -> None:
    upid = str(shown["upid"]).replace("<pid>:<pstart>:<starttime>", f"{len(world.keys('task')):08X}:0:0")
    task = {"upid": upid, "node": NODE, "type": shown["type"], "id": shown["id"], "user": shown["user"]}
    task |= {"tokenid": shown.get("tokenid"), "starttime": shown["starttime"], "endtime": shown.get("endtime", 0)}
    task |= {"status": "stopped", "exitstatus": shown["status"], "due": 0.0, "duration": 0.0, "log": []}
    world.put("task", upid, task | {"pid": 1, "pstart": 1, "args": {}, "provisional": None})


def _adopt(world: World, vmid: str, recorded: Mapping[str, Any]) -> None:
    guest = world.get("guest", vmid)
    if guest is None:
        return
    for option, value in recorded.items():
        ours = guest["config"].get(option)
        if ours is None or blank(str(ours)) == blank(str(value)) or type(ours) is not type(value):
            continue
        guest["config"][option] = value
        if is_drive(option) and re.search(r"size=", str(value)):
            put_disk(world, str(value))
    world.put("guest", vmid, guest)
