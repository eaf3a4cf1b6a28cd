"""Own how /access/* is read: roles, ACLs, tokens, and what a set of permissions lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

# What is needed there is needed on everything below, so it must propagate.
THROUGHOUT = ("/nodes", "/vms")


class Acl(msgspec.Struct, frozen=True):
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
        lacking = sorted(privileges - _on(permissions, path))
        if lacking:
            found[path] = lacking
    return found


def _on(permissions: Mapping[str, Mapping[str, Any]], path: str) -> frozenset[str]:
    """Return the privileges on a path: its own entry replaces what is inherited."""
    exact = permissions.get(path)
    if exact is not None:
        return frozenset(name for name, propagate in exact.items() if path not in THROUGHOUT or int(propagate or 0))
    parts = path.strip("/").split("/")
    for length in range(len(parts) - 1, -1, -1):
        above = permissions.get("/" + "/".join(parts[:length]))
        if above is not None:
            return frozenset(name for name, propagate in above.items() if int(propagate or 0))
    return frozenset()


def grant(path: str, identity: str, role: str) -> str:
    """Return the command that gives an identity a role; of a token, its user must have it too."""
    user, _, token = identity.partition("!")
    to = [] if user == "root@pam" else [f"--users {user}"]
    to += [f"--tokens '{identity}'"] if token else []
    return f"pveum acl modify {path} {' '.join(to)} --roles {role}"


def overruling(entries: Iterable[Acl], path: str, identity: str) -> list[Acl]:
    """Return the NoAccess entries of a token and its user that take everything from it on a path."""
    found = []
    for who in dict.fromkeys((identity.partition("!")[0], identity)):
        over = [e for e in entries if e.who == who and (e.path == path or (e.propagate and _is_below(path, e.path)))]
        nearest = max((e.path for e in over), key=len, default="")
        found += [e for e in over if e.path == nearest and e.role == "NoAccess"]
    return found


def _is_below(path: str, above: str) -> bool:
    return path.startswith(above.rstrip("/") + "/")


def revoke(entry: Acl) -> str:
    """Return the command that takes an ACL entry away."""
    return f"pveum acl delete {entry.path} --{entry.kind}s '{entry.who}' --roles {entry.role}"
