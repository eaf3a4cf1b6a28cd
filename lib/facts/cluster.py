"""Own how the cluster's own collections are read: /cluster/resources, /cluster/status, versions, Ceph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


class Guest(msgspec.Struct, frozen=True):
    """A guest as /cluster/resources shows it: what is in its configuration at once, name and status seconds later."""

    vmid: int
    name: str
    node: str
    tags: frozenset[str]
    pool: str
    lock: str
    kind: str


def guests(resources: Iterable[Mapping[str, Any]]) -> tuple[Guest, ...]:
    """Return the guests (VMs and containers), by VMID; one that is listed twice, as while it moves, once."""
    found = {
        int(row["vmid"]): Guest(
            vmid=int(row["vmid"]),
            name=str(row.get("name") or f"VM {row['vmid']}"),
            node=str(row["node"]),
            tags=frozenset(t for t in re.split(r"[;, ]+", str(row.get("tags") or "")) if t),
            pool=str(row.get("pool") or ""),
            lock=str(row.get("lock") or ""),
            kind=str(row["type"]),
        )
        for row in resources
        if row.get("type") in ("qemu", "lxc")
    }
    return tuple(found[vmid] for vmid in sorted(found))


class StorageSeen(msgspec.Struct, frozen=True):
    """A storage on one node: status as Proxmox says it, sizes in bytes."""

    node: str
    status: str
    size: int
    used: int


def storages(resources: Iterable[Mapping[str, Any]], name: str) -> dict[str, StorageSeen]:
    """Return a storage's state by node."""
    return {
        str(row["node"]): StorageSeen(
            str(row["node"]), str(row.get("status", "unknown")), int(row.get("maxdisk") or 0), int(row.get("disk") or 0)
        )
        for row in resources
        if row.get("type") == "storage" and row.get("storage") == name
    }


def memory(resources: Iterable[Mapping[str, Any]]) -> int:
    """Return the memory of all nodes together, bytes."""
    by_node = {row.get("node"): int(row.get("maxmem") or 0) for row in resources if row.get("type") == "node"}
    return sum(by_node.values())


class Membership(msgspec.Struct, frozen=True):
    """Quorum and the nodes that are online."""

    quorate: bool
    online: frozenset[str]
    nodes: frozenset[str]


def membership(status: Iterable[Mapping[str, Any]]) -> Membership:
    """Read /cluster/status; a host on its own has no cluster row and is its own quorum."""
    rows = list(status)
    clusters = [row for row in rows if row.get("type") == "cluster"]
    nodes = [row for row in rows if row.get("type") == "node"]
    return Membership(
        quorate=all(bool(int(row.get("quorate") or 0)) for row in clusters),
        online=frozenset(str(row["name"]) for row in nodes if int(row.get("online") or 0)),
        nodes=frozenset(str(row["name"]) for row in nodes),
    )


def version(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Return (major, minor) of /version."""
    parts = re.findall(r"\d+", str(answer.get("version", answer.get("release", ""))))
    return (int(parts[0]), int(parts[1]) if len(parts) > 1 else 0)


def version_of_tool(pveversion: str) -> tuple[int, int]:
    """Return (major, minor) of what `pveversion` prints; (0, 0) where it names none."""
    found = re.search(r"pve-manager/(\d+)\.(\d+)", pveversion)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class Ceph(msgspec.Struct, frozen=True):
    """Ceph's health word and how full it is."""

    health: str
    checks: tuple[str, ...]
    used_percent: float


def ceph(status: Mapping[str, Any]) -> Ceph:
    """Read /cluster/ceph/status (`health`, `pgmap`)."""
    health = status.get("health") or {}
    pgmap = status.get("pgmap") or {}
    total = int(pgmap.get("bytes_total") or 0)
    used = int(pgmap.get("bytes_used") or 0)
    return Ceph(
        health=str(health.get("status", "unknown")),
        checks=tuple(sorted((health.get("checks") or {}).keys())),
        used_percent=100.0 * used / total if total else 0.0,
    )


def options(text: str) -> dict[str, str]:
    """Split a Proxmox property string: `rbd:vm-1-disk-0,size=8G` → {"": "rbd:vm-1-disk-0", "size": "8G"}."""
    found: dict[str, str] = {}
    for part in text.split(","):
        key, separator, value = part.partition("=")
        found[key if separator else ""] = value if separator else key
    return found


def fixed_addresses(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the addresses that a VM's `ipconfigN` or a container's `netN` sets; `dhcp` and its like are none."""
    texts = (str(value) for key, value in config.items() if re.fullmatch(r"(ipconfig|net)\d+", key))
    found = (options(text).get("ip", "").partition("/")[0] for text in texts)
    return tuple(address for address in found if address[:1].isdigit())


def size_gib(text: str) -> float:
    """Return a disk size like `8G`, `528K` or `2252M` in GiB; 0 where there is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    if match is None:
        return 0.0
    factor = {"": 2.0**-30, "K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 1024.0}[match[2]]
    return float(match[1]) * factor
