"""The lock that every operator sees: who is taken for dead, and what becomes of him if he was not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from lib.clients import cluster_lock as lock
from lib.errors import ApiError, LockedError

ME = {"owner": "me", "host": "here", "pid": 1, "started": 0.0}
OTHER = {"owner": "other", "host": "there", "pid": 2, "started": 0.0}


class Pools:
    """The pools of a cluster, and what another operator does at the same time."""

    def __init__(self, holder: dict[str, Any], renewed: float) -> None:
        self.comment: str | None = json.dumps(holder | {"renewed": renewed})
        self.after_post: Callable[[], None] = lambda: None
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def get(self, _path: str) -> list[dict[str, str]]:
        return [] if self.comment is None else [{"poolid": lock.POOL, "comment": self.comment}]

    def post(self, _path: str, *, poolid: str, comment: str) -> None:
        if self.comment is not None:
            raise ApiError("pool", "refused", 500, f"create pool failed: pool '{poolid}' already exists")
        self.comment = comment
        self.after_post()

    def put(self, _path: str, *, poolid: str, comment: str) -> None:
        assert self.comment is not None, f"there is no pool {poolid}"
        self.comment = comment

    def delete(self, _path: str) -> None:
        self.comment = None


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SETTLE", 0.01)


def test_a_silent_holder_is_taken_over_and_the_lock_is_released() -> None:
    pools = Pools(OTHER, time.time() - lock.STALE - 1)
    with lock.cluster_lock(pools, ME, False, pytest.fail):  # type: ignore[arg-type]
        assert json.loads(pools.comment or "{}")["owner"] == "me"
    assert pools.comment is None


def test_of_two_that_take_over_at_once_one_gets_the_lock() -> None:
    """The other one saw the same dead holder, and removed our new lock in its place."""
    pools = Pools(OTHER | {"owner": "dead"}, time.time() - lock.STALE - 1)

    def lose() -> None:
        pools.comment = json.dumps(OTHER | {"renewed": time.time()})

    pools.after_post = lose
    with pytest.raises(LockedError, match="other on there"), lock.cluster_lock(pools, ME, False, pytest.fail):  # type: ignore[arg-type]
        pytest.fail("both hold it")
    assert json.loads(pools.comment or "{}")["owner"] == "other"


def test_a_machine_of_the_same_name_is_another_one() -> None:
    gone = 2**22 + 1  # no process has that number here
    there = {"owner": "other", "host": "here", "pid": gone, "started": 0.0, "processes": "of another machine"}
    pools = Pools(there, time.time())
    mine = ME | {"processes": "of this one"}
    with pytest.raises(LockedError, match="other on here"), lock.cluster_lock(pools, mine, False, pytest.fail):  # type: ignore[arg-type]
        pytest.fail("both hold it")
    pools = Pools(there | {"processes": "of this one"}, time.time())
    with lock.cluster_lock(pools, mine, False, pytest.fail):  # type: ignore[arg-type]
        assert json.loads(pools.comment or "{}")["owner"] == "me"


def test_the_clocks_of_operators_may_differ() -> None:
    """Ours is ten minutes ahead of the cluster's, by which the other one gave its sign."""
    pools = Pools(OTHER, time.time() - 600)
    pools.ahead = -600.0
    with pytest.raises(LockedError, match="other on there"), lock.cluster_lock(pools, ME, False, pytest.fail):  # type: ignore[arg-type]
        pytest.fail("both hold it")


@pytest.mark.parametrize("holder", [OTHER, None])
def test_who_slept_too_long_goes_not_on_and_leaves_the_lock_to_the_other(
    holder: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    pools = Pools(OTHER, 0.0)
    pools.delete("")
    with lock.cluster_lock(pools, ME, False, told.append) as may_go_on:  # type: ignore[arg-type]
        may_go_on()
        later = time.time() + lock.STALE + 1
        monkeypatch.setattr("time.time", lambda: later)
        may_go_on()  # nobody has noticed
        assert json.loads(pools.comment or "{}")["renewed"] == round(later)
        later += lock.STALE + 1
        pools.comment = theirs = json.dumps(holder | {"renewed": later}) if holder else None
        with pytest.raises(LockedError, match="taken over .by other on there" if holder else "was removed"):
            may_go_on()
    assert pools.comment == theirs
    assert "no sign of life" in told[0]
