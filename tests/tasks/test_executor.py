"""How a task line ends: whatever is raised in it becomes a text, an exit code, and a document where one is owed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke import Collection, Config, Context, Exit, task

from lib.errors import ConfigurationError, LockedError, Problem
from lib.secrets import Secret
from lib.tasks.executor import OneRun


def ended(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[Exit, list[dict[str, str]]]:
    @task
    def fails(c: Context, json: bool = False) -> None:
        raise error

    with pytest.raises(Exit) as caught:
        OneRun(Collection(fails), Config()).execute(("fails", {"json": True}))
    document = json.loads(capsys.readouterr().out)
    assert (document["command"], document["outcome"], document["phases"]) == ("fails", "failed", [])
    return caught.value, document["errors"]


def unwritable() -> OSError:
    return PermissionError(13, "Permission denied", "/checkout/.lab")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (LockedError("lock", "is held", "wait"), 5, "lock: is held\n  Fix: wait"),
        (ConfigurationError([Problem("a", "bad"), Problem("b", "bad")]), 2, "a: bad\nb: bad"),
        (KeyboardInterrupt(), 130, "run: interrupted\n  Fix: run the same"),
        (unwritable(), 1, "/checkout/.lab: Permission denied\n  Fix: "),
        (OSError(28, "No space left on device"), 1, "disk: No space left on device\n  Fix: "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_known_is_told_without_a_traceback(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    end, errors = ended(error, capsys)
    assert end.code == code
    assert end.message is not None
    assert end.message.startswith(told)
    assert len(errors) == (2 if code == 2 else 1)


def test_a_bug_is_told_with_its_traceback_and_where_to_report_it_and_no_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    end, errors = ended(ValueError(Secret("hunter-22").reveal()), capsys)
    assert end.code == 1
    assert end.message is not None
    assert end.message.startswith("Traceback")
    assert "Groundwork: has a bug (ValueError: ***)\n  Fix: report it as CONTRIBUTING.md says" in end.message
    assert "hunter-22" not in end.message + str(errors)


@pytest.mark.parametrize(("closed", "stream"), [(">&-", "stdout"), ("2>&-", "stderr")])
def test_a_closed_stream_stops_no_run(
    checkout: Path, environment: dict[str, str], run: Callable[..., object], closed: str, stream: str
) -> None:
    run("lab.start", "--task-seconds", "0")
    line = f"{sys.executable} -m invoke plan --json {closed}"
    result = subprocess.run(["bash", "-c", line], cwd=checkout, env=environment, capture_output=True, text=True)
    assert result.returncode == 0
    assert (result.stdout == "") == (stream == "stdout")
    assert (result.stderr == "") == (stream == "stderr")
    full = line.replace("&-", "/dev/full")
    result = subprocess.run(["bash", "-c", full], cwd=checkout, env=environment, capture_output=True, text=True)
    assert result.returncode == (1 if stream == "stdout" else 0)  # the document is lost; what is told beside it may be
    assert "Traceback" not in result.stdout + result.stderr
