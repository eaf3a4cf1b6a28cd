"""Own the perverse mode: answers that are right and yet not as expected, and tasks that fail at their end.

A client must not stumble over keys that a later release adds, over optional ones that are
not there, over another order of a list or an entry that stands there twice, as where a guest
moves meanwhile; over a guest of which the status daemon has not told yet; over answers that
come late or are lost, so that it meets its own work when it asks again. What happens follows
from the seed, what is asked and how often that was asked before: not from the order in which
requests of several threads arrive.
"""

from __future__ import annotations

import collections
import random
import re
from typing import Any

from msgspec.structs import replace

from lib.lab.pve.answers import Answer
from lib.lab.world import Document, World

NEW_KEY = "added-by-a-later-release"
# Optional figures. What somebody has set is never left out: that would be another setting.
OPTIONAL = frozenset({"level", "cgroup-mode", "uptime", "netin", "netout", "diskread", "diskwrite", "used_fraction"})
ORDERED = ("/log", "/pending")
# What /cluster/resources knows of a guest from the status daemon, which tells of a change some ten seconds later.
FIGURES = frozenset({"uptime", "cpu", "mem", "memhost", "disk", "netin", "netout", "diskread", "diskwrite"})
TOLD_LATER = FIGURES | {"name", "template", "maxcpu", "maxmem", "maxdisk"}
UNTOLD = 0.3  # of the guests there
FAILING = 0.08  # of the tasks
TWICE = 0.3  # of the lists
SLOW, SLOW_SECONDS = 0.1, 0.05  # of the answers, and the most that one takes more
LOST = 0.02  # of the answers
# A UPID's process and times are other ones at each run; its type and its object are the same.
_UPID_NUMBERS = re.compile(r"(UPID:[^:/]+):[0-9A-F]+:[0-9A-F]+:[0-9A-F]+:")


class Perverse:
    """One seed's mischief; it counts how often each request came since the lab was started."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._asked: collections.Counter[str] = collections.Counter()

    def request(self, node: str, method: str, path: str) -> Mischief:
        """Return what befalls this request."""
        asked = _UPID_NUMBERS.sub(r"\1:", f"{node} {method} {path}")
        self._asked[asked] += 1
        return Mischief(path, random.Random(f"{self._seed} {self._asked[asked]} {asked}"))  # noqa: S311  (on purpose)


class Mischief:
    """What befalls one request."""

    def __init__(self, path: str, chance: random.Random) -> None:
        """Draw all of it at once: what an answer holds must not decide whether it is lost.

        Attributes:
            delay: the seconds that the answer takes more.
        """
        self.delay = chance.uniform(0, SLOW_SECONDS) if chance.random() < SLOW else 0.0
        self._lost = chance.random() < LOST
        self._path = path
        self._random = chance

    def loses(self, answer: Answer) -> bool:
        """Tell whether this answer, to something that was carried out, is lost on its way."""
        return self._lost and answer.status == 200

    def twist(self, answer: Answer) -> Answer:
        """Return the answer with unknown keys, without optional ones, its list in another order or an entry twice."""
        if answer.status != 200 or answer.body is None or self._path.startswith("/access/permissions"):
            return answer
        data = answer.body.get("data")
        if isinstance(data, dict):
            data = self._twisted(data)
        elif isinstance(data, list) and not self._path.endswith(ORDERED):
            data = [self._twisted(entry) if isinstance(entry, dict) else entry for entry in data]
            if data and self._random.random() < TWICE:
                data.append(self._random.choice(data))
            self._random.shuffle(data)
        return replace(answer, body=answer.body | {"data": data})

    def _twisted(self, entry: dict[str, Any]) -> dict[str, Any]:
        if str(entry.get("id")).startswith(("qemu/", "lxc/")) and self._random.random() < UNTOLD:
            entry = {key: value for key, value in entry.items() if key not in TOLD_LATER} | {"status": "unknown"}
        kept = {key: value for key, value in entry.items() if key not in OPTIONAL or self._random.random() < 0.5}
        if self._random.random() < 0.5:
            kept[NEW_KEY] = "1"
        names = list(kept)
        self._random.shuffle(names)
        return {name: kept[name] for name in names}


def of(world: World) -> Perverse | None:
    """Return the mischief that the lab was made with, or None."""
    seed = world.lab.get("perverse")
    return None if seed is None else Perverse(int(seed))


def fails(world: World, task: Document) -> bool:
    """Tell whether a task fails at its end: some do, by the seed, what they do and how often that was done before."""
    seed = world.lab.get("perverse")
    if seed is None:
        return False
    what = [task["node"], task["type"], task["id"]]
    others = (world.peek("task", upid) or {} for upid in world.keys("task"))
    before = sum(
        [one.get(key) for key in ("node", "type", "id")] == what and one["pid"] < task["pid"] for one in others
    )
    return random.Random(f"{seed} {before} {' '.join(what)}").random() < FAILING  # noqa: S311  (on purpose)
