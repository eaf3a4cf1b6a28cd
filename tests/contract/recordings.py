"""Own where the recordings of a real Proxmox VE and its API schemas lie: beside the checkout, never in it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "pve"
REST = FOLDER / "rest-9.2.json"
COMMANDS = FOLDER / "cli-9.2.json"
VERSIONS = ("8.4", "9.2")


def schema(version: str) -> dict[str, Any]:
    """Return the paths of the official schema; the test is skipped where there is none.

    The schema is of what lies below the root: the root's own index, which everybody may read, is not in it.
    """
    path = FOLDER / f"api-schema-{version}.json.gz"
    if not path.exists():
        pytest.skip(f"no schema at {path}")
    paths: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))["paths"]
    items = {"properties": {"subdir": {"type": "string"}}, "type": "object"}
    index = {"allowtoken": 1, "returns": {"items": items, "links": [{"href": "{subdir}"}], "type": "array"}}
    return {"/": {"GET": index | {"parameters": {"properties": {}}, "permissions": {"user": "all"}}}} | paths
