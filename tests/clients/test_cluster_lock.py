"""The lock that every operator sees, where several take it over from the same dead holder."""

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

    def get(self, _path: str) -> list[dict[str, str]]:
        return [] if self.comment is None else [{"poolid": lock.POOL, "comment": self.comment}]

    def post(self, _path: str, *, poolid: str, comment: str) -> None:
        if self.comment is not None:
            raise ApiError("pool", "refused", 500, f"create pool failed: pool '{poolid}' already exists")
        self.comment = comment
        self.after_post()

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
