"""Own how parameters are declared and checked, with the complaints of the real API.

A declaration is one string, a parameter a word: `name:type`, `name?:type` where it is
optional. Types: `str int num bool`, a format (`vmid`, `storage-id`, `node-list` …), a
pattern (`url`), an enumeration `(a|b)`, a property string `{drive}`; then, as needed,
`[low..high]`, `<shortest..longest>`, `!other` (the parameter that must come with it),
`@9` (unknown before that major version).
`scsi[31]` declares scsi0 to scsi30.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lib.lab.pve.answers import UNVERIFIED, Refusal
from lib.lab.pve.formats import FORMATS, PATTERNS, split_list
from lib.lab.pve.property_strings import PROPERTY_STRINGS

TRUE, FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
_WORD = re.compile(
    r"(?P<default>\*)?(?P<name>[\w.+-]+)(?:\[(?P<count>\d+)\])?(?P<optional>\?)?:(?P<type>[\w-]+|\{[\w-]+\})?"
    r"(?:\((?P<enum>[^)]*)\))?(?:\[(?P<low>-?\d*)\.\.(?P<high>\d*)\])?(?:<(?P<shortest>\d*)\.\.(?P<longest>\d*)>)?"
    r"(?:!(?P<requires>[\w-]+))?(?:@(?P<since>\d+))?"
)
_NUMERIC_FORMATS = ("vmid",)


@dataclass(frozen=True)
class Parameter:
    """One declared parameter."""

    name: str
    optional: bool
    type: str
    enum: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    shortest: int | None = None
    longest: int | None = None
    requires: str = ""
    is_default: bool = False
    since: int = 0

    @property
    def kind(self) -> str:
        """Return the JSON schema's word for the type."""
        words = {"int": "integer", "num": "number", "bool": "boolean", "vmid": "integer"}
        return words.get(self.type, "string")


@functools.cache
def declared(text: str) -> dict[str, Parameter]:
    """Parse a declaration."""
    found: dict[str, Parameter] = {}
    for word in text.split():
        match = _WORD.fullmatch(word)
        if match is None:
            raise ValueError(f"cannot read the declaration {word!r}")
        for parameter in _parameters(match):
            found[parameter.name] = parameter
    return found


def _parameters(match: re.Match[str]) -> Iterator[Parameter]:
    def number(name: str) -> int | None:
        return int(match[name]) if match[name] else None

    kind = match["type"] or "str"
    low, high = number("low"), number("high")
    if kind in _NUMERIC_FORMATS:
        low, high = 100, 999999999
    names = [match["name"]]
    if match["count"]:
        names = [f"{match['name']}{index}" for index in range(int(match["count"]))]
    for name in names:
        enum = tuple(match["enum"].split("|")) if match["enum"] else ()
        yield Parameter(
            name,
            bool(match["optional"]),
            kind,
            enum,
            low,
            high,
            number("shortest"),
            number("longest"),
            match["requires"] or "",
            bool(match["default"]),
            number("since") or 0,
        )


def check(text: str, values: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the values with their types (flags are 1 or 0), by the rules of a major version.

    Raises:
        Refusal: a 400 that names every parameter that is wrong.
    """
    errors: dict[str, str] = {}
    known = {name: each for name, each in declared(text).items() if each.since <= version}
    checked = _check(known, values, "", errors)
    if errors:
        raise Refusal(400, UNVERIFIED, errors)
    return checked


def _check(
    known: Mapping[str, Parameter], values: Mapping[str, Any], prefix: str, errors: dict[str, str]
) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, parameter in known.items():
        if name in values:
            checked[name] = _value(parameter, str(values[name]), prefix + name, errors)
            if parameter.requires and parameter.requires not in values:
                complaint = f"missing property - '{name}' requires this property"
                errors.setdefault(prefix + parameter.requires, complaint)
        elif not parameter.optional:
            errors[prefix + name] = "property is missing and it is not optional"
    for name in values:
        if name not in known:
            errors[prefix + name] = UNKNOWN
    return checked


def _value(parameter: Parameter, text: str, path: str, errors: dict[str, str]) -> Any:
    try:
        return _typed(parameter, text, path)
    except ValueError as complaint:
        errors[path] = str(complaint)
        return text


def _typed(parameter: Parameter, text: str, path: str) -> Any:
    value: Any = text
    if parameter.kind == "boolean":
        if text.lower() not in TRUE + FALSE:
            raise ValueError(f"type check ('boolean') failed - got '{text}'")
        return 1 if text.lower() in TRUE else 0
    pattern = r"[+-]?\d+" if parameter.kind == "integer" else r"[+-]?\d*\.?\d+([eE][-+]?\d+)?"
    if parameter.kind in ("integer", "number"):
        if not re.fullmatch(pattern, text):
            raise ValueError(f"type check ('{parameter.kind}') failed - got '{text}'")
        value = int(text) if parameter.kind == "integer" else float(text)
    _formatted(parameter, text, path)
    if parameter.kind == "string":
        if parameter.longest is not None and len(text) > parameter.longest:
            raise ValueError(f"value may only be {parameter.longest} characters long")
        if parameter.shortest is not None and len(text) < parameter.shortest:
            raise ValueError(f"value must be at least {parameter.shortest} characters long")
    else:
        if parameter.high is not None and value > parameter.high:
            raise ValueError(f"value must have a maximum value of {parameter.high}")
        if parameter.low is not None and value < parameter.low:
            raise ValueError(f"value must have a minimum value of {parameter.low}")
    if parameter.enum and text not in parameter.enum:
        raise ValueError(f"value '{text}' does not have a value in the enumeration '{', '.join(parameter.enum)}'")
    return value


def _formatted(parameter: Parameter, text: str, path: str) -> None:
    kind = parameter.type
    if kind in PATTERNS:
        if not PATTERNS[kind].fullmatch(text):
            raise ValueError("value does not match the regex pattern")
        return
    try:
        if kind.startswith("{"):
            property_string(kind[1:-1], text, path)
        elif kind.endswith("-list"):
            for item in split_list(text):
                FORMATS[kind.removesuffix("-list")](item)
        elif kind in FORMATS:
            FORMATS[kind](text)
    except ValueError as complaint:
        raise ValueError(f"invalid format - {complaint}\n") from None


def property_string(kind: str, text: str, path: str = "") -> dict[str, Any]:
    """Parse `a=1,b=2` by the declaration of that kind; a bare word is the default key's value.

    Raises:
        ValueError: with a line per wrong property, each under `path`.
    """
    known = declared(PROPERTY_STRINGS[kind].declaration)
    aliases = PROPERTY_STRINGS[kind].aliases
    values: dict[str, str] = {}
    for item in [part for part in text.split(",") if part.strip()]:
        key, sign, setting = item.strip().partition("=")
        if not sign:
            default = next((name for name, each in known.items() if each.is_default), None)
            if default is None:
                raise ValueError("value without key, but schema does not define a default key")
            if default in values:
                raise ValueError("missing key in comma-separated list property")
            key, setting = default, item.strip()
        elif key in aliases:
            key, extra = aliases[key]
            if extra:
                values[extra], setting = setting, item.strip().partition("=")[0]
        if key in values:
            raise ValueError(f"duplicate key in comma-separated list property: {key}")
        values[key] = setting
    errors: dict[str, str] = {}
    checked = _check(known, values, f"{path}." if path else "", errors)
    if errors:
        raise ValueError("format error\n" + "\n".join(f"{where}: {what.rstrip()}" for where, what in errors.items()))
    return checked


def print_properties(values: Mapping[str, Any], default: str) -> str:
    """Print a property string: the default key's value bare and first, the rest in alphabetical order."""
    parts = [str(values[default])] if default in values else []
    parts += [f"{key}={values[key]}" for key in sorted(values) if key != default]
    return ",".join(parts)
