"""Own what it means that an answer agrees with a recorded one.

Status and reason phrase are compared as they stand, bodies key by key: the same keys, the
same types, the same values. Three things a recording cannot fix: figures that the machine
or the moment made (`VOLATILE`), the order of what Perl keeps in hashes, and, on paths that
read nothing but the machine (`MACHINE`), which entries there are.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from lib.lab.pve.answers import Answer
from lib.lab.replay.recording import Exchange, blank

# Figures that are another at every look, and what is made up anew each time.
VOLATILE = """cpu disk diskread diskwrite mem memhost uptime idle wait free total used available used_fraction avail
ctime digest starttime endtime pid pstart value ticket CSRFPreventionToken snaptime next-run netin netout time localtime
pressurecpufull pressurecpusome pressureiofull pressureiosome pressurememoryfull pressurememorysome"""
_VOLATILE = frozenset(VOLATILE.split())
# What a running QEMU tells of itself is of its machine, too, with all that is in it.
_OF_QEMU = ("blockstat", "ballooninfo", "proxmox-support", "nics", "running-qemu")
# Of a node or a storage these are the machine's; a guest's follow from its configuration.
_SIZES = frozenset(("maxcpu", "maxmem", "maxdisk"))
MACHINE = re.compile(
    r"/nodes/[^/]+/(status|report|syslog|journal|netstat|rrddata|rrd|services.*|apt/.*|disks/.*|hardware/.*"
    r"|capabilities/.*|certificates/.*|scan/.*|subscription|aplinfo)|/cluster/(log|metrics/export)"
    r"|/nodes/[^/]+/(qemu/\d+|storage/[^/]+)/rrd(data)?"
)
_NAMES = ("volid", "vmid", "userid", "roleid", "storage", "tokenid", "upid", "iface", "key", "poolid", "name", "id")


def compare(exchange: Exchange, answer: Answer, task: dict[str, Any] | None) -> Iterator[str]:
    """Say in what an answer, and the task that it began, differ from the recorded ones."""
    if answer.status != exchange.status:
        yield f"status {answer.status}, recorded {exchange.status}"
    if blank(answer.reason) != blank(exchange.reason):
        yield f"reason {answer.reason!r}, recorded {exchange.reason!r}"
    recorded = exchange.body
    if isinstance(recorded, dict) and "raw" in recorded:
        text = "" if answer.body is None else json.dumps(answer.body)
        if text != recorded["raw"]:
            yield f"body {text!r}, recorded {recorded['raw']!r}"
    elif exchange.status == 200 and MACHINE.fullmatch(exchange.path):
        yield from shapes("body", answer.body, recorded)
    else:
        yield from differences("body", answer.body, recorded)
    if exchange.task is not None:
        for key in ("exitstatus", "type", "id", "user"):
            got = (task or {}).get(key)
            if blank(str(got)) != blank(str(exchange.task[key])):
                yield f"task {key} {got!r}, recorded {exchange.task[key]!r}"


def differences(where: str, got: Any, recorded: Any) -> Iterator[str]:
    """Say in what two values differ."""
    if isinstance(got, dict) and isinstance(recorded, dict):
        yield from _lone_keys(where, got, recorded)
        for key in sorted(set(got) & set(recorded)):
            yield from _value_differences(f"{where}.{key}", key, got, recorded)
    elif isinstance(got, list) and isinstance(recorded, list):
        yield from _list_differences(where, got, recorded)
    elif isinstance(got, str) and isinstance(recorded, str):
        if blank(got) != blank(recorded):
            yield f"{where} is {got!r}, recorded {recorded!r}"
    elif got != recorded or _kind(got) != _kind(recorded):
        yield f"{where} is {got!r}, recorded {recorded!r}"


def _lone_keys(where: str, got: dict[str, Any], recorded: dict[str, Any]) -> Iterator[str]:
    """Say which keys only one of two has."""
    for key in sorted(set(got) ^ set(recorded)):
        if key in got:
            yield f"{where}.{key} is not in the recording (got {got[key]!r})"
        else:
            yield f"{where}.{key} is missing"


def _value_differences(where: str, key: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    got, recorded = ours[key], theirs[key]
    of_machine = key in _SIZES and "vmid" not in ours
    if key in _OF_QEMU or (key in _VOLATILE and not isinstance(recorded, (dict, list))) or of_machine:
        if _kind(got) != _kind(recorded):
            yield f"{where} is {got!r}, recorded {recorded!r}"
    elif key == "saved":  # a number until the daemon has read its list of tasks again, then text
        yield from differences(where, str(got), str(recorded))
    elif key in ("content", "groups", "users", "privs") and "," in str(recorded):
        yield from differences(where, sorted(str(got).split(",")), sorted(recorded.split(",")))
    else:
        yield from differences(where, got, recorded)


def _list_differences(where: str, got: list[Any], recorded: list[Any]) -> Iterator[str]:
    """Compare two lists whose order says nothing: entries are matched by their name."""
    ours, theirs = _by_name(got), _by_name(recorded)
    for name in sorted(set(ours) | set(theirs)):
        if name not in ours:
            yield f"{where}[{name}] is missing"
        elif name not in theirs:
            yield f"{where}[{name}] is not in the recording"
        else:
            yield from differences(f"{where}[{name}]", ours[name], theirs[name])


def _by_name(entries: list[Any]) -> dict[str, Any]:
    """Return the entries by their name; those of one name are counted, in their order."""
    found: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for entry in entries:
        name = str(entry)
        if isinstance(entry, dict):
            keys = [key for key in _NAMES if key in entry]
            name = "/".join(str(entry[key]) for key in keys if key in ("path", "type", keys[0])) if keys else str(entry)
            if "path" in entry and "ugid" in entry:
                name = f"{entry['path']} {entry['type']} {entry['ugid']} {entry['roleid']}"
        name = blank(name)
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name} #{seen[name]}"] = entry
    return found


def shapes(where: str, got: Any, recorded: Any) -> Iterator[str]:
    """Say in what the shapes of two values differ: keys and types, and of lists what kinds of entries there are."""
    if isinstance(got, dict) and isinstance(recorded, dict):
        yield from _lone_keys(where, got, recorded)
        for key in sorted(set(got) & set(recorded)):
            yield from shapes(f"{where}.{key}", got[key], recorded[key])
    elif isinstance(got, list) and isinstance(recorded, list):
        known = [list(shapes(where, each, other)) for each in got for other in recorded]
        if known and all(known):  # not one entry of ours is like one of theirs
            yield from min(known, key=len)
    elif _kind(got) != _kind(recorded):
        yield f"{where} is {got!r}, recorded {recorded!r}"


def _kind(value: Any) -> str:
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__
