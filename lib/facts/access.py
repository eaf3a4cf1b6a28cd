"""Own how /access/* is read: roles, ACLs, tokens, and what a set of permissions lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Acl:
    """One entry of GET /access/acl."""

    path: str
    kind: str
    who: str
    role: str
    propagate: bool


def acls(rows: Iterable[Mapping[str, Any]]) -> frozenset[Acl]:
    """Return the entries; `propagate` defaults to yes."""
    return frozenset(
        Acl(str(r["path"]), str(r["type"]), str(r["ugid"]), str(r["roleid"]), bool(int(r.get("propagate", 1))))
        for r in rows
    )


def roles(rows: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Return the privileges by role."""
    return {str(r["roleid"]): frozenset(p for p in re.split(r"[,; ]+", str(r.get("privs") or "")) if p) for r in rows}


def missing(permissions: Mapping[str, Mapping[str, Any]], needs: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
    """Return by path the needed privileges that GET /access/permissions does not show there or above it."""
    found: dict[str, list[str]] = {}
    for path, privileges in needs.items():
        have = _on(permissions, path)
        lacking = sorted(privileges - have)
        if lacking:
            found[path] = lacking
    return found


def _on(permissions: Mapping[str, Mapping[str, Any]], path: str) -> frozenset[str]:
    """Return the privileges on a path: its own entry replaces what is inherited."""
    exact = permissions.get(path)
    if exact is not None:
        return frozenset(exact)
    parts = path.strip("/").split("/")
    for length in range(len(parts) - 1, -1, -1):
        above = permissions.get("/" + "/".join(parts[:length]))
        if above is not None:
            return frozenset(name for name, propagate in above.items() if int(propagate or 0))
    return frozenset()
