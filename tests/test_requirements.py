"""The pinned requirements fit their inputs, and can be installed from any index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from noxfile import LOCKED, REQUIREMENTS, digest_of_inputs

PIN = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)( ; .+)? \\$")


def pins(name: str) -> dict[str, set[str]]:
    """Return package → pinned versions (several where they differ by Python version)."""
    found: dict[str, set[str]] = {}
    for line in (REQUIREMENTS / f"{name}.txt").read_text().splitlines():
        if match := PIN.match(line):
            found.setdefault(match[1], set()).add(match[2])
    return found


def test_every_input_has_its_pinned_file() -> None:
    assert {path.stem for path in REQUIREMENTS.glob("*.in")} == set(LOCKED)
    assert {path.stem for path in REQUIREMENTS.glob("*.txt")} == set(LOCKED)


@pytest.mark.parametrize("name", LOCKED)
def test_pinned_file_is_fresh(name: str) -> None:
    second_line = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()[1]
    assert second_line == f"# inputs: {digest_of_inputs()}", "stale: run `nox -s lock`"


@pytest.mark.parametrize("name", LOCKED)
def test_every_pin_is_exact_and_hashed(name: str) -> None:
    blocks = re.split(r"\n(?=[^\s#])", (REQUIREMENTS / f"{name}.txt").read_text())[1:]
    assert blocks
    for block in blocks:
        assert PIN.match(block.splitlines()[0]), block.splitlines()[0]
        assert "    --hash=sha256:" in block, block.splitlines()[0]


@pytest.mark.parametrize("name", LOCKED)
def test_what_is_asked_for_is_pinned(name: str) -> None:
    lines = [line for line in (REQUIREMENTS / f"{name}.in").read_text().splitlines() if line and line[0] not in "#-"]
    asked = {match[0] for line in lines if (match := re.match(r"[a-z0-9.-]+", line))}
    assert asked
    assert asked <= set(pins(name))


@pytest.mark.parametrize(("name", "base"), [(name, base) for name, base in LOCKED.items() if base])
def test_environments_agree_on_versions(name: str, base: str) -> None:
    theirs = pins(name)
    assert {package: theirs.get(package) for package in pins(base)} == pins(base)


@pytest.mark.parametrize("path", sorted(REQUIREMENTS.iterdir()), ids=lambda path: path.name)
def test_no_index_is_named(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
