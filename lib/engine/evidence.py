"""Own the state file: evidence of what was done when, never permission to skip.

Deleting it costs time, never correctness. It holds no secret.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.errors import StepError

VERSION = 1


def digest(value: object) -> str:
    """Return a short digest of a value's repr (secrets show as `***` there)."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def write_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write through a temporary file beside it, fsync, rename: old or new, never half.

    Raises:
        StepError: it cannot be written.
    """
    try:
        _write_file(path, text, mode)
    except OSError as error:
        fix = "make room and see that you may write there, then run the same command again"
        raise StepError(str(path), f"cannot be written ({error.strerror})", fix) from None


def _write_file(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            os.fchmod(out.fileno(), mode)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def _well_formed(found: dict[str, Any]) -> bool:
    steps = found.get("steps")
    times = ("finished", "checked", "seconds")
    return isinstance(steps, dict) and all(
        isinstance(step, dict) and all(isinstance(step.get(key, 0), (int, float)) for key in times)
        for step in steps.values()
    )


class Evidence:
    """The state file of one target: per step when it finished, how long it took, and two digests."""

    def __init__(self, path: Path, target: str, clock: Callable[[], float] = time.time) -> None:
        """Read the file; evidence of another target counts for nothing.

        Raises:
            StepError: the file is corrupt or written by a newer Groundwork.
        """
        self._path = path
        self._target = target
        self._clock = clock
        self._steps: dict[str, dict[str, Any]] = {}
        if not path.exists():
            return
        found = self._parse(path.read_text(errors="replace"))
        if found.get("target") == target:
            self._steps = found["steps"]

    def _parse(self, text: str) -> dict[str, Any]:
        fix = (
            f"look at it, or drop it (rm {self._path}; the foundation's own: invoke foundation --reset-state): "
            "that costs time, never correctness"
        )
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            where = f"{self._path.name}:{error.lineno}"
            raise StepError("state file", f"is not readable: {error.msg} at column {error.colno}", fix, where) from None
        if not isinstance(found, dict) or not _well_formed(found):
            raise StepError("state file", "has not the shape of a state file", fix, f"{self._path.name}:1")
        if found.get("version") != VERSION:
            problem = f"has another version (got {found.get('version')!r}, want {VERSION})"
            raise StepError("state file", problem, "update Groundwork, or " + fix, f"{self._path.name}:1")
        return found

    def of(self, step: str) -> dict[str, Any]:
        """Return what is known of a step: finished, seconds, inputs, observed, checked (epoch seconds)."""
        return dict(self._steps.get(step, {}))

    def age_of_check(self, step: str, inputs: str) -> float | None:
        """Return the seconds since the last full check of the same inputs, or None."""
        known = self._steps.get(step, {})
        if known.get("inputs") != inputs or not isinstance(known.get("checked"), (int, float)):
            return None
        age = self._clock() - float(known["checked"])
        return age if age >= 0 else None

    def record(self, step: str, *, inputs: str, observed: object, seconds: float, applied: bool, checked: bool) -> None:
        """Write down that a step was found or made as desired."""
        known = self.of(step)
        now = round(self._clock(), 3)
        if applied or "finished" not in known:
            known |= {"finished": now, "seconds": round(seconds, 3)}
        if checked:
            known["checked"] = now
        self._steps[step] = known | {"inputs": inputs, "observed": digest(observed)}

    def forget(self, step: str) -> None:
        """Drop the evidence of a step that was found otherwise."""
        self._steps.pop(step, None)

    def save(self) -> None:
        """Write the file."""
        body = {"version": VERSION, "target": self._target, "steps": self._steps}
        write_file(self._path, json.dumps(body, indent=2, sort_keys=True) + "\n")
