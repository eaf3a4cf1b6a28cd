"""Own reading cluster.toml: strictly, and with every problem at once where there is any."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from lib.config.lines import line_of
from lib.config.model import Cluster
from lib.config.rules import check
from lib.errors import ConfigurationError, Problem

Where = tuple[str | int, ...]


def load_cluster(path: Path) -> Cluster:
    """Read and check the file.

    Raises:
        ConfigurationError: with every problem found, each with its line.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([Problem(path.name, f"cannot be read ({error})", "restore it from git")]) from None
    try:
        cluster = msgspec.toml.decode(text, type=Cluster)
    except msgspec.ValidationError:
        problems = [_placed(path, text, *found) for found in _walk(tomllib.loads(text), Cluster, ())]
        raise ConfigurationError(problems) from None
    except msgspec.DecodeError as error:
        raise ConfigurationError([_syntax(path, error)]) from None
    broken = [_placed(path, text, where, problem, fix) for where, problem, fix in check(cluster)]
    if broken:
        raise ConfigurationError(broken)
    return cluster


def _syntax(path: Path, error: Exception) -> Problem:
    found = re.search(r"line (\d+)", str(error))
    where = f"{path.name}:{found[1]}" if found else path.name
    return Problem(path.name, f"is no valid TOML: {error}", "mend that line", where)


def _placed(path: Path, text: str, where: Where, problem: str, fix: str) -> Problem:
    return Problem(_dotted(where), problem, fix, f"{path.name}:{line_of(text, where)}")


def _dotted(where: Where) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".") or "cluster.toml"


def _walk(value: Any, wanted: Any, where: Where) -> Iterator[tuple[Where, str, str]]:
    """Yield every problem of types and keys; msgspec itself stops at the first."""
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        if not isinstance(value, dict):
            yield where, f"is no table (got {value!r})", ""
            return
        fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
        for key in value:
            if key in fields:
                yield from _walk(value[key], fields[key].type, (*where, key))
                continue
            near = difflib.get_close_matches(key, fields, n=1)
            yield (
                (*where, key),
                "is no known key",
                f"did you mean {near[0]}?" if near else f"known: {', '.join(fields)}",
            )
        for name, field in fields.items():
            if field.required and name not in value:
                yield (*where, name), "is missing", "see the comments in the sample cluster.toml"
        return
    arguments: tuple[Any, ...] = getattr(wanted, "__args__", ())
    if getattr(wanted, "__origin__", None) is tuple and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, arguments[0], (*where, index))
        return
    if getattr(wanted, "__origin__", None) is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, arguments[1], (*where, key))
        return
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        yield where, f"has a wrong value (got {value!r}; {str(error).split(' - at')[0]})", ""
