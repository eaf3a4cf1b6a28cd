"""Own the local lock: one run at a time from one checkout. The kernel drops it when the process dies."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from lib.errors import LockedError


def holder() -> dict[str, object]:
    """Return who we are, for whoever meets our lock: owner, host, pid, processes, started (epoch seconds)."""
    try:
        owner = getpass.getuser()
    except (KeyError, OSError):  # in a container a user may have no name
        owner = str(os.getuid())
    me = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid(), "processes": _processes()}
    return me | {"started": round(time.time())}


def _processes() -> str:
    """Return what tells this table of processes from that of another machine or container of the same name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not on Linux
        return ""


@contextlib.contextmanager
def local_lock(path: Path) -> Iterator[None]:
    """Hold the lock file while inside.

    Raises:
        LockedError: another process holds it; says who and since when.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LockedError("lock", _held(file.read()), f"wait for that run to end ({path})") from None
        file.truncate(0)
        file.write(json.dumps(holder()))
        file.flush()
        os.fchmod(file.fileno(), 0o600)
        try:
            yield
        finally:
            file.truncate(0)


def _held(text: str) -> str:
    try:
        by = json.loads(text)
        age = round(time.time() - by["started"])
        return f"another run is under way ({by['owner']} on {by['host']}, pid {by['pid']}, for {age} s)"
    except (ValueError, KeyError, TypeError):
        return "another run is under way"
