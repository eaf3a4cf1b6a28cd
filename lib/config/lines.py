"""Own where a key stands in a TOML file. Used on the error path alone."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

Path = Sequence[str | int]


def line_of(text: str, path: Path) -> int:
    """Return the 1-based line on which the value at `path` begins; of a missing key, its table's.

    Growing prefixes of the file are parsed: the key stands on the first line of the
    first prefix in which it is there.
    """
    lines = text.splitlines()
    for length in range(len(path), 0, -1):
        found = _first(lines, path[:length])
        if found:
            return found
    return 1


def _first(lines: list[str], path: Path) -> int:
    begun = 1
    for number in range(1, len(lines) + 1):
        try:
            parsed = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a value that spans lines
        if _has(parsed, path):
            return _skip_blank(lines, begun)
        begun = number + 1
    return 0


def _skip_blank(lines: list[str], begun: int) -> int:
    while begun < len(lines) and (not lines[begun - 1].strip() or lines[begun - 1].lstrip().startswith("#")):
        begun += 1
    return begun


def _has(parsed: Any, path: Path) -> bool:
    for part in path:
        try:
            parsed = parsed[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
