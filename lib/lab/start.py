"""Own starting and stopping the lab's process, and asking it for something. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from lib.errors import StepError, UnreachableError, UsageError

STOP_SECONDS = 10.0
START_SECONDS = 30.0
MADE_WITH = ("pve", "hosts", "perverse")


def running(root: Path) -> dict[str, Any] | None:
    """Return lab.json of the lab that runs in this checkout, or None."""
    try:
        found: dict[str, Any] | None = json.loads((root / ".lab" / "lab.json").read_text()) if _held(root) else None
    except (FileNotFoundError, ValueError):
        return None
    return found


def ensure(root: Path) -> dict[str, Any]:
    """Return lab.json of the running lab; start one where none runs."""
    return running(root) or start(root)


def start(root: Path, **options: str | int | float | None) -> dict[str, Any]:
    """Start a lab in the background and wait until it answers.

    `options` are the server's own (pve, hosts, latency_ms, task_seconds, perverse); None: its default.
    A lab that was made before goes on where it stopped.

    Raises:
        StepError: it did not come up.
    """
    folder = root / ".lab"
    folder.mkdir(mode=0o700, exist_ok=True)
    given = {key: value for key, value in options.items() if value is not None}
    check(root, given)
    kept = _options(folder) | given
    with (folder / "lab.log").open("ab") as log:
        began = log.tell()
        told = _spawned(root, kept, log)
    if told == "ready":
        (folder / "options.json").write_text(json.dumps(kept))
    found = running(root)
    if found is None and told == "running":  # somebody else is starting it this moment
        found = _wait_for_other(root)
    if found is None:
        last = (folder / "lab.log").read_bytes()[began:].decode(errors="replace").strip().splitlines()
        problem = "did not start\n    " + "\n    ".join(last[-6:] or ["it ended at once"])
        raise StepError("lab", problem, f"see {folder / 'lab.log'}; `invoke lab.reset` makes a new one")
    return found


def _spawned(root: Path, options: dict[str, Any], log: IO[bytes]) -> str:
    """Run the process; return what it says when it is there: "ready", or "running" where another one is."""
    argv = [sys.executable, "-m", "lib.lab", "--root", str(root)]
    for key, value in options.items():
        argv += [f"--{key.replace('_', '-')}", str(value)]
    code = Path(__file__).resolve().parent.parent.parent
    path = os.pathsep.join(filter(None, (str(code), os.environ.get("PYTHONPATH"))))
    # The lab runs no program. Without a PATH asyncssh asks no compiler for libraries that it could use, either.
    environ = os.environ | {"PYTHONPATH": path, "PATH": "/nonexistent"}
    reader, writer = os.pipe()
    with os.fdopen(reader) as pipe:
        process = subprocess.Popen(
            [*argv, "--ready-fd", str(writer)],
            cwd=code,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            start_new_session=True,
        )
        os.close(writer)
        told = pipe.readline().strip()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(START_SECONDS)  # it has left the lab behind, or failed
    return told


def _wait_for_other(root: Path) -> dict[str, Any] | None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = running(root)
        if found is not None:
            return found
        time.sleep(0.02)
    return None


def _options(folder: Path) -> dict[str, Any]:
    """Return the options of the last start: the lab goes on as it was made."""
    try:
        found: dict[str, Any] = json.loads((folder / "options.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def check(root: Path, given: dict[str, Any]) -> None:
    """Refuse another shape than that of a lab made before; speed may change.

    Raises:
        UsageError: it was made with others.
    """
    folder = root / ".lab"
    if not (folder / "world.sqlite").exists():
        (folder / "options.json").unlink(missing_ok=True)
        return
    kept = {"pve": "9.2"} | _options(folder)
    for key in MADE_WITH:
        if given.get(key) is not None and kept.get(key) != given[key]:
            problem = f"was made with {kept.get(key, 'its default')} (got {given[key]})"
            raise UsageError(f"--{key}", problem, "invoke lab.reset, then lab.start with these options")


def stop(root: Path) -> bool:
    """End the lab; return whether one ran.

    Raises:
        StepError: it does not end.
    """
    found = running(root)
    if found is None:
        return False
    os.kill(int(found["pid"]), signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _held(root):
        if time.monotonic() > deadline:
            raise StepError("lab", f"process {found['pid']} does not end", f"kill -9 {found['pid']}")
        time.sleep(0.01)
    return True


def _held(root: Path) -> bool:
    with (root / ".lab" / "server.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def reset(root: Path) -> bool:
    """Forget the cluster and what rehearsals wrote; keys stay. Return whether a lab ran, which is then stopped."""
    ran = stop(root)
    folder = root / ".lab"
    for path in folder.glob("world.sqlite*"):
        path.unlink()
    for name in ("journal.jsonl", "options.json", "lab.json", "control.json", ".foundation-state.json"):
        (folder / name).unlink(missing_ok=True)
    for name in (".groundwork", "packer", "terraform"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return ran


def ask(root: Path, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a control request to the running lab.

    Raises:
        UnreachableError: none runs, or it does not answer.
        UsageError: it refused what was asked.
    """
    try:
        control = json.loads((root / ".lab" / "control.json").read_text())
        connection = http.client.HTTPConnection(urlsplit(control["url"]).netloc, timeout=10)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {control['secret']}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body or {}), headers)
            answer = connection.getresponse()
            text = answer.read()
    except (OSError, ValueError, http.client.HTTPException):
        raise UnreachableError("lab", "does not run", "invoke lab.start") from None
    told: dict[str, Any] = json.loads(text) if answer.status in (200, 400) else {}
    if answer.status == 400:
        raise UsageError("lab", str(told.get("problem")))
    if answer.status != 200:
        raise UnreachableError("lab", f"answered {answer.status}", "invoke lab.stop, then lab.start")
    return told
