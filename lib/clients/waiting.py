"""Own waits and retries: with backoff and jitter, bounded, saying what is waited for, several at the same time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from lib.errors import WaitTimeoutError

T = TypeVar("T")
OnWait = Callable[[str, float, str], None]
TRIES = 4
AT_ONCE = 32


def pause(seconds: float) -> None:
    """Wait about that long (±25 %), so that many clients do not come back at the same moment."""
    threading.Event().wait(seconds * random.uniform(0.75, 1.25))  # noqa: S311


def backoff(attempt: int) -> float:
    """Return the seconds to wait before try number `attempt` (1, 2, …)."""
    return min(5.0, 0.1 * 3.0 ** (attempt - 1))


def together(*work: Callable[[], T]) -> list[T]:
    """Do at the same time what mostly waits for an answer; return the results in order, or raise the first error."""
    with ThreadPoolExecutor(min(AT_ONCE, max(1, len(work)))) as pool:
        futures = [pool.submit(copy_context().run, one) for one in work]
    return [future.result() for future in futures]


def wait_for(
    what: str, look: Callable[[], tuple[T | None, str]], timeout: float, on_wait: OnWait, first: float = 0.02
) -> T:
    """Look until there is something.

    Args:
        what: what is waited for, as the user would say it.
        look: gives (result or None, what was seen).
        timeout: seconds.
        on_wait: told (what, seconds waited, last seen) at each look.
        first: seconds before the second look; doubles up to 2 s.

    Raises:
        WaitTimeoutError: it did not come; says for how long and what was last seen.
    """
    began, delay = time.monotonic(), first
    while True:
        result, seen = look()
        if result is not None:
            return result
        waited = time.monotonic() - began
        if waited > timeout:
            raise WaitTimeoutError(
                what,
                f"did not come within {timeout:.0f} s (last seen: {seen})",
                "see there, then run the command again",
            )
        on_wait(what, waited, seen)
        pause(min(delay, max(0.01, timeout - waited)))
        delay = min(2.0, delay * 2)
