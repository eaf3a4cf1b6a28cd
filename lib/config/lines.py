"""Own where a key stands in a TOML file. Used on the error path alone; the text must be valid TOML."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

Path = tuple[str | int, ...]


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the 1-based line on which the value at `path` begins; of a missing one, its table's; else 1."""
    found = lines_of(text)
    for length in range(len(path), 0, -1):
        if tuple(path[:length]) in found:
            return found[tuple(path[:length])]
    return 1


@functools.lru_cache(maxsize=2)
def lines_of(text: str) -> dict[Path, int]:
    """Return the line of every table, key and array item.

    The text is taken statement by statement: a header, or a key with its value over as many
    lines as it needs. tomllib reads each by itself, so quoting and dotted keys are its business.
    """
    found: dict[Path, int] = {}
    lengths: dict[Path, int] = {}  # array of tables → how many so far
    table: Path = ()
    for line, rows, parsed in _statements(text.split("\n")):
        if rows[0].lstrip().startswith("["):
            table = _header(parsed, lengths)
            for length in range(1, len(table)):
                found.setdefault(table[:length], line)
            found[table] = line  # its own header tells more than [table.below] that came before
        else:
            for path in _paths(parsed):
                found.setdefault(table + path, line)
            _items(found, table, line, rows)
    return found


def _statements(lines: list[str]) -> Iterator[tuple[int, list[str], dict[str, Any]]]:
    """Yield each statement: its first line's number, its lines, and what it says by itself."""
    begin = 0
    while begin < len(lines):
        if not lines[begin].strip() or lines[begin].lstrip().startswith("#"):
            begin += 1
            continue
        for end in range(begin + 1, len(lines) + 1):
            parsed = _parsed("\n".join(lines[begin:end]))
            if parsed is not None:
                yield begin + 1, lines[begin:end], parsed
                begin = end
                break
        else:
            return


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None  # in the middle of a value that spans lines


def _header(parsed: dict[str, Any], lengths: dict[Path, int]) -> Path:
    """Return the path of the table that a header opens, with the indices of the arrays that it lies in."""
    path: Path = ()
    value: Any = parsed
    while value:
        if isinstance(value, list):
            lengths[path] = lengths.get(path, 0) + 1
            return (*path, lengths[path] - 1)
        if path in lengths:
            path = (*path, lengths[path] - 1)
        key = next(iter(value))
        path, value = (*path, key), value[key]
    return path


def _paths(value: Any) -> Iterator[Path]:
    """Yield the path of everything in a value: keys of dotted keys and inline tables, items of arrays."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (key,)
        yield from ((key, *below) for below in _paths(item))


def _items(found: dict[Path, int], table: Path, line: int, rows: list[str]) -> None:
    """Give the items of an array that spans lines the lines that they end on."""
    path: Path = ()
    known = 0
    for number in range(1, len(rows)):
        parsed: Any = _parsed("\n".join(rows[:number]) + "\n]")
        if parsed is None:
            continue
        path, items = _only(parsed)
        for index in range(known, len(items)):
            # what lies in the item moves along with it
            for below in [key for key in found if key[: len(table + path) + 1] == (*table, *path, index)]:
                found[below] = line + number - 1
        known = max(known, len(items))


def _only(parsed: dict[str, Any]) -> tuple[Path, list[Any]]:
    """Return the path and items of the array that a statement sets."""
    path: Path = ()
    value: Any = parsed
    while isinstance(value, dict):
        key = next(iter(value))
        path, value = (*path, key), value[key]
    return path, value if isinstance(value, list) else []
