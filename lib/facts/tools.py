"""Own how a host's block devices, mounts and packages are read: rbd, findmnt, blkid, wipefs, dpkg-query, apt-get."""

from __future__ import annotations

import json
import re
from typing import Any


def installed(dpkg: str) -> frozenset[str]:
    r"""Return the installed packages of `dpkg-query -W -f '${Package} ${Status}\n'`."""
    return frozenset(line.split()[0] for line in dpkg.splitlines() if line.endswith("install ok installed"))


def removals(apt: str) -> tuple[str, ...]:
    """Return what `apt-get --simulate` would remove."""
    return tuple(line.split()[1] for line in apt.splitlines() if line.startswith(("Remv ", "Purg ")))


def mapped(devices: str, pool: str, image: str) -> tuple[str, ...]:
    """Return the devices of an image in `rbd device list --format json`."""
    rows: Any = json.loads(devices or "[]")
    rows = list(rows.values()) if isinstance(rows, dict) else rows
    return tuple(
        str(row["device"])
        for row in rows
        if row.get("pool") == pool and (row.get("name") or row.get("image")) == image and row.get("snap", "-") == "-"
    )


def watchers(status: str) -> tuple[str, ...]:
    """Return the addresses of the clients in `rbd status --format json` that hold the image."""
    rows = json.loads(status or "{}").get("watchers") or []
    rows = list(rows.values()) if isinstance(rows, dict) else rows
    return tuple(str(row["address"]).partition(":")[0] for row in rows)


def mounted(findmnt: str) -> str | None:
    """Return the source of `findmnt --json --mountpoint PATH`, or None where nothing is mounted."""
    rows = json.loads(findmnt or "{}").get("filesystems") or []
    return str(rows[0]["source"]) if rows else None


def filesystem(blkid: str) -> str:
    """Return TYPE (or PTTYPE) of `blkid -p -o export`, "" where it names none."""
    found = dict(line.split("=", 1) for line in blkid.splitlines() if "=" in line)
    return found.get("TYPE") or found.get("PTTYPE") or ""


def signatures(wipefs: str) -> tuple[str, ...]:
    """Return the signature types of `wipefs --json --no-act`."""
    if not wipefs.strip():
        return ()
    return tuple(str(row.get("type")) for row in json.loads(wipefs).get("signatures") or [])


def digests(sha256sum: str) -> dict[str, str]:
    """Return digest by path of `sha256sum`."""
    found = {}
    for mark, digest, name in re.findall(r"^(\\?)([0-9a-f]{64}) [ *](.+)$", sha256sum, re.MULTILINE):
        # A name with a backslash is escaped, and the line marked so.
        found[name.replace("\\n", "\n").replace("\\\\", "\\") if mark else name] = digest
    return found
