"""Own the perverse mode: answers that are right and yet not as expected, and tasks that fail at their end.

A client must not stumble over keys that a later release adds, over optional ones that are
not there, over another order of a list or an entry that stands there twice, as where a guest
moves meanwhile; over answers that come late or are lost, so that it meets its own work when
it asks again. What happens follows from a seed and the order in which requests arrive.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from lib.lab.pve.answers import Answer
from lib.lab.world import Document, World

NEW_KEY = "added-by-a-later-release"
# Optional figures. What somebody has set is never left out: that would be another setting.
OPTIONAL = frozenset({"level", "cgroup-mode", "uptime", "netin", "netout", "diskread", "diskwrite", "used_fraction"})
ORDERED = ("/log", "/pending")
FAILING = 0.08  # of the tasks
TWICE = 0.3  # of the lists
SLOW, SLOW_SECONDS = 0.1, 0.05  # of the answers, and the most that one takes more
LOST = 0.02  # of the answers


class Perverse:
    """One seed's mischief."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  (reproducible on purpose)

    def twist(self, path: str, answer: Answer) -> Answer:
        """Return the answer with unknown keys, without optional ones, its list in another order or an entry twice."""
        if answer.status != 200 or answer.body is None or path.startswith("/access/permissions"):
            return answer
        data = answer.body.get("data")
        if isinstance(data, dict):
            data = self._twisted(data)
        elif isinstance(data, list) and not path.endswith(ORDERED):
            data = [self._twisted(entry) if isinstance(entry, dict) else entry for entry in data]
            if data and self._random.random() < TWICE:
                data.append(self._random.choice(data))
            self._random.shuffle(data)
        return dataclasses.replace(answer, body=answer.body | {"data": data})

    def delay(self) -> float:
        """Return the seconds that the next answer takes more."""
        return self._random.uniform(0, SLOW_SECONDS) if self._random.random() < SLOW else 0.0

    def loses(self, answer: Answer) -> bool:
        """Tell whether this answer, to something that was carried out, is lost on its way."""
        return answer.status == 200 and self._random.random() < LOST

    def _twisted(self, entry: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in entry.items() if key not in OPTIONAL or self._random.random() < 0.5}
        if self._random.random() < 0.5:
            kept[NEW_KEY] = "1"
        names = list(kept)
        self._random.shuffle(names)
        return {name: kept[name] for name in names}


def of(world: World) -> Perverse | None:
    """Return the mischief that the lab was made with, or None."""
    seed = (world.peek("meta", "lab") or {}).get("perverse")
    return None if seed is None else Perverse(int(seed))


def fails(world: World, task: Document) -> bool:
    """Tell whether a task fails at its end: some do, by the seed and the task's number."""
    seed = (world.peek("meta", "lab") or {}).get("perverse")
    number = random.Random(f"{seed}:{task['pid']}").random()  # noqa: S311  (reproducible on purpose)
    return seed is not None and number < FAILING
