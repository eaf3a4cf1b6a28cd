"""Own how parameters are declared and checked, with the complaints of the real API.

A declaration is one string, a parameter a word: `name:type`, `name?:type` where it is
optional. Types: `str int num bool list`, a format (`vmid`, `storage-id`, `node-list` …), a
pattern (`url`), an enumeration `(a|b)`, a property string `{drive}`; then, as needed,
`[low..high]`, `<shortest..longest>`, `!other` (the parameter that must come with it),
`@9` (unknown before that major version), `@8` (unknown after it); where versions have
different rules the word stands there twice. `scsi[31]` declares scsi0 to scsi30.

The order of the checks and the complaints are those of PVE::JSONSchema (pve-common).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lib.lab.pve.answers import UNVERIFIED, Refusal
from lib.lab.pve.formats import FORMATS, PATTERNS, split_list
from lib.lab.pve.property_strings import PROPERTY_STRINGS
from lib.lab.pve.rights import privileges

NEWEST = 9  # major version
TRUE, FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
_WORD = re.compile(
    r"(?P<default>\*)?(?P<name>[\w.+-]+)(?:\[(?P<count>\d+)\])?(?P<optional>\?)?:(?P<type>[\w-]+|\{[\w-]+\})?"
    r"(?:\((?P<enum>[^)]*)\))?(?:\[(?P<low>-?\d*)\.\.(?P<high>\d*)\])?(?:<(?P<shortest>\d*)\.\.(?P<longest>\d*)>)?"
    r"(?:!(?P<requires>[\w-]+))?(?:@(?P<only>[89]))?"
)
_NUMERIC_FORMATS = ("vmid",)
_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.\d+|\d+\.|\.\d+|\d+)([eE][+-]?\d+)?")


class Parameter(msgspec.Struct, frozen=True):
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
    version: int = NEWEST

    @property
    def kind(self) -> str:
        """Return the JSON schema's word for the type."""
        words = {"int": "integer", "num": "number", "bool": "boolean", "vmid": "integer", "list": "array"}
        return words.get(self.type, "string")


@functools.cache
def declared(text: str, version: int) -> dict[str, Parameter]:
    """Parse a declaration; return what a major version knows of it."""
    found: dict[str, Parameter] = {}
    for word in text.split():
        match = _WORD.fullmatch(word)
        if match is None:
            raise ValueError(f"cannot read the declaration {word!r}")
        if match["only"] is None or (match["only"] == "9") == (version >= 9):
            found |= {parameter.name: parameter for parameter in _parameters(match, version)}
    return found


def _parameters(match: re.Match[str], version: int) -> Iterator[Parameter]:
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
            version,
        )


def check(text: str, values: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the values with their types (flags are 1 or 0), by the rules of a major version.

    Raises:
        Refusal: a 400 that names every parameter that is wrong.
    """
    errors: dict[str, str] = {}
    checked = _check(declared(text, version), values, "", errors)
    if errors:
        raise Refusal(400, UNVERIFIED, errors)
    return checked


def _flag(text: str) -> str:
    return "1" if text.lower() in TRUE else "0" if text.lower() in FALSE else text


def _check(
    known: Mapping[str, Parameter], values: Mapping[str, Any], prefix: str, errors: dict[str, str]
) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, parameter in known.items():
        if name in values:
            checked[name] = _value(parameter, str(values[name]), prefix + name, errors)
        elif not parameter.optional:
            _add(errors, prefix + name, "property is missing and it is not optional")
    for name in values:
        requires = known[name].requires if name in known else ""
        if requires and requires not in values:
            _add(errors, prefix + requires, f"missing property - '{prefix}{name}' requires this property")
        if name not in known:
            _add(errors, prefix + name, UNKNOWN)
    return checked


def _add(errors: dict[str, str], path: str, complaint: str) -> None:
    """Add a complaint; between two about one parameter Perl's single quotes leave a backslash and an n."""
    errors[path] = f"{errors[path]}\\n{complaint}" if path in errors else complaint


def _value(parameter: Parameter, text: str, path: str, errors: dict[str, str]) -> Any:
    try:
        return _typed(parameter, text, path)
    except ValueError as complaint:
        _add(errors, path, str(complaint))
        return text


def _typed(parameter: Parameter, text: str, path: str) -> Any:
    kind = parameter.kind
    if kind == "array":
        return text.split("\0")
    if "\0" in text:  # given more than once
        if not parameter.type.endswith("-list"):
            raise ValueError(f"type check ('{kind}') failed - got ARRAY")
        text = text.replace("\0", ",")
    value: Any = text
    if kind == "boolean":
        if text not in ("0", "1"):
            raise ValueError(f"type check ('boolean') failed - got '{text}'")
        return int(text)
    if kind in ("integer", "number"):
        if not (_INTEGER if kind == "integer" else _NUMBER).fullmatch(text):
            raise ValueError(f"type check ('{kind}') failed - got '{text}'")
        value = int(text) if kind == "integer" else float(text)
    _formatted(parameter, text, path)
    _in_bounds(parameter, text)
    return value


def _in_bounds(parameter: Parameter, text: str) -> None:
    if parameter.longest is not None and len(text) > parameter.longest:
        raise ValueError(f"value may only be {parameter.longest} characters long")
    if parameter.shortest is not None and len(text) < parameter.shortest:
        raise ValueError(f"value must be at least {parameter.shortest} characters long")
    if _NUMBER.fullmatch(text):
        if parameter.high is not None and float(text) > parameter.high:
            raise ValueError(f"value must have a maximum value of {parameter.high}")
        if parameter.low is not None and float(text) < parameter.low:
            raise ValueError(f"value must have a minimum value of {parameter.low}")
    if parameter.enum and text not in parameter.enum:
        raise ValueError(f"value '{text}' does not have a value in the enumeration '{', '.join(parameter.enum)}'")


def _formatted(parameter: Parameter, text: str, path: str) -> None:
    kind = parameter.type
    if kind in PATTERNS:
        if not re.fullmatch(PATTERNS[kind], text):
            raise ValueError("value does not match the regex pattern")
        return
    try:
        if kind == "priv-list":
            _privileges(text, parameter.version)
        elif kind.startswith("{"):
            property_string(kind[1:-1], text, path, parameter.version)
        elif kind.endswith("-list"):
            for item in split_list(text):
                FORMATS[kind.removesuffix("-list")](item)
        elif kind.endswith("-opt"):
            if text:
                FORMATS[kind.removesuffix("-opt")](text)
        elif kind in FORMATS:
            FORMATS[kind](text)
    except ValueError as complaint:
        raise ValueError(f"invalid format - {complaint}\n") from None


def _privileges(text: str, version: int) -> None:
    for name in split_list(text):
        if name not in privileges(version):
            raise ValueError(f"invalid privilege '{name}'")


def property_string(kind: str, text: str, path: str = "", version: int = NEWEST) -> dict[str, Any]:
    """Parse `a=1,b=2` by the declaration of that kind; a bare word is the default key's value.

    Raises:
        ValueError: with a line per wrong property, each under `path`.
    """
    known = declared(PROPERTY_STRINGS[kind].declaration, version)
    values: dict[str, str] = {}
    for part in [part for part in text.split(",") if part.strip()]:
        key, sign, setting = part.partition("=")
        if sign:
            _set_property(kind, known, values, key, setting)
            continue
        default = next((name for name, each in known.items() if each.is_default), None)
        if default is None:
            raise ValueError("value without key, but schema does not define a default key")
        if values.get(default):
            raise ValueError(f"duplicate key in comma-separated list property: {default}")
        values[default] = part
    errors: dict[str, str] = {}
    checked = _check(known, values, f"{path}." if path else "", errors)
    if errors:
        raise ValueError("format error\n" + "\n".join(f"{where}: {what.rstrip()}" for where, what in errors.items()))
    if need := PROPERTY_STRINGS[kind].need:
        need(checked)
    return checked


def _set_property(kind: str, known: Mapping[str, Parameter], values: dict[str, str], key: str, setting: str) -> None:
    if not key or not setting:
        raise ValueError("missing key in comma-separated list property")
    if key in values:
        raise ValueError(f"duplicate key in comma-separated list property: {key}")
    meant, also = PROPERTY_STRINGS[kind].aliases.get(key, ("", ""))
    if meant in known and key not in known:
        if also and also in values:
            raise ValueError(f"key alias '{also}' is already defined")
        if also:
            values[also] = key
        key = meant
    if key not in known:
        raise ValueError(f"invalid key in comma-separated list property: {key}")
    values[key] = _flag(setting) if known[key].kind == "boolean" else setting


def print_properties(values: Mapping[str, Any], default: str) -> str:
    """Print a property string: the default key's value bare and first, the rest in alphabetical order."""
    parts = [str(values[default])] if default in values else []
    parts += [f"{key}={values[key]}" for key in sorted(values) if key != default]
    return ",".join(parts)
