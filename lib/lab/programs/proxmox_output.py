"""Own how pveum and pvesh show an answer: as a table of text, as JSON or as YAML. Read in PVE::CLIFormatter."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

Columns = Mapping[str, str]
OPTIONS = "output-format?:(text|json|json-pretty|yaml) human-readable?:bool noborder?:bool noheader?:bool quiet?:bool"
_RIGHT = ("int", "num", "bytes", "percent", "duration", "time")
_RANK = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_QUOTED = ("null", "y", "yes", "n", "no", "true", "false", "on", "off")


def as_json(data: Any) -> str:
    """Return one line of JSON."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def shown(data: Any, options: Mapping[str, str], columns: Columns) -> str:
    """Return what is printed of an answer; of none at all nothing is, whatever was asked for."""
    if data is None or options.get("quiet") == "1":
        return ""
    form = options.get("output-format", "text")
    if form == "json":
        return as_json(data)
    if form == "json-pretty":
        return json.dumps(data, sort_keys=True, indent=3, separators=(",", " : "), ensure_ascii=False) + "\n"
    if form == "yaml":
        return "---" + ("\n" if data and isinstance(data, (dict, list)) else " ") + _yaml(data)
    return _text(data, options, columns)


def _text(data: Any, options: Mapping[str, str], columns: Columns) -> str:
    plain = options.get("human-readable") == "0"
    if isinstance(data, dict):
        keys = columns or dict.fromkeys(sorted(data), "")
        rows = [{"key": key, "value": _cell(data[key], keys[key], plain)} for key in keys if data.get(key) is not None]
        return table(rows, {"key": "", "value": ""}, options)
    if not isinstance(data, list):
        return f"{data}\n"
    if not data:
        return ""
    if not isinstance(data[0], dict):
        return table([{"value": each} for each in data], {"value": ""}, {**options, "noheader": "1"})
    return table(data, columns or dict.fromkeys(sorted({key for row in data for key in row}), ""), options)


def table(
    rows: list[dict[str, Any]], columns: Columns, options: Mapping[str, str], titles: Mapping[str, str] | None = None
) -> str:
    """Return rows in a frame, by the first column; numbers stand at the right."""
    plain = options.get("human-readable") == "0"
    first, kind = next(iter(columns.items()))
    numeric = kind in _RIGHT
    rows = sorted(rows, key=lambda row: (float(row.get(first) or 0), "") if numeric else (0, str(row.get(first) or "")))
    cells = [{name: _cell(row.get(name), columns[name], plain).split("\n") for name in columns} for row in rows]
    heads = {name: (titles or {}).get(name, name) for name in columns}
    widths = {name: max(len(heads[name]), *(len(line) for each in cells for line in each[name]), 0) for name in columns}
    framed, headed = options.get("noborder") != "1", options.get("noheader") != "1"

    def line(texts: Mapping[str, str]) -> str:
        parts = [
            texts[name].rjust(widths[name]) if columns[name] in _RIGHT else texts[name].ljust(widths[name])
            for name in columns
        ]
        if framed:
            return f"│ {' │ '.join(parts)} │\n"
        return " ".join([*parts[:-1], texts[list(columns)[-1]]]) + "\n"

    def rule(left: str, dash: str, cross: str, right: str) -> str:
        return left + cross.join(dash * (widths[name] + 2) for name in columns) + right + "\n" if framed else ""

    out = rule("┌", "─", "┬", "┐")
    if headed:
        out += line(heads)
    for number, row in enumerate(cells):
        if number:
            out += rule("├", "─", "┼", "┤")
        elif headed:
            out += rule("╞", "═", "╪", "╡")
        for height in range(max(len(lines) for lines in row.values())):
            out += line({name: lines[height] if height < len(lines) else "" for name, lines in row.items()})
    return out + rule("└", "─", "┴", "┘")


def _cell(value: Any, kind: str, plain: bool) -> str:
    if value is None:
        return ""
    if not plain and kind == "bool":
        return "1" if value not in (0, "0", "", False) else "0"
    if not plain and kind in _RENDERED:
        return _RENDERED[kind](float(value))
    return number(value) if not isinstance(value, (dict, list)) else as_json(value).rstrip("\n")


def number(value: Any) -> str:
    """Return a plain value as Perl prints it."""
    return f"{value:.15g}" if isinstance(value, float) else str(int(value) if isinstance(value, bool) else value)


def _bytes(value: float) -> str:
    rank = 0
    while value >= 1024 and rank < len(_RANK) - 1:
        value, rank = value / 1024, rank + 1
    return f"{value:.2f} {_RANK[rank]}"


def _duration(value: float) -> str:
    rest, parts = int(value), []
    for unit, length in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts)


def _percent(value: float) -> str:
    return f"{value * 100:.2f}%"


def _time(value: float) -> str:
    return time.strftime("%F %H:%M:%S", time.gmtime(value))


_RENDERED = {
    "bytes": _bytes,
    "duration": _duration,
    "percent": _percent,
    "time": _time,
}


def _yaml(data: Any, indent: str = "") -> str:
    """Return YAML as CPAN::Meta::YAML writes it: keys in order, everything on lines of its own."""
    if isinstance(data, dict) and data:
        return "".join(f"{indent}{_scalar(key)}:{_under(data[key], indent)}" for key in sorted(data))
    if isinstance(data, list) and data:
        out = ""
        for each in data:
            inner = _yaml(each, f"{indent}  ") if isinstance(each, dict) and each else ""
            out += f"{indent}- {inner.lstrip()}" if inner else f"{indent}-{_under(each, indent)}"
        return out
    return f"{_scalar(data)}\n"


def _under(value: Any, indent: str) -> str:
    return f"\n{_yaml(value, f'{indent}  ')}" if value and isinstance(value, (dict, list)) else f" {_yaml(value)}"


def _scalar(value: Any) -> str:
    if value is None or value in ({}, []):
        return {"{}": "{}", "[]": "[]"}.get(str(value), "~")
    text = number(value)
    if not isinstance(value, str):
        return text
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) or not text:
        return f"'{text}'"
    if "'" in text or "\n" in text:
        return json.dumps(text, ensure_ascii=False)
    return f"'{text}'" if re.search(r"^\W|\s|:$", text) or text.lower() in _QUOTED else text
