"""Own waits and retries: with backoff and jitter, bounded, and saying what is waited for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from lib.errors import WaitTimeoutError

T = TypeVar("T")
OnWait = Callable[[str, float, str], None]
TRIES = 4


def pause(seconds: float) -> None:
    """Wait about that long (±25 %), so that many clients do not come back at the same moment."""
    threading.Event().wait(seconds * random.uniform(0.75, 1.25))  # noqa: S311


def backoff(attempt: int) -> float:
    """Return the seconds to wait before try number `attempt` (1, 2, …)."""
    return min(5.0, 0.1 * 3.0 ** (attempt - 1))


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
