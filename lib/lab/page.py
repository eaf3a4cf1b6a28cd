"""Own the status page: what the lab holds and what reached it, for people; one HTML document without scripts.

It shows no parameters, no output and no file contents, so that no secret can be in it.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lib.lab.dns import service
from lib.lab.journal import Journal
from lib.lab.pve import cluster, guest_state
from lib.lab.world import Document, World

TASKS, LINES = 20, 40
TAIL_BYTES = 64 << 10
LONGEST = 140

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Row(msgspec.Struct, frozen=True):
    """One line of the journal as the page shows it; `at` is unknown (None) before the lab's last start."""

    at: float | None
    kind: str
    where: str
    what: str
    result: str
    fine: bool
    ms: float | None


def render(world: World, journal: Journal, status: dict[str, Any], lab: dict[str, Any], nonce: str) -> str:
    """Return the page: `status` as `lab.status` tells it, `lab` as lab.json does; `nonce` lets its style be used."""
    now = time.time()
    template = _TEMPLATES.get_template("page.html")
    return template.render(
        nonce=nonce,
        now=now,
        status=status,
        hosts=_hosts(world, lab),
        name_servers=_name_servers(world, lab),
        guests=_guests(world, now),
        tasks=_tasks(world),
        rows=rows(journal),
        clock=_clock,
        iso=_iso,
        span=_span,
    )


def _hosts(world: World, lab: dict[str, Any]) -> list[dict[str, Any]]:
    guests = [guest["node"] for guest in world.all("guest").values()]
    nodes = sorted(world.all("node").values(), key=lambda node: int(node["nodeid"]))
    return [
        {
            "name": node["name"],
            "address": node["address"],
            "up": cluster.is_up(world, node["name"]),
            "api": lab["api"].get(node["name"], ""),
            "ssh": lab["ssh"].get(node["address"], ""),
            "guests": guests.count(node["name"]),
        }
        for node in nodes
    ]


def _name_servers(world: World, lab: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        one
        | {
            "running": service.is_running(world, one["name"]),
            "ssh": lab["ssh"].get(one["address"], ""),
            "dns": lab["dns"].get(one["address"], ""),
        }
        for one in world.all("nameserver").values()
    ]


def _guests(world: World, now: float) -> list[dict[str, Any]]:
    guests = sorted(world.all("guest").values(), key=lambda guest: int(guest["vmid"]))
    return [
        guest_state.resource(world, guest, now, cluster.is_up(world, guest["node"]))
        | {"lock": guest.get("lock", ""), "pool": guest.get("pool")}
        for guest in guests
    ]


def _tasks(world: World) -> list[Document]:
    """Return the newest tasks."""
    found = sorted(world.all("task").values(), key=lambda task: (task["starttime"], task["pid"]), reverse=True)
    return found[:TASKS]


# ------------------------------------------------------------------ journal


def rows(journal: Journal) -> list[Row]:
    """Return the last lines of the journal, the newest first."""
    if journal.path is None:
        return []
    with journal.path.open("rb") as file:
        begin = max(0, file.seek(0, 2) - TAIL_BYTES)
        file.seek(begin)
        if begin:
            begin += len(file.readline())  # the rest of a line
        found = []
        for text in file:
            began = journal.began if begin >= journal.offset else None
            with contextlib.suppress(ValueError):  # half a line, where the disk was full
                found.append(_row(json.loads(text), began))
            begin += len(text)
    return found[: -LINES - 1 : -1]


def _row(line: dict[str, Any], began: float | None) -> Row:
    result = line.get("status", line.get("exit", line.get("rcode", "")))
    what = {
        "api": lambda: f"{line['method']} {line['path']}",
        "ssh": lambda: shlex.join(line["argv"]),
        "sftp": lambda: f"{line['op']} {line['path']}",
        "dns": lambda: f"{line['type']} {line['name']}",
        "script": lambda: shlex.join(line["argv"]),
    }.get(line["kind"], lambda: "")()
    return Row(
        at=None if began is None else began + line["t"],
        kind=line["kind"],
        where=line.get("node") or line.get("host", ""),
        what=what if len(what) <= LONGEST else what[: LONGEST - 1] + "…",
        result="cut" if result is None else str(result),
        fine=result in ("", 0, "NOERROR") or (line["kind"] == "api" and result < 400),
        ms=line.get("ms"),
    )


# -------------------------------------------------------------------- times


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def _span(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    left = int(seconds)
    words: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not words):
            words.append(f"{count} {unit}")
    return " ".join(words[:2])
