"""Own finding every wrong key and type in a decoded input file. Knows no rule between keys; used on the error path.

msgspec stops at the first. Here the tables are walked field by field, and what is wrong
is replaced by an empty value, so that the rules can still be asked about the rest.
"""

from __future__ import annotations

import difflib
import typing
from typing import Any, Literal, TypeVar

import msgspec

Where = tuple[str | int, ...]
Found = tuple[Where, str, str]
WORDS = {str: "a string", int: "a whole number", bool: "true or false", dict: "a table", tuple: "an array"}
Model = TypeVar("Model", bound=msgspec.Struct)


def examine(value: Any, wanted: type[Model]) -> tuple[list[Found], Model]:
    """Return what is wrong with keys and types, and the model with empty values in those places."""
    found: list[Found] = []
    return found, _mended(value, wanted, (), found)


def concerned(where: Where, broken: list[Found]) -> bool:
    """Tell whether a rule's complaint only follows from what is already known to be broken."""
    return any(where[: len(other)] == other or other[: len(where)] == where for other, _, _ in broken)


def _mended(value: Any, wanted: Any, where: Where, found: list[Found]) -> Any:
    kind = _kind(wanted)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        return _table(value, kind, where, found)
    if kind is tuple and isinstance(value, list):
        item = typing.get_args(wanted)[0]
        return tuple(_mended(one, item, (*where, index), found) for index, one in enumerate(value))
    if kind is dict and isinstance(value, dict):
        item = typing.get_args(wanted)[1]
        return {key: _mended(one, item, (*where, key), found) for key, one in value.items()}
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        got = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "…"
        in_kind = kind is int and isinstance(value, int) and not isinstance(value, bool)
        problem = "is out of range" if in_kind else "has a wrong value"
        found.append((where, f"{problem} (got {got}, want {_wish(wanted)})", ""))
        return _empty(wanted)


def _table(value: dict[str, Any], wanted: type[msgspec.Struct], where: Where, found: list[Found]) -> msgspec.Struct:
    fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
    kept: dict[str, Any] = {}
    for key, one in value.items():
        if key in fields:
            kept[key] = _mended(one, fields[key].type, (*where, key), found)
            continue
        near = difflib.get_close_matches(key, fields, n=1)
        fix = f"did you mean {near[0]}?" if near else f"known here: {', '.join(fields)}"
        found.append(((*where, key), "is no known key", fix))
        if near and near[0] not in value:  # it is not missing as well
            kept[near[0]] = _mended(one, fields[near[0]].type, (*where, key), found)
    for name, field in fields.items():
        if field.required and name not in kept:
            found.append(((*where, name), "is missing", f"want {_wish(field.type)}"))
            kept[name] = _empty(field.type)
    return wanted(**kept)


def _kind(wanted: Any) -> Any:
    """Return the class behind a type: int of an int with bounds, tuple of tuple[str, ...]."""
    origin = typing.get_origin(wanted)
    return _kind(typing.get_args(wanted)[0]) if origin is typing.Annotated else origin or wanted


def _wish(wanted: Any) -> str:
    if typing.get_origin(wanted) is Literal:
        return " or ".join(f'"{choice}"' for choice in typing.get_args(wanted))
    bounds = [one for one in getattr(wanted, "__metadata__", ()) if one.ge is not None]
    told = WORDS.get(_kind(wanted), "a table")
    return f"{told} from {bounds[0].ge} to {bounds[0].le}" if bounds else told


def _empty(wanted: Any) -> Any:
    kind = _kind(wanted)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        required = [field for field in msgspec.structs.fields(kind) if field.required]
        return kind(**{field.name: _empty(field.type) for field in required})
    return typing.get_args(wanted)[0] if kind is Literal else kind()
