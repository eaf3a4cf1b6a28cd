"""Own which backups of a guest are kept (API: …/storage/{storage}/prunebackups): so many by hour, day, week."""

from __future__ import annotations

import re
import time
from typing import Any

from lib.lab.files import Files
from lib.lab.provenance import SCHEMA
from lib.lab.pve import storage_state
from lib.lab.pve.answers import failure
from lib.lab.pve.call import SEES_STORAGE, Call, Route, everyone
from lib.lab.pve.params import property_string
from lib.lab.pve.volumes import files_of
from lib.lab.world import Document, World

# In their order; two backups of the same text by strftime are of the same hour, day …
_PERIODS = {
    "keep-last": "%d/%m/%Y %H:%M:%S", "keep-hourly": "%H/%d/%m/%Y", "keep-daily": "%d/%m/%Y", "keep-weekly": "%V/%G",
    "keep-monthly": "%m/%Y", "keep-yearly": "%Y",
}  # fmt: skip
_STANDARD = re.compile(r"vzdump-(lxc|openvz|qemu)-\d+-\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d\.[^/]+")


def preview(call: Call) -> list[dict[str, Any]]:
    """GET …/prunebackups: what would be kept and removed."""
    return _marked(call.world, call.node, call.params)


def prune(call: Call) -> str:
    """DELETE …/prunebackups."""
    storage, vmid = call["storage"], call.get("vmid")
    if vmid is None:
        call.need(f"/storage/{storage}", "Datastore.Allocate")
    else:
        call.need(f"/storage/{storage}", "Datastore.AllocateSpace")
        call.need(f"/vms/{vmid}", "VM.Backup")
    return call.start("prunebackups", f"{vmid}@{storage}" if vmid else storage, 2.0, **call.params)


def _end_prune(world: World, task: Document) -> None:
    section = storage_state.section_of(world, task["args"]["storage"])
    for entry in _marked(world, task["node"], task["args"]):
        if entry["mark"] == "remove":
            task["log"].append(f"removing backup '{entry['volid']}'")
            files, path = Files(world, task["node"]), storage_state.file_of(section, entry["volid"].partition(":")[2])
            for each in [each for each in (path, f"{path}.notes") if files.exists(each)]:
                files.remove(each)


def _marked(world: World, node: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the backups that are meant, each with what becomes of it. Raises Refusal."""
    name = wanted["storage"]
    section = storage_state.section_of(world, name)
    if "backup" not in storage_state.contents(section):
        raise failure(f"storage '{name}' does not support backups")
    keep = wanted.get("prune-backups", section.get("prune-backups"))
    if keep is None:
        raise failure(f"no prune-backups options configured for storage '{name}'")
    storage_state.need_on(world, name, node)
    storage_state.need_active(world, name, section, node)
    groups: dict[str, list[dict[str, Any]]] = {}
    found = []
    for backup in files_of(Files(world, node), name, section, "backup"):
        entry = {"ctime": backup["ctime"], "type": backup["subtype"], "volid": backup["volid"]}
        entry |= {"vmid": backup["vmid"]} if "vmid" in backup else {}
        if wanted.get("type", entry["type"]) != entry["type"] or wanted.get("vmid", backup.get("vmid")) != backup.get(
            "vmid"
        ):
            continue
        if _STANDARD.fullmatch(backup["volid"].rpartition("/")[2]):
            groups.setdefault(f"{entry['type']}/{entry['vmid']}", []).append(entry)
        else:
            entry["mark"] = "renamed"
        if backup.get("protected"):
            entry["mark"] = "protected"
        found.append(entry)
    for group in groups.values():
        _mark(group, property_string("prune-backups", str(keep)))
    return found


def _mark(group: list[dict[str, Any]], keep: dict[str, Any]) -> None:
    """Say of each backup of one guest whether it is kept; a period that is kept already does not count again."""
    counts = {name: int(keep.get(name) or 0) for name in _PERIODS}
    newest_first = sorted(group, key=lambda entry: -int(entry["ctime"]))
    if int(keep.get("keep-all") or 0) or not any(counts.values()):
        counts = {"keep-last": len(group)}
    for name, count in counts.items():
        if not count:
            continue
        periods = {id(entry): time.strftime(_PERIODS[name], time.gmtime(entry["ctime"])) for entry in group}
        before = {periods[id(entry)] for entry in group if entry.get("mark") == "keep"}
        new: set[str] = set()
        for entry in [each for each in newest_first if "mark" not in each and periods[id(each)] not in before]:
            if periods[id(entry)] in new:
                entry["mark"] = "remove"
            elif len(new) == count:
                break
            else:
                new.add(periods[id(entry)])
                entry["mark"] = "keep"
    for entry in group:
        entry.setdefault("mark", "remove")


_PRUNE = "node:node storage:storage-id prune-backups?:{prune-backups} type?:(qemu|lxc) vmid?:vmid"
_PATH = "/nodes/{node}/storage/{storage}/prunebackups"
ROUTES = (
    Route("GET", _PATH, preview, SEES_STORAGE, _PRUNE, by=SCHEMA),
    Route("DELETE", _PATH, prune, everyone, _PRUNE, by=SCHEMA),
)
WORKS = {"prunebackups": _end_prune}
