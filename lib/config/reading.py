"""Own how an input file in TOML is read and complained about. Knows no file's keys and no rule."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from lib.errors import ConfigurationError, Problem

Found = tuple[tuple[str | int, ...], str, str]
T = TypeVar("T")


def read(path: Path, name: str) -> str:
    """Return the file's text; `name` is what complaints call it.

    Raises:
        ConfigurationError: it is not there or no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        fix = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "restore it from git"
        raise ConfigurationError([Problem(name, f"cannot be read ({error})", fix)]) from None


def decode(text: str, name: str, wanted: type[T]) -> T | None:
    """Return what the text says; None where keys or types are wrong.

    Raises:
        ConfigurationError: it is no TOML.
    """
    try:
        return msgspec.toml.decode(text, type=wanted)
    except msgspec.ValidationError:
        return None
    except RecursionError:
        problem = Problem(name, "is no valid TOML: it is nested too deeply", "restore it from git", f"{name}:1")
        raise ConfigurationError([problem]) from None
    except msgspec.DecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else len(text.splitlines())
        problem = Problem(name, f"is no valid TOML: {error}", "mend that line", f"{name}:{line}")
        raise ConfigurationError([problem]) from None


def problems(text: str, name: str, found: Iterable[Found]) -> list[Problem]:
    """Return the complaints with their lines, in the order of these."""
    from lib.config.lines import line_of  # on the error path alone

    placed = sorted(((line_of(text, one[0]), one) for one in found), key=lambda pair: pair[0])
    return [Problem(_dotted(where, name), told, fix, f"{name}:{line}") for line, (where, told, fix) in placed]


def _dotted(where: tuple[str | int, ...], name: str) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".") or name
