"""The declared parameters of every simulated path against the official schemas of both versions."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.lab.pve.api import ROUTES
from lib.lab.pve.call import Route
from lib.lab.pve.params import Parameter, declared

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "pve"
# Options of storages and backups that 9 dropped and nobody of ours ever sends.
ONLY_IN_8 = {"maxfiles", "server2", "transport", "volume", "notification-policy", "notification-target"}
TEXT_HERE = {("/nodes/{node}/vzdump", "exclude-path")}  # an array there; a list in one text is accepted as well


def schema(version: str) -> dict[str, Any]:
    path = FOLDER / f"api-schema-{version}.json.gz"
    if not path.exists():
        pytest.skip(f"no schema at {path}")
    paths: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))["paths"]
    return paths


def stem(name: str, known: dict[str, Any]) -> str:
    """Return the schema's name of a numbered option."""
    numbered = re.sub(r"\d+$", "[n]", name)
    return name if name in known else numbered if numbered in known else name


@pytest.mark.parametrize("version", ["8.4", "9.2"])
def test_the_same_parameters(version: str) -> None:
    paths, wrong = schema(version), []
    for route in ROUTES:
        known = paths[route.path][route.method].get("parameters", {}).get("properties") or {}
        ours = {stem(name, known) for name, each in declared(route.declaration).items() if each.since <= float(version)}
        missing = set(known) - ours - (ONLY_IN_8 if version == "8.4" else set())
        if missing or ours - set(known):
            wrong.append((route.method, route.path, sorted(missing), sorted(ours - set(known))))
    assert not wrong


def test_the_same_rules() -> None:
    paths = schema("9.2")
    wrong = [text for route in ROUTES for text in differences(route, paths[route.path][route.method])]
    assert not wrong


def differences(route: Route, method: dict[str, Any]) -> Iterator[str]:
    known = method.get("parameters", {}).get("properties") or {}
    where = f"{route.method} {route.path}"
    if bool(method.get("allowtoken")) != route.tokens_allowed:
        yield f"{where}: tokens"
    for name, ours in declared(route.declaration).items():
        theirs = known[stem(name, known)]
        if (route.path, name) not in TEXT_HERE and rules(ours) != expected(theirs):
            yield f"{where} {name}: {rules(ours)} instead of {expected(theirs)}"


def rules(ours: Parameter) -> tuple[Any, ...]:
    return (ours.kind, ours.optional, ours.enum, ours.low, ours.high, ours.shortest, ours.longest, ours.requires)


def expected(theirs: dict[str, Any]) -> tuple[Any, ...]:
    def number(name: str) -> int | None:
        return int(theirs[name]) if name in theirs else None

    return (
        theirs.get("type", "string"),
        bool(theirs.get("optional")),
        tuple(str(each) for each in theirs.get("enum") or ()),
        *(number(name) for name in ("minimum", "maximum", "minLength", "maxLength")),
        theirs.get("requires") or "",
    )
