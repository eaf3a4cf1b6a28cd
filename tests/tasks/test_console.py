"""What a run prints while its steps end beside each other."""

from __future__ import annotations

import threading

import pytest

from lib.engine.plan import StepResult
from lib.errors import Problem
from lib.tasks.console import Screen


class Read(str):
    """The text of a problem; while it is looked at, another step ends."""

    __slots__ = ("other",)
    other: threading.Thread

    def __contains__(self, part: object) -> bool:
        self.other.start()
        self.other.join(0.2)
        return str(part) in str(self)


def test_a_step_that_failed_is_told_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(as_json=False, verbose=False)
    problem = Read("is away")
    problem.other = threading.Thread(target=screen.ended, args=(StepResult("other", "unchanged"),))
    screen.ended(StepResult("step", "failed", error=Problem("host", problem, "switch it on", "its room")))
    problem.other.join()
    lines = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(lines) if "failed" in line)
    assert lines[at + 1 : at + 3] == ["      host: is away [its room]", "      Fix: switch it on"]
