"""Own a lab in a thread of this process: it starts at once, and its faults and journal are within reach."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lib.lab.faults import Faults
from lib.lab.journal import Journal
from lib.lab.server import Lab, _lock
from lib.lab.topology import Shape

OnLine = Callable[[int, str, Faults], None]  # its number from 1, what it says, and the faults to add to


class _Watched(Journal):
    """A journal that tells of each of its lines before anything else happens in the lab."""

    def __init__(self, path: Path, faults: Faults, on_line: OnLine) -> None:
        super().__init__(path)
        self._faults = faults
        self._on_line = on_line
        self._lines = 0

    def write(self, kind: str, **fields: Any) -> None:
        super().write(kind, **fields)
        self._lines += 1
        words = fields.get("argv") or [
            fields.get("method", fields.get("op", "")),
            fields.get("path", fields.get("name")),
        ]
        self._on_line(self._lines, " ".join(words), self._faults)


class Running:
    """A lab that runs here, in a thread of its own."""

    def __init__(self, lab: Lab, loop: asyncio.AbstractEventLoop) -> None:
        self._lab = lab
        self._loop = loop

    def fault(self, kind: str, match: str, times: int = 1) -> None:
        """Ask for a fault."""
        self._do(lambda faults: faults.add(kind, match, times))

    def clear(self) -> list[dict[str, Any]]:
        """Take every fault back, and return those that had not struck, or not as often as they might."""
        found: list[dict[str, Any]] = self._do(lambda _: list(self._lab.world.all("fault").values()))
        self._do(Faults.clear)
        return found

    def _do(self, work: Callable[[Faults], Any]) -> Any:
        async def there() -> Any:
            return work(self._lab.faults)

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(10)

    def stop(self) -> None:
        """Let it end."""
        self._loop.call_soon_threadsafe(self._lab.stopped.set)


@contextlib.contextmanager
def lab_in(
    checkout: Path, task_seconds: float = 0.0, on_line: OnLine | None = None, seed: int | None = None
) -> Iterator[Running]:
    """Run the checkout's lab while inside; `on_line` is told each line of the journal.

    Whoever looks at `.lab/` finds a running lab; it must not be stopped by its process id, which is ours.
    """
    folder = checkout / ".lab"
    folder.mkdir(mode=0o700, exist_ok=True)
    if seed is not None:  # for who starts it as a process afterwards
        (folder / "options.json").write_text(json.dumps({"perverse": seed}))
    reader, writer = os.pipe()
    found: list[Running] = []

    async def serve() -> None:
        lab = Lab(checkout, Shape(task_scale=task_seconds, perverse=seed), 0.0)
        if on_line is not None:
            lab.journal.close()
            lab.journal = _Watched(folder / "journal.jsonl", lab.faults, on_line)
        found.append(Running(lab, asyncio.get_running_loop()))
        with os.fdopen(writer, "w") as ready:
            await lab.serve(ready)
        lab.journal.close()

    with _locked(folder), os.fdopen(reader) as ready:
        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        try:
            assert ready.readline() == "ready\n"
            yield found[0]
        finally:
            if found:
                found[0].stop()
            thread.join(20)
            with warnings.catch_warnings():  # connections that a killed client left open would be told to a later test
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = _lock(folder)
    assert lock is not None, "a lab runs already"
    with lock:
        yield
