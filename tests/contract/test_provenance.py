"""What the simulated paths and programs say that they rest on, against the recordings, the schema and the tests."""

from __future__ import annotations

from typing import Any

import pytest

from lib.lab.programs.table import PROGRAMS, SOURCES
from lib.lab.provenance import RECORDED, SCHEMA, TOOL
from lib.lab.pve.api import ROUTES, find
from lib.lab.replay.recording import exchanges_of, load
from tests.contract.recordings import COMMANDS, REST, schema
from tests.lab import test_name_server, test_network_programs, test_programs, test_storage_programs

FEW = 25
Named = set[tuple[str, str]]


def declared(by: object) -> Named:
    return {(route.method, route.path) for route in ROUTES if route.by == by}


def recorded() -> Named:
    """Return the paths that a real Proxmox VE answered with a success that the lab repeats."""
    found = set()
    for exchange in exchanges_of(load(REST)):
        match = find(exchange.method, exchange.path) if exchange.well else None
        if match:
            found.add((match[0].method, match[0].path))
    return found


def says_something(returns: dict[str, Any]) -> bool:
    """Tell whether a schema describes an answer: a plain value, or the keys of an object."""
    kind = returns.get("type")
    if kind == "array":
        return says_something(returns.get("items", {}))
    return bool(returns.get("properties")) if kind == "object" else kind is not None


def test_every_path_and_program_declares_what_it_rests_on() -> None:
    missing = sorted(f"{route.method} {route.path}" for route in ROUTES if route.by is None)
    assert not missing, f"give each Route a `by=` (lib/lab/provenance.py): {missing}"
    silent = sorted(set(PROGRAMS) - set(SOURCES))
    assert not silent, f"name each in its module's SOURCES (lib/lab/provenance.py): {silent}"
    assert {name.split()[0] for name in SOURCES} <= set(PROGRAMS)


def test_beliefs_are_few_and_named() -> None:
    beliefs = {each for each in (*SOURCES.values(), *(route.by for route in ROUTES)) if each and each.kind == "belief"}
    assert all(each.believed for each in beliefs)
    assert len(beliefs) <= FEW


@pytest.mark.skipif(not REST.exists(), reason=f"no recording at {REST}")
def test_what_claims_a_recording_has_one_and_the_other_way_round() -> None:
    assert declared(RECORDED) == recorded()


def test_what_claims_a_recorded_command_has_one() -> None:
    if not COMMANDS.exists():
        pytest.skip(f"no recording at {COMMANDS}")
    lines = [entry["command"] for entry in load(COMMANDS)["commands"] if entry["exit"] == 0]
    claimed = [name for name, by in SOURCES.items() if by == RECORDED]
    assert [name for name in claimed if not any(f"{line} ".startswith(f"{name} ") for line in lines)] == []


def test_what_claims_the_schema_is_described_there() -> None:
    paths = schema("9.2")
    silent = [
        (method, path)
        for method, path in declared(SCHEMA)
        if not says_something(paths.get(path, {}).get(method, {}).get("returns") or {})
    ]
    assert silent == [], "name what is believed instead"


def test_what_claims_a_real_tool_is_compared_with_it() -> None:
    compared = {line.split()[0] for line in test_programs.BESIDE_THE_REAL}
    compared |= test_storage_programs.BESIDE_THE_REAL | test_network_programs.BESIDE_THE_REAL
    compared |= test_name_server.BESIDE_THE_REAL
    assert {name for name, by in SOURCES.items() if by == TOOL} - compared == set()
