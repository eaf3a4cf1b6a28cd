"""Own where a real program is that a test runs beside ours: one that is missing skips the test, and in CI fails it."""

from __future__ import annotations

import os
import shutil

import pytest

PLACES = "/usr/local/sbin:/usr/sbin:/sbin"  # a user's PATH leaves them out


def tool(name: str) -> str:
    """Return where a program is. Where it is missing: skip the test, or fail it if GROUNDWORK_REQUIRE_TOOLS is set."""
    return found(name, shutil.which(name, path=f"{os.environ['PATH']}:{PLACES}") or "")


def found(name: str, path: str) -> str:
    """Return the path, or skip or fail as `tool` does where it is empty."""
    if not path:
        tell = pytest.fail if os.environ.get("GROUNDWORK_REQUIRE_TOOLS") else pytest.skip
        tell(f"no {name} here")
    return path
