"""Own the text that qm, pveum and pvesm print of an answer, where it is not JSON that they are asked for.

Read in PVE::CLI::qm, PVE::CLI::pvesm and PVE::GuestHelpers; what a recording has of it is compared with it.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from lib.lab.programs.proxmox_output import shown, table

_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ":%")


def config(data: dict[str, Any]) -> str:
    """Print a guest's configuration as its file has it."""
    return "".join(f"{key}: {_encoded(key, value)}\n" for key, value in sorted(data.items()) if key != "digest")


def _encoded(key: str, value: Any) -> str:
    """Return a configuration value on one line: a description is encoded."""
    return quote(str(value), safe=_PLAIN) if key == "description" else str(value)


def pending(data: list[dict[str, Any]]) -> str:
    """Print what a guest has, and what it will have."""
    out = ""
    for entry in sorted(data, key=lambda each: str(each["key"])):
        key, coming = entry["key"], entry.get("pending")
        if key == "digest":
            continue
        if "value" in entry:
            out += f"{'del' if entry.get('delete') else 'cur'} {key}: {_encoded(key, entry['value'])}\n"
        if coming is not None and not entry.get("delete"):
            out += f"new {key}: {_encoded(key, coming)}\n"
    return out


def as_it_is(data: Any) -> str:
    """Print text as it came."""
    return f"{data}\n"


def from_agent(data: Any) -> str:
    """Print what the guest agent said: plain text, or JSON on many lines; of nothing, nothing."""
    result = data.get("result", data) if isinstance(data, dict) else data
    if isinstance(result, (dict, list)):
        return shown(result, {"output-format": "json-pretty"}, {}) if result else ""
    return f"{str(result).rstrip()}\n" if str(result).strip() else ""


def permissions(data: dict[str, dict[str, int]]) -> str:
    """Print what an identity may, by path."""
    rows = [
        {"path": path, "permissions": "\n".join(f"{name}{' (*)' if held[name] else ''}" for name in sorted(held))}
        for path, held in sorted(data.items())
    ]
    titles = {"path": "ACL path", "permissions": "Permissions"}
    told = "Permissions marked with '(*)' have the 'propagate' flag set.\n"
    return (table(rows, dict.fromkeys(titles, ""), {}, titles) if rows else "") + told


def snapshots(rows: list[dict[str, Any]]) -> str:
    """Print snapshots as a tree, the oldest first and the present last."""
    names = {row["name"] for row in rows}

    def branch(prefix: str, parent: str | None) -> str:
        out = ""
        here = [row for row in rows if (row.get("parent") if row.get("parent") in names else None) == parent]
        for row in sorted(here, key=lambda each: each.get("snaptime", 1 << 62)):
            taken = time.strftime("%F %H:%M:%S", time.gmtime(row["snaptime"])) if "snaptime" in row else ""
            described = str(row.get("description") or "no-description").split("\n", maxsplit=1)[0]
            width = max(0, 30 - len(prefix))
            out += f"{prefix} {row['name']:<{width}} {taken:<23} {described}\n"
            out += branch("    " + prefix, row["name"])
        return out

    return branch("`->", None)


def guests(rows: list[dict[str, Any]]) -> str:
    """Print the guests of a node."""
    if not rows:
        return ""
    out = f"{'VMID':>10} {'NAME':<20} {'STATUS':<10} {'MEM(MB)':<10} {'BOOTDISK(GB)':>12} {'PID':<10}\n"
    for row in sorted(rows, key=lambda row: int(row["vmid"])):
        memory, disk = int(row.get("maxmem", 0)) >> 20, int(row.get("maxdisk", 0)) / (1 << 30)
        head = f"{row['vmid']:>10} {row.get('name', ''):<20} {row['status']:<10} {memory:<10}"
        out += f"{head} {disk:>12.2f} {row.get('pid', 0):<10}\n"
    return out


def storages(rows: list[dict[str, Any]], version: int = 9) -> str:
    """Print the storages of a node; since 9 with the unit of the sizes."""
    unit = " (KiB)" if version >= 9 else ""
    width = max((len(row["storage"]) for row in rows), default=0) + 1
    form = f"%-{width}s %10s %10s %15s %15s %15s %8s\n"
    out = form % ("Name", "Type", "Status", f"Total{unit}", f"Used{unit}", f"Available{unit}", "%")
    for row in sorted(rows, key=lambda row: str(row["storage"])):
        total, used, free = (int(row.get(key, 0)) // 1024 for key in ("total", "used", "avail"))
        state, percent = "active" if row.get("active") else "inactive", f"{used * 100 / total if total else 0:.2f}%"
        if not row.get("enabled", 1):
            state, percent = "disabled", "N/A"
        out += form % (row["storage"], row["type"], state, total, used, free, percent)
    return out


def volumes(rows: list[dict[str, Any]]) -> str:
    """Print what a storage holds: what is a guest's, then the rest by format."""
    width = max((len(row["volid"]) for row in rows), default=0)
    digits = len(str(max((row["size"] for row in rows), default=0)))
    out = f"{'Volid':<{width}} {'Format':<7} {'Type':<9} {'Size':>{digits}} VMID\n"
    owned = [row for row in rows if row.get("vmid")]
    for row in [*owned, *sorted((row for row in rows if not row.get("vmid")), key=lambda row: str(row["format"]))]:
        line = f"{row['volid']:<{width}} {row['format']:<7} {row['content']:<9} {row['size']:>{digits}}"
        out += f"{line} {row['vmid']}\n" if row.get("vmid") else f"{line}\n"
    return out


def allocated(volid: str) -> str:
    """Print the volume that was made."""
    return f"successfully created '{volid}'\n"
