"""Own snapshots of guests (API: …/qemu/{vmid}/snapshot): the configuration as it was; disks are not copied."""

from __future__ import annotations

from typing import Any

from lib.lab.provenance import SCHEMA, belief
from lib.lab.pve import guest_state
from lib.lab.pve.answers import failure
from lib.lab.pve.call import Call, Route, perm
from lib.lab.pve.guest_config import need_unlocked
from lib.lab.pve.tasks import TaskFailed
from lib.lab.world import Document, World


def list_snapshots(call: Call) -> list[dict[str, Any]]:
    """GET …/snapshot: `current` stands at the end, as if it were one."""
    guest = call.guest()
    found: list[dict[str, Any]] = []
    for name, snapshot in guest.get("snapshots", {}).items():
        entry = {"name": name, "description": snapshot["description"], "snaptime": snapshot["snaptime"]}
        found.append(entry | {"vmstate": snapshot["vmstate"]} | _parent(snapshot))
    running = int(guest["status"] == "running")
    here = {"name": "current", "description": "You are here!", "running": running}
    return [*found, here | {"digest": guest_state.digest(guest["config"])} | _parent(guest)]


def _parent(document: Document) -> dict[str, str]:
    return {"parent": document["parent"]} if document.get("parent") else {}


def create(call: Call) -> str:
    """POST …/snapshot."""
    guest = call.guest()
    need_unlocked(guest)
    if call["snapname"] == "current":
        raise failure("unable to use snapshot name 'current' (reserved name)")
    args = {"description": call.get("description", ""), "vmstate": call.get("vmstate", 0)}
    return call.start("qmsnapshot", call["vmid"], 2.0, snapname=call["snapname"], **args)


def rollback(call: Call) -> str:
    """POST …/snapshot/{snapname}/rollback."""
    call.guest()
    return call.start("qmrollback", call["vmid"], 3.0, snapname=call["snapname"], start=call.get("start", 0))


def delete(call: Call) -> str:
    """DELETE …/snapshot/{snapname}."""
    call.guest()
    return call.start("qmdelsnapshot", call["vmid"], 2.0, snapname=call["snapname"])


def get_config(call: Call) -> dict[str, Any]:
    """GET …/snapshot/{snapname}/config."""
    snapshot = call.guest().get("snapshots", {}).get(call["snapname"])
    if snapshot is None:
        raise failure(f"snapshot '{call['snapname']}' does not exist")
    extra = {key: snapshot[key] for key in ("description", "snaptime")} | _parent(snapshot)
    return dict(snapshot["config"]) | extra | {"digest": guest_state.digest(snapshot["config"])}


def _present(world: World, task: Document) -> tuple[Document, dict[str, Document]]:
    guest = world.get("guest", task["id"])
    if guest is None:
        raise TaskFailed(f"Configuration file 'nodes/{task['node']}/qemu-server/{task['id']}.conf' does not exist")
    return guest, guest.setdefault("snapshots", {})


def _end_create(world: World, task: Document) -> None:
    guest, snapshots = _present(world, task)
    name, args = task["args"]["snapname"], task["args"]
    if guest["config"].get("template"):
        raise TaskFailed("snapshots are not possible for templates")
    if name in snapshots:
        raise TaskFailed(f"snapshot name '{name}' already used")
    kept = {"config": guest["config"], "description": args["description"], "snaptime": task["starttime"]}
    snapshots[name] = kept | {"vmstate": args["vmstate"], "parent": guest.get("parent", "")}
    world.put("guest", task["id"], guest | {"parent": name})


def _end_rollback(world: World, task: Document) -> None:
    guest, snapshots = _present(world, task)
    name = task["args"]["snapname"]
    if name not in snapshots:
        raise TaskFailed(f"snapshot '{name}' does not exist")
    running = bool(task["args"]["start"] or snapshots[name]["vmstate"])
    state = {"status": "running" if running else "stopped", "started": task["due"] if running else None}
    world.put("guest", task["id"], guest | {"config": snapshots[name]["config"], "parent": name} | state)


def _end_delete(world: World, task: Document) -> None:
    guest, snapshots = _present(world, task)
    name = task["args"]["snapname"]
    gone = snapshots.pop(name, None)
    if gone is None:
        raise TaskFailed(f"snapshot '{name}' does not exist")
    for document in (guest, *snapshots.values()):
        if document.get("parent") == name:
            document["parent"] = gone["parent"]
    world.put("guest", task["id"], guest)


_GUEST = "node:node vmid:vmid"
_NAMED = f"{_GUEST} snapname:configid<..40>"
_PATH = "/nodes/{node}/qemu/{vmid}/snapshot"
_SNAPSHOT = perm("/vms/{vmid}", "VM.Snapshot")
_READ = perm("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit", any_of=True)
_ROLLBACK = perm("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback", any_of=True)
ROUTES = (
    Route("GET", _PATH, list_snapshots, perm("/vms/{vmid}", "VM.Audit"), _GUEST, by=SCHEMA),
    Route("POST", _PATH, create, _SNAPSHOT, f"{_NAMED} description?:str vmstate?:bool", by=SCHEMA),
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
