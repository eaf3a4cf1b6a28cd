"""Own the reading of an official API schema: whether a request is one that this Proxmox VE would take.

Nothing of the lab is asked here: its own declarations are what the product was developed against.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_WORD = r"[A-Za-z0-9.\-_]+"
_USER = r"[^\s:/]+@[A-Za-z][\w.-]+"
_VOLUME = rf"{_WORD}:\S+"
# The named formats that requests of ours have; a list is of these, comma-separated.
FORMATS = {
    "pve-node": r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?",
    "pve-vmid": r"[1-9]\d{2,8}",
    "pve-poolid": rf"{_WORD}(?:/{_WORD}){{0,2}}",
    "pve-roleid": _WORD,
    "pve-userid": _USER,
    "pve-tokenid": rf"{_USER}![A-Za-z]{_WORD}",
    "pve-configid": r"[a-zA-Z][\w-]+",
    "pve-storage-id": r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]",
    "pve-storage-content": r"images|rootdir|vztmpl|iso|backup|snippets|import|none",
    "pve-storage-path": r"/\S+",
    "pve-bridge-id": r"[-_.\w]{1,15}",
    "pve-volume-id-or-qm-path": rf"none|cdrom|/\S+|{_VOLUME}",
    "pve-volume-id-or-absolute-path": rf"/\S+|{_VOLUME}",
    "pve-qm-boot": r"order=(?:\w+(?:;\w+)*)?",
    "pve-tag": r"[a-z0-9_][a-z0-9_\-+.]*",
    "pve-vm-cpu-conf": r"[\w.-]+(?:,\w+=\S+)*",
    "pve-qm-ipconfig": r"ip6?=\S+(?:,(?:gw6?|ip6?)=\S+)*",
    "dns-name": r"[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*",
    "mac-addr": r"[0-9a-fA-F][02468ace](?::[0-9a-fA-F]{2}){5}",
}


def problems(paths: Schema, method: str, path: str, params: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with a request by the schema's `paths`."""
    found = route(paths, method, path)
    if found is None:
        yield f"{method} {path}: there is no such path"
        return
    known = paths[found[0]][method].get("parameters", {})
    privileges = paths["/access/roles/{roleid}"]["GET"]["returns"]["properties"]
    check = _Check(lambda text: text in privileges)
    for told in check.object(known.get("properties") or {}, {**params, **found[1]}):
        yield f"{method} {path}: {told}"


def route(paths: Schema, method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Return the schema's path for a request, and the parameters in it; literal parts win over placeholders."""
    for template in sorted(paths, key=lambda each: each.count("{")):
        if method not in paths[template]:
            continue
        parts = re.split(r"\{([\w-]+)\}", template)
        names = [f"(?P<{each.replace('-', '_')}>[^/]+)" for each in parts[1::2]]
        pattern = "".join(re.escape(text) + name for text, name in zip(parts[::2], [*names, ""], strict=True))
        if match := re.fullmatch(pattern, path):
            return template, dict(zip(parts[1::2], match.groups(), strict=True))
    return None


class _Check:
    def __init__(self, is_privilege: Callable[[str], bool]) -> None:
        self._is_privilege = is_privilege

    def object(self, known: Schema, values: Mapping[str, str]) -> Iterator[str]:
        """Yield what is wrong with the values of an object with these properties."""
        for name, value in values.items():
            rules = known.get(name) or known.get(re.sub(r"\d+$", "[n]", name))
            if rules is None:
                yield f"unknown parameter {name}"
                continue
            yield from (f"{name}={value}: {told}" for told in self._value(rules, value))
            if "requires" in rules and rules["requires"] not in values:
                yield f"{name} requires {rules['requires']}"
        for name, rules in known.items():
            if not rules.get("optional") and "alias" not in rules and name not in values:
                yield f"{name} is missing"

    def _value(self, rules: Schema, text: str) -> Iterator[str]:
        kind = rules.get("type", "string")
        if kind == "boolean" and text not in ("0", "1"):
            yield "is no boolean"
        if kind in ("integer", "number"):
            if not re.fullmatch(r"-?\d+" if kind == "integer" else r"-?\d+(\.\d+)?", text):
                yield f"is no {kind}"
            elif not float(rules.get("minimum", text)) <= float(text) <= float(rules.get("maximum", text)):
                yield "is out of range"
        if "enum" in rules and text not in map(str, rules["enum"]):
            yield "is not one of the words allowed"
        if kind == "string" and not int(rules.get("minLength", 0)) <= len(text) <= int(
            rules.get("maxLength", len(text))
        ):
            yield "is too short or too long"
        if "pattern" in rules and not re.fullmatch(rules["pattern"].replace("(?^:", "(?:"), text):
            yield "does not fit the pattern"
        yield from self._formatted(rules.get("format"), text)

    def _formatted(self, wanted: Any, text: str) -> Iterator[str]:
        if isinstance(wanted, Mapping):
            yield from self._properties(wanted, text)
        elif wanted is not None:
            items = re.split(r"[,; ]", text) if wanted.endswith("-list") else [text]
            name = wanted.removesuffix("-list")
            for item in items:
                if name == "pve-priv":
                    fits = self._is_privilege(item)
                elif name in FORMATS:
                    fits = re.fullmatch(FORMATS[name], item) is not None
                else:
                    raise AssertionError(f"this test does not know the format {name}: add it")
                if not fits:
                    yield f"{item!r} is no {name}"

    def _properties(self, known: Schema, text: str) -> Iterator[str]:
        """Yield what is wrong with a property string, `a=1,b=2`; a bare word is the default key's value."""
        default = next((name for name, rules in known.items() if rules.get("default_key")), None)
        values: dict[str, str] = {}
        for item in text.split(","):
            key, sign, value = item.partition("=")
            if not sign:
                key, value = default or "", item
            rules = known.get(key, {})
            if "keyAlias" in rules:  # virtio=MAC
                values[rules["keyAlias"]] = key
            values[rules.get("alias", key)] = value
        yield from self.object(known, values)
