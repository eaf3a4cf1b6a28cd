"""Own snapshots of guests (API: …/qemu/{vmid}/snapshot): the configuration as it was; disks are not copied."""

from __future__ import annotations

import re
import uuid
from typing import Any

from lib.lab.provenance import INDEX, SCHEMA, belief
from lib.lab.pve import guest_disks, guest_state, storage_state, tasks
from lib.lab.pve.answers import failure
from lib.lab.pve.call import AT_GUEST, OF_GUEST, Call, Route, on_guest
from lib.lab.pve.guest_config import add_unused
from lib.lab.pve.guest_options import is_drive
from lib.lab.pve.readings import names, reading
from lib.lab.pve.tasks import TaskFailed, caller
from lib.lab.pve.volume_stores import is_base, store_of
from lib.lab.world import Document, World


def list_snapshots(call: Call) -> list[dict[str, Any]]:
    """GET …/snapshot: `current` stands at the end, as if it were one."""
    guest = call.guest()
    found: list[dict[str, Any]] = []
    for name, snapshot in guest.get("snapshots", {}).items():
        entry = {"name": name, "description": snapshot["description"], "snaptime": snapshot["snaptime"]}
        found.append(entry | {"vmstate": snapshot["vmstate"]} | guest_state.parent(snapshot))
    running = int(guest["status"] == "running")
    here = {"name": "current", "description": "You are here!", "running": running}
    return [*found, here | {"digest": guest_state.digest(guest["config"])} | guest_state.parent(guest)]


def create(call: Call) -> str:
    """POST …/snapshot. Whether one can be taken shows in the task."""
    name = call["snapname"]
    if name == "current" or name.lower() == "pending":
        reserved = "current" if name == "current" else "pending"
        raise failure(f"unable to use snapshot name '{reserved}' (reserved name)")
    call.guest()
    args = {"description": call.get("description", ""), "vmstate": call.get("vmstate", 0)}
    return call.start("qmsnapshot", call["vmid"], 2.0, snapname=name, **args)


def rollback(call: Call) -> str:
    """POST …/snapshot/{snapname}/rollback."""
    if call.get("start"):
        call.need(f"/vms/{call['vmid']}", "VM.PowerMgmt")
    return call.start("qmrollback", call["vmid"], 3.0, snapname=call["snapname"], start=call.get("start", 0))


def delete(call: Call) -> str:
    """DELETE …/snapshot/{snapname}."""
    return call.start("qmdelsnapshot", call["vmid"], 2.0, snapname=call["snapname"])


def get_config(call: Call) -> dict[str, Any]:
    """GET …/snapshot/{snapname}/config."""
    return guest_state.snapshot_config(call.guest(), call["snapname"])


def update_config(call: Call) -> None:
    """PUT …/snapshot/{snapname}/config: its description."""
    if "description" not in call.params:
        return
    guest = call.guest()
    guest_state.need_unlocked(guest)
    guest_state.snapshot(guest, call["snapname"])["description"] = call["description"]
    call.world.put("guest", str(call["vmid"]), guest)


def _present(world: World, task: Document) -> tuple[Document, dict[str, Document]]:
    guest = guest_state.present(world, task["node"], task["id"])
    return guest, guest.setdefault("snapshots", {})


def can_be_taken(world: World, node: str, config: Document) -> bool:
    """Tell whether every disk is of a kind that keeps snapshots: a raw file does not, nor does a base of clones."""
    for option, value in config.items():
        volid = guest_disks.volume_of(value) if is_drive(option) else ""
        if volid and not guest_disks.is_cdrom(guest_disks.parse(option, value)):
            section = storage_state.section_of(world, volid.partition(":")[0])
            held = store_of(world, volid, node)
            if is_base(volid) or (section["type"] == "dir" and held.facts(volid)["format"] != "qcow2"):
                return False
    return True


def _end_create(world: World, task: Document) -> None:
    guest, snapshots = _present(world, task)
    name, args = task["args"]["snapname"], task["args"]
    if guest["config"].get("template"):
        raise TaskFailed("you can't take a snapshot if it's a template")
    guest_state.need_unlocked(guest)
    if name in snapshots:
        raise TaskFailed(f"snapshot name '{name}' already used")
    if not can_be_taken(world, task["node"], guest["config"]):
        raise TaskFailed("snapshot feature is not available")
    if guest["status"] == "running" and (world.peek("node", guest["node"]) or {}).get("foreign_qemu"):
        asked = f"VM {task['id']} qmp command 'savevm-start' failed"
        raise TaskFailed(f"{asked} - The command savevm-start has not been found")
    config = {key: value for key, value in guest["config"].items() if not _NOT_KEPT.fullmatch(key)}
    kept = {"config": config, "description": args["description"], "snaptime": task["starttime"]}
    state = int(bool(args["vmstate"]) and guest["status"] == "running")  # what is off has no memory to keep
    snapshots[name] = kept | {"vmstate": state, "parent": guest.get("parent", "")}
    world.put("guest", task["id"], guest | {"parent": name})


def _end_rollback(world: World, task: Document) -> None:
    guest, snapshots = _present(world, task)
    name = task["args"]["snapname"]
    if guest["config"].get("template"):
        raise TaskFailed("you can't rollback if vm is a template")
    if name not in snapshots:
        raise TaskFailed(f"snapshot '{name}' does not exist")
    guest_state.need_unlocked(guest)
    running = bool(snapshots[name]["vmstate"])
    state = {"status": "running" if running else "stopped", "started": task["due"] if running else None}
    kept = {key: value for key, value in guest["config"].items() if _NOT_KEPT.fullmatch(key)}
    config = _with_unused(guest, snapshots[name]["config"] | kept)
    if config.get("vmgenid"):  # by which the guest sees that its time went back
        config["vmgenid"] = str(uuid.uuid4())
    world.put("guest", task["id"], guest | {"config": config, "pending": {}, "parent": name, "paused": False} | state)
    if task["args"]["start"] and not running:  # a task of its own, which this one does not wait for
        tasks.start(world, task["due"], task["node"], "qmstart", task["id"], caller(world, task).identity, 3.0)


def _with_unused(guest: Document, config: Document) -> Document:
    """Keep disks that a snapshot did not have as unused ones; what it has is unused no longer."""
    held = set(guest_disks.owned(_drives(config), guest["vmid"]).values())
    for volid in guest_disks.owned(_drives(guest["config"]), guest["vmid"]).values():
        if volid not in held and "cloudinit" not in volid:
            add_unused(config, volid)
    return {name: value for name, value in config.items() if not (name.startswith("unused") and value in held)}


def _drives(config: Document) -> Document:
    return {option: value for option, value in config.items() if is_drive(option)}


def _end_delete(world: World, task: Document) -> None:
    guest, snapshots = _present(world, task)
    name = task["args"]["snapname"]
    gone = snapshots.pop(name, None)
    if gone is None:
        raise TaskFailed(f"snapshot '{name}' does not exist")
    guest_state.need_unlocked(guest)
    if guest["config"].get("template"):
        raise TaskFailed("you can't delete a snapshot if vm is a template")
    for document in (guest, *snapshots.values()):
        if document.get("parent") == name:
            document["parent"] = gone["parent"]
    world.put("guest", task["id"], guest)


_NOT_KEPT = re.compile(r"description|unused\d+")  # stay what they are, whatever is rolled back
_NAMED = f"{OF_GUEST} snapname:configid<..40>"
_PATH = f"{AT_GUEST}/snapshot"
_SNAPSHOT = on_guest("VM.Snapshot")
_READ = on_guest("VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit", any_of=True)
_ROLLBACK = on_guest("VM.Snapshot", "VM.Snapshot.Rollback", any_of=True)
ROUTES = (
    Route("GET", _PATH, list_snapshots, on_guest("VM.Audit"), OF_GUEST, by=SCHEMA),
    Route("POST", _PATH, create, _SNAPSHOT, f"{_NAMED} description?:str vmstate?:bool", by=SCHEMA),
    reading(_PATH + "/{snapname}", names("cmd", "rollback", "config"), INDEX, declaration=_NAMED),
    Route("PUT", _PATH + "/{snapname}/config", update_config, _SNAPSHOT, f"{_NAMED} description?:str", by=SCHEMA),
    Route("DELETE", _PATH + "/{snapname}", delete, _SNAPSHOT, f"{_NAMED} force?:bool", by=SCHEMA),
    Route(
        "GET",
        _PATH + "/{snapname}/config",
        get_config,
        _READ,
        _NAMED,
        by=belief("a snapshot's configuration reads as its guest's does"),
    ),
    Route("POST", _PATH + "/{snapname}/rollback", rollback, _ROLLBACK, f"{_NAMED} start?:bool", by=SCHEMA),
)
WORKS = {"qmsnapshot": _end_create, "qmrollback": _end_rollback, "qmdelsnapshot": _end_delete}
