"""Own what is compared of two worlds after a run: everything that a run makes, by name, but for what is random."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.lab.world import World

SLOT = re.compile(r"(packer@pve!build)-[ab]")  # which of the two is written differs after an interruption


def told(checkout: Path) -> set[str]:
    """Return the world of a lab that does not run, and what rehearsals wrote: a line for each thing that is there."""
    world = World(checkout / ".lab" / "world.sqlite")
    try:
        lines = {SLOT.sub(r"\1-?", line) for line in _lines(world)}
    finally:
        world.close()
    return lines | set(_local(checkout / ".lab"))


def _lines(world: World) -> Iterator[str]:
    for kind in ("pool", "user", "group", "token", "storage", "realm", "fault"):
        yield from (f"{kind} {key}" for key in world.keys(kind))
    for vmid, guest in world.all("guest").items():
        told_of = {key: guest.get(key) for key in ("node", "pool", "lock", "status")}
        yield f"guest {vmid} {told_of}"
        yield from (f"guest {vmid} {key}={_plain(key, value)}" for key, value in guest["config"].items())
    for name, role in world.all("role").items():
        yield f"role {name} {sorted(role['privs'])}"
    for key in world.keys("acl"):
        yield f"acl {key}"
    for name, image in world.all("rbd").items():
        yield f"volume {name}, {image['size']} bytes, meta {image.get('meta', {})}"
    yield from (f"file {key}" for key in world.keys("file"))
    for node, host in world.all("host").items():
        yield f"mounts on {node} {sorted(host['mounts'].items())}"
        yield f"mapped on {node} {sorted(host['mapped'].items())}"
        yield f"packages on {node} {sorted(host['packages'])}"
        yield from (f"unit {name} on {node} {unit}" for name, unit in host["units"].items())
    running = [task for task in world.all("task").values() if task["status"] == "running"]
    yield from (f"running task {task['upid']}" for task in running)


def _plain(key: str, value: Any) -> Any:
    return "…" if key in ("meta", "vmgenid", "smbios1", "net0") else value


def _local(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not name.startswith((".groundwork/runs/", "world.sqlite")) and name not in ("lab.log", "options.json"):
            yield f"local {name}"
    lock = folder / ".groundwork" / "lock"
    yield f"local lock holds '{lock.read_text() if lock.exists() else ''}'"
