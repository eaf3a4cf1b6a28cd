"""Own the faults that a user or a test asked the lab for: what breaks, where, and how often still.

Each part of the lab asks at its own place ("is there a fault for this subject?") and
breaks in its own way; how something breaks is not here.
"""

from __future__ import annotations

import fnmatch

import msgspec

from lib.lab.world import Document, World

SLOW_SECONDS = 2.0  # what is slow takes that much longer
KINDS = (
    "reset",
    "timeout",
    "500",
    "595",
    "401",
    "lock",
    "task-fail",
    "ssh-drop",
    "ssh-refuse",
    "exit",
    "agent-silent",
    "disk-full",
    "slow",
    "dns-servfail",
    "dns-refused",
    "dns-truncated",
    "partition",
)


class Fault(msgspec.Struct, frozen=True):
    """One fault: its kind, the subjects it is for, and how often it strikes (0: until cleared)."""

    kind: str
    match: str
    times: int


class Faults:
    """The faults of one world, first asked for first served."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add(self, kind: str, match: str = "*", times: int = 1) -> None:
        """Ask for a fault. Raises ValueError for a kind that the lab does not know."""
        if kind not in KINDS:
            raise ValueError(f"no such fault: {kind!r} (one of {', '.join(KINDS)})")
        numbers = [int(key) for key in self._world.keys("fault")]
        document = {"kind": kind, "match": match, "times": times, "used": 0}
        self._world.put("fault", str(max(numbers, default=0) + 1), document)

    def clear(self) -> int:
        """Forget every fault; return how many there were."""
        keys = self._world.keys("fault")
        for key in keys:
            self._world.delete("fault", key)
        return len(keys)

    def take(self, kind: str, subject: str) -> Fault | None:
        """Return the first fault of the kind for the subject, used up by one, or None."""
        for key, found in self._world.all("fault").items():
            if found["kind"] != kind or not _matches(found["match"], subject):
                continue
            found["used"] += 1
            if found["times"] and found["used"] >= found["times"]:
                self._world.delete("fault", key)
            else:
                self._world.put("fault", key, found)
            return _fault(found)
        return None

    def standing(self, kind: str, subject: str) -> Fault | None:
        """Return the first fault of the kind for the subject without using it up: a state, not an event."""
        for found in self._world.all("fault").values():
            if found["kind"] == kind and _matches(found["match"], subject):
                return _fault(found)
        return None


def _fault(found: Document) -> Fault:
    return Fault(found["kind"], found["match"], found["times"])


def _matches(pattern: str, subject: str) -> bool:
    """Match a glob over the whole subject where there is a `*`, else a substring."""
    if "*" in pattern:
        return fnmatch.fnmatchcase(subject, pattern)
    return pattern in subject
