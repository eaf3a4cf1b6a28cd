"""Own the tasks of the simulated cluster: UPIDs, duration, log, exit status, and what a task does when it ends.

A task's effect happens at its end, at one stroke, in a transaction of its own; until
then it is a document, so that it outlives a killed lab. What the effects are stands
beside the handlers that start them (`WORKS` of each area).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

from lib.lab import perverse
from lib.lab.faults import Faults
from lib.lab.pve.answers import Refusal
from lib.lab.pve.rights import Caller, Rights, split_token
from lib.lab.world import Document, World

Work = Callable[[World, Document], None]


class TaskFailed(Exception):  # noqa: N818 - the outcome of a task, not a fault of the lab
    """The task ends with this text as its exit status."""


def start(
    world: World,
    now: float,
    node: str,
    kind: str,
    id: str,
    identity: str,
    seconds: float,
    args: Mapping[str, Any] | None = None,
    provisional: int | None = None,
    log: list[str] | None = None,
) -> str:
    """Start a task and return its UPID.

    The effect is looked up by `kind`, the task's type, and finds what it needs to know in
    `args`. `seconds` is how long it would take in reality; the lab's `task_scale` scales it.
    `provisional` is a guest that exists only if the task ends well; `log` shows from the start.
    """
    counters = world.get("meta", "counters") or {"pid": 1000}
    counters["pid"] += 1
    world.put("meta", "counters", counters)
    boot = (world.get("node", node) or {}).get("boot_time", now)
    pid, pstart = counters["pid"], int(max(0.0, now - boot) * 100) + counters["pid"]
    upid = f"UPID:{node}:{pid:08X}:{pstart:08X}:{int(now):08X}:{kind}:{id}:{identity}:"
    user, token = split_token(identity)
    task: Document = {"upid": upid, "node": node, "type": kind, "id": id, "user": user, "tokenid": token or None}
    duration = seconds * world.task_scale
    task |= {"starttime": int(now), "duration": duration, "due": now + duration, "endtime": None}
    task |= {"status": "running", "exitstatus": None, "log": log or [], "pid": pid, "pstart": pstart}
    world.put("task", upid, task | {"args": dict(args or {}), "provisional": provisional})
    return upid


def running(world: World) -> list[Document]:
    """Return the tasks that have not ended, the earliest due first."""
    found = []
    for upid in world.keys("task"):
        task = world.peek("task", upid)
        if task is not None and task["status"] == "running":
            found.append(copy.deepcopy(task))
    return sorted(found, key=lambda task: float(task["due"]))


def settle(world: World, now: float, works: Mapping[str, Work], faults: Faults) -> float | None:
    """End every task that is due; return when the next one will be."""
    while True:
        open_tasks = running(world)
        if not open_tasks:
            return None
        if open_tasks[0]["due"] > now:
            return float(open_tasks[0]["due"])
        _end(world, now, open_tasks[0], works, faults)


def _end(world: World, now: float, task: Document, works: Mapping[str, Work], faults: Faults) -> None:
    try:
        with world.transaction():
            _strike(world, task, faults)
            work = works.get(task["type"])
            if work is not None:
                work(world, task)
            _close(world, now, task, "OK")
    except (TaskFailed, Refusal) as failed:  # what a request would be refused with ends a task, too
        told = failed.told if isinstance(failed, Refusal) else str(failed)
        with world.transaction():
            if task["provisional"] is not None:
                world.delete("guest", str(task["provisional"]))
            _close(world, now, task, told.replace("\n", " "))


def abort(world: World, now: float, task: Document) -> None:
    """End a running task before its time."""
    if task["provisional"] is not None:
        world.delete("guest", str(task["provisional"]))
    _close(world, now, task, "received interrupt")


def _strike(world: World, task: Document, faults: Faults) -> None:
    subject = f"{task['node']} {task['type']} {task['id']}"
    if faults.take("lock", subject):
        raise TaskFailed(f"can't lock file '/var/lock/qemu-server/lock-{task['id']}.conf' - got timeout")
    if faults.take("task-fail", subject):
        raise TaskFailed("command failed: exit code 1 (a fault of the lab)")
    if perverse.fails(world, task):
        raise TaskFailed("command failed: exit code 1 (the lab is perverse)")


def _close(world: World, now: float, task: Document, exitstatus: str) -> None:
    task["log"].append("TASK OK" if exitstatus == "OK" else f"TASK ERROR: {exitstatus}")
    task |= {"status": "stopped", "exitstatus": exitstatus, "endtime": max(task["starttime"], math.floor(now))}
    world.put("task", task["upid"], task)


def is_own(identity: str, task: Document) -> bool:
    """Tell whether an identity started the task: a user also if a token of his did, a token only if it did itself."""
    user, token = split_token(identity)
    return bool(user == task["user"]) and token in ("", task["tokenid"])


def caller(world: World, task: Document) -> Caller:
    """Return who started a task, with his rights as they are now."""
    token = f"!{task['tokenid']}" if task["tokenid"] else ""
    return Caller(task["user"] + token, Rights(world))


def describe(task: Document) -> Document:
    """Return a task as the lists show it."""
    shown = {key: task[key] for key in ("upid", "node", "pid", "pstart", "starttime", "type", "id", "user")}
    if task["tokenid"]:
        shown["tokenid"] = task["tokenid"]
    if task["endtime"] is not None:
        shown |= {"endtime": task["endtime"], "status": task["exitstatus"]}
    return shown
