"""Own the lock that every operator sees: a pool in the Proxmox cluster, since creating one is atomic."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from lib.clients.pve import Pve
from lib.clients.waiting import TRIES, backoff, pause
from lib.errors import ApiError, GroundworkError, LockedError, LostAnswerError, RemoteError, UnreachableError

POOL = "groundwork-lock"
RENEW = 60.0  # seconds between signs of life
STALE = 300.0  # seconds without one after which a holder counts as dead
SETTLE = 2.0  # seconds after which another one who saw the same dead holder has taken its place, or never will


@contextlib.contextmanager
def cluster_lock(pve: Pve, mine: dict[str, Any], dry_run: bool, warn: Callable[[str], None]) -> Iterator[None]:
    """Hold the cluster's lock; a dry run writes nothing, so takes none. API: /pools.

    `mine` says who we are: owner, host, pid, started (epoch seconds). A lock that cannot be
    released is told by `warn`: what was done under it is done all the same.

    Raises:
        LockedError: somebody else holds it; says who, where and since when.
    """
    if dry_run:
        yield
        return
    _take(pve, mine)
    done = threading.Event()
    sign = threading.Thread(target=_live, args=(pve, mine, done), daemon=True)
    sign.start()
    try:
        yield
    finally:
        done.set()
        sign.join()
        _release(pve, warn)


def _comment(mine: dict[str, Any]) -> str:
    return json.dumps(mine | {"renewed": round(time.time())})


def _take(pve: Pve, mine: dict[str, Any]) -> None:
    settle = 0.0
    for attempt in range(1, TRIES + 1):
        try:
            pve.post("/pools", poolid=POOL, comment=_comment(mine))
            if not settle:
                return
            pause(settle)  # removing and creating are two requests: who removed ours meanwhile has it now
        except LostAnswerError:
            if attempt == TRIES:
                raise
        except ApiError as error:
            if "already exists" not in error.message:
                raise
        holder = next((str(row.get("comment", "")) for row in pve.get("/pools") if row["poolid"] == POOL), None)
        if holder is None:
            continue  # released between the two requests, or ours never arrived
        if _is_mine(holder, mine):
            return
        settle = _check_dead(holder, mine)
        # The holder died without releasing it: take its place, in the same atomic way.
        with contextlib.suppress(ApiError, LostAnswerError):  # what became of it shows at the next try
            pve.delete(f"/pools/{POOL}")
    raise LockedError("cluster lock", "another run took it at the same moment", "run the command again")


def _release(pve: Pve, warn: Callable[[str], None]) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            pve.delete(f"/pools/{POOL}")
            return
        except RemoteError as error:
            if "does not exist" in error.report.problem:
                return  # an earlier try did it, though its answer was lost
            problem = error.report.problem
            if isinstance(error, UnreachableError):
                break  # that has been retried already
        if attempt < TRIES:
            pause(backoff(attempt))
    warn(
        f"cluster lock: pool {POOL} could not be removed ({problem}); the next run from here takes it over at once, "
        f"from elsewhere {STALE:.0f} s after its last sign of life"
    )


def _is_mine(comment: str, mine: dict[str, Any]) -> bool:
    with contextlib.suppress(ValueError):
        holder = json.loads(comment)
        return isinstance(holder, dict) and mine.items() <= holder.items()
    return False


def _check_dead(comment: str, mine: dict[str, Any]) -> float:
    """Refuse unless the holder is dead; return the seconds after which nobody else still acts on having seen it."""
    try:
        holder = json.loads(comment)
        same_machine = holder["host"] == mine["host"]
        dead = same_machine and not _alive(int(holder["pid"]))
        silent = time.time() - float(holder["renewed"])
        told = (
            f"{holder['owner']} on {holder['host']} (pid {holder['pid']}) for {time.time() - holder['started']:.0f} s"
        )
    except (ValueError, KeyError, TypeError):
        raise LockedError(
            "cluster lock",
            f"pool {POOL} is not one of our locks (comment {comment!r})",
            f"look at it, then remove pool {POOL}",
        ) from None
    if not dead and silent < STALE:
        fix = f"wait for that run; a dead one is taken over {STALE:.0f} s after its last sign of life"
        raise LockedError("cluster lock", f"is held by {told}", fix)
    return SETTLE / 20 if dead else SETTLE  # on one machine it is a matter of milliseconds


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _live(pve: Pve, mine: dict[str, Any], done: threading.Event) -> None:
    while not done.wait(RENEW):
        with contextlib.suppress(GroundworkError):  # the next sign will do
            pve.put("/pools", poolid=POOL, comment=_comment(mine))
