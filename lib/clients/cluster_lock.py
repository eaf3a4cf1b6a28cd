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
def cluster_lock(
    pve: Pve, mine: dict[str, Any], dry_run: bool, warn: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Hold the cluster's lock; a dry run writes nothing, so takes none. API: /pools.

    `mine` says who we are: owner, host, pid, processes, started (epoch seconds). A lock that cannot be
    released is told by `warn`: what was done under it is done all the same. Gives what raises LockedError
    as soon as the lock is no longer ours: this machine may have slept until others took us for dead.

    Raises:
        LockedError: somebody else holds it; says who, where and since when.
    """
    if dry_run:
        yield lambda: None
        return
    _take(pve, mine)
    sign = _Sign(pve, mine)
    thread = threading.Thread(target=sign.repeat, daemon=True)
    thread.start()
    try:
        yield sign.check
    finally:
        sign.done.set()
        thread.join()
        try:
            sign.check()
        except GroundworkError as error:
            warn(str(error))
        else:
            _release(pve, warn)


class _Sign:
    """The signs of life that the holder gives, as long as the lock is his."""

    def __init__(self, pve: Pve, mine: dict[str, Any]) -> None:
        self.done = threading.Event()
        self._pve = pve
        self._mine = mine
        self._given = time.time()
        self._lost = ""
        self._one = threading.Lock()

    def repeat(self) -> None:
        """Give one now and then."""
        while not self.done.wait(RENEW):
            with contextlib.suppress(GroundworkError):  # the next sign will do
                self._give()

    def check(self) -> None:
        """Look whether the lock is still ours, where it may have been taken for a dead one's."""
        if time.time() - self._given > STALE / 2:
            self._give()
        if self._lost:
            fix = "run the command again when that run has ended: it looks at what both have left"
            raise LockedError("cluster lock", f"gave no sign of life for too long, {self._lost}", fix)

    def _give(self) -> None:
        with self._one:
            found = _holder(self._pve)
            if found is None or not _is_mine(found, self._mine):
                self._lost = "and was removed" if found is None else f"and was taken over (by {_who(found)})"
            else:
                self._pve.put("/pools", poolid=POOL, comment=_comment(self._pve, self._mine))
                self._given = time.time()


def _comment(pve: Pve, mine: dict[str, Any]) -> str:
    return json.dumps(mine | {"renewed": round(pve.now())})


def _holder(pve: Pve) -> str | None:
    """Return what the lock says of its holder, or None where there is none."""
    return next((str(row.get("comment", "")) for row in pve.get("/pools") if row["poolid"] == POOL), None)


def _take(pve: Pve, mine: dict[str, Any]) -> None:
    settle = 0.0
    for attempt in range(1, TRIES + 1):
        try:
            pve.post("/pools", poolid=POOL, comment=_comment(pve, mine))
            if not settle:
                return
            pause(settle)  # removing and creating are two requests: who removed ours meanwhile has it now
        except LostAnswerError:
            if attempt == TRIES:
                raise
        except ApiError as error:
            if "already exists" not in error.message:
                raise
        holder = _holder(pve)
        if holder is None:
            continue  # released between the two requests, or ours never arrived
        if _is_mine(holder, mine):
            return
        settle = _check_dead(pve, holder, mine)
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


def _check_dead(pve: Pve, comment: str, mine: dict[str, Any]) -> float:
    """Refuse unless the holder is dead; return the seconds after which nobody else still acts on having seen it."""
    try:
        holder = json.loads(comment)
        same_machine = all(holder.get(key) == mine.get(key) for key in ("host", "processes"))
        dead = same_machine and not _alive(int(holder["pid"]))
        silent = pve.now() - float(holder["renewed"])
        told = f"{_who(comment)} for {pve.now() - holder['started']:.0f} s"
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LockedError(
            "cluster lock",
            f"pool {POOL} is not one of our locks (comment {comment!r})",
            f"look at it, then remove pool {POOL}",
        ) from None
    if not dead and silent < STALE:
        fix = f"wait for that run; a dead one is taken over {STALE:.0f} s after its last sign of life"
        raise LockedError("cluster lock", f"is held by {told}", fix)
    return SETTLE / 20 if dead else SETTLE  # on one machine it is a matter of milliseconds


def _who(comment: str) -> str:
    """Return who holds a lock, as its comment says."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        holder = json.loads(comment)
        return f"{holder['owner']} on {holder['host']}, pid {holder['pid']}"
    return "somebody"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
