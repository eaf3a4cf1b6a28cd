"""The declared parameters of every simulated path against the official schemas of both versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from lib.lab.pve.api import HERE, ROUTES
from lib.lab.pve.formats import PATTERNS
from lib.lab.pve.params import Parameter, declared
from lib.lab.pve.property_strings import PROPERTY_STRINGS
from tests.contract.recordings import VERSIONS, schema

# Formats that Proxmox VE names without saying what is in them, and what the lab checks in their place.
OPAQUE = {
    "pve-qm-ipconfig": "{ipconfig}",
    "pve-qm-boot": "{boot}",
    "pve-qm-ide": "{ide}",
    "pve-qm-cicustom": "{cicustom}",
    "pve-vm-cpu-conf": "{cpu}",
    "pve-qemu-sev-fmt": "{sev}",
    "pve-qemu-tdx-fmt": "{tdx}",
    "pve-qm-hostpci": "{hostpci}",
    "pve-qm-watchdog": "{watchdog}",
    "pve-qm-rng": "{rng}",
    "pve-qm-smbios1": "{smbios}",
    "prune-backups": "{prune-backups}",
    "realm-sync-options": "{realm-sync-options}",
    "pve-tfa-config": "{tfa-config}",
    "backup-fleecing": "{backup-fleecing}",
    "backup-performance": "{backup-performance}",
}


def stem(name: str, known: dict[str, Any]) -> str:
    """Return the schema's name of a numbered option."""
    numbered = re.sub(r"\d+$", "[n]", name)
    return name if name in known else numbered if numbered in known else name


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_paths(version: str) -> None:
    paths = schema(version)
    ours = {(route.method, route.path) for route in ROUTES if route.is_in(int(version[0]))}
    assert not sorted(each for each in ours if each[0] not in paths.get(each[1], {}))
    gone = {(route.method, route.path) for route in ROUTES} - ours
    assert not sorted(each for each in gone if each[0] in paths.get(each[1], {}))


def test_the_same_paths_are_answered_by_whoever_is_asked() -> None:
    reads = {path: methods["GET"] for path, methods in schema("9.2").items() if "GET" in methods}
    ours = {route.path for route in ROUTES if route.method == "GET" and "{node}" in route.path and route.is_in(9)}
    assert ours & HERE == {path for path in ours if not reads[path].get("proxyto")}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_parameters_with_the_same_rules(version: str) -> None:
    paths = schema(version)
    served = [route for route in ROUTES if route.is_in(int(version[0]))]
    wrong = []
    for route in served:
        where, method = f"{route.method} {route.path}", paths[route.path][route.method]
        if bool(method.get("allowtoken")) != route.tokens_allowed:
            wrong.append(f"{where}: tokens")
        known = method.get("parameters", {}).get("properties") or {}
        wrong += [f"{where} {text}" for text in differences(declared(route.declaration, int(version[0])), known)]
    assert not wrong, "\n".join(wrong)


def differences(ours: dict[str, Parameter], known: dict[str, Any]) -> Iterator[str]:
    names = {stem(name, known) for name in ours}
    yield from (f"lacks {name}" for name in sorted(set(known) - names) if "alias" not in known[name])
    yield from (f"has {name}" for name in sorted(names - set(known)))
    for name, parameter in ours.items():
        theirs = known.get(stem(name, known))
        if theirs is None:
            continue
        if rules(parameter) != expected(theirs):
            yield f"{name}: {rules(parameter)} instead of {expected(theirs)}"
        if format_of(parameter.type) != expected_format(theirs, parameter.type):
            yield f"{name}: {parameter.type} instead of {expected_format(theirs, parameter.type)}"
        if isinstance(theirs.get("format"), dict) and parameter.type.startswith("{"):
            inner = PROPERTY_STRINGS[parameter.type[1:-1]]
            ours_inner = declared(inner.declaration, parameter.version)
            aliases = {key: pair for key, pair in inner.aliases.items() if pair[0] in ours_inner}
            if aliases != aliased(theirs["format"]):
                yield f"{name}: aliases {aliases}"
            known_inner = {key: each for key, each in theirs["format"].items() if "alias" not in each}
            for text in differences(ours_inner, known_inner):
                yield f"{name}: {text}"


def aliased(format: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {key: (each["alias"], each.get("keyAlias", "")) for key, each in format.items() if "alias" in each}


def rules(ours: Parameter) -> tuple[Any, ...]:
    return (
        *(ours.kind, ours.optional, ours.enum, ours.low, ours.high, ours.shortest, ours.longest, ours.requires),
        ours.is_default,
    )


def format_of(type: str) -> str:
    if type in PATTERNS:
        return f"pattern {PATTERNS[type]}"
    return "" if type in ("str", "int", "num", "bool", "list") else type


def expected(theirs: dict[str, Any]) -> tuple[Any, ...]:
    def number(name: str) -> float | None:
        return float(theirs[name]) if name in theirs else None

    return (
        theirs.get("type", "string"),
        bool(theirs.get("optional")),
        tuple(str(each) for each in theirs.get("enum") or ()),
        *(number(name) for name in ("minimum", "maximum", "minLength", "maxLength")),
        theirs.get("requires") or "",
        bool(theirs.get("default_key")),
    )


def expected_format(theirs: dict[str, Any], ours: str) -> str:
    named = theirs.get("format")
    if isinstance(named, dict):  # its properties are compared one by one
        return ours if ours.startswith("{") else "{…}"
    if named is not None:
        return str(OPAQUE.get(named, re.sub("^pve-", "", named)))
    if "pattern" in theirs:
        return f"pattern {plain(theirs['pattern'])}"
    return ""


def plain(pattern: str) -> str:
    """Return a Perl pattern as Python writes it."""
    return re.sub(r"\(\?\^(i?):", lambda match: "(?i:" if match[1] else "(?:", pattern)
