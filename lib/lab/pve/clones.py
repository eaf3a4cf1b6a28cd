"""Own cloning (API: …/qemu/{vmid}/clone): full ones, and linked ones that hang on a template's base disks."""

from __future__ import annotations

import re
import uuid
from typing import Any

from lib.lab.provenance import RECORDED
from lib.lab.pve import guest_disks, guest_options, guest_rights, guest_state, storage_state
from lib.lab.pve.answers import Refusal, failure, invalid
from lib.lab.pve.call import AT_GUEST, Call, Route, both, either, on_guest, perm
from lib.lab.pve.guest_options import is_drive
from lib.lab.pve.params import print_properties
from lib.lab.pve.rights import major
from lib.lab.pve.tasks import TaskFailed
from lib.lab.pve.volume_stores import format_size, is_base, owner, store_of
from lib.lab.world import Document, World

LINKED_SECONDS, FULL_SECONDS = 2.0, 30.0
_NOT_CLONED = re.compile(r"unused\d+|template|lock|parent")


def clone(call: Call) -> str:
    """POST …/clone: a template is cloned linked unless told otherwise."""
    vmid, newid, storage, target = call["vmid"], call["newid"], call.get("storage"), call.get("target", call.node)
    guest = call.need_there(vmid)
    if call.get("pool") and call.world.get("pool", call["pool"]) is None:
        raise Refusal(403, f"Permission check failed (pool '{call['pool']}' does not exist)")
    if call.world.get("node", target) is None:
        raise failure(f"no such cluster node '{target}'")
    if storage is not None:
        _need_target(call, storage, target)
    guest_state.need_unlocked(guest)
    config = _source(guest, call.get("snapname"))
    full = bool(call.get("full", 0 if guest["config"].get("template") else 1))
    for name in ("storage", "format"):
        if name in call.params and not full:
            raise failure(f"parameter '{name}' not allowed for linked clones")
    shared = _need_storages(call, config, storage)
    guest_rights.need_bridges(call, config)
    if target != call.node and not shared:
        raise failure(f"can't clone VM to node '{target}' (VM uses local storage)")
    if call.world.get("guest", str(newid)) is not None:
        raise failure(f"unable to create VM {newid}: config file already exists")
    _need_features(call, config, full, guest["status"] == "running")
    shown = {"name": call.get("name", f"Copy-of-VM-{config.get('name', vmid)}")}
    call.world.put("guest", str(newid), guest_state.fresh(newid, target, shown, "clone"))
    args = {name: call.get(name, "") for name in ("storage", "format", "description", "pool", "snapname")}
    args |= {"newid": newid, "full": full, "target": target, "name": shown["name"]}
    return call.start("qmclone", vmid, FULL_SECONDS if full else LINKED_SECONDS, provisional=newid, **args)


def _source(guest: Document, snapname: str | None) -> Document:
    """Return the configuration that is cloned: the present one, or that of a snapshot."""
    if snapname is None:
        return dict(guest["config"])
    return dict(guest_state.snapshot(guest, snapname)["config"])


def _need_target(call: Call, storage: str, target: str) -> None:
    section = storage_state.need_on(call.world, storage, call.node)
    if "images" not in storage_state.contents(section):
        raise invalid(storage=f"storage '{storage}' does not support vm images")
    if target != call.node:
        storage_state.need_on(call.world, storage, target)
        if not storage_state.is_shared(section):
            raise failure(f"can't clone to non-shared storage '{storage}'")


def _need_storages(call: Call, config: Document, storage: str | None) -> bool:
    """Refuse unless the caller may use the storages of the copies; return whether all disks are on shared ones."""
    shared = True
    for option, value in config.items():
        volid = guest_disks.volume_of(value) if is_drive(option) else ""
        if not volid:
            continue
        home = volid.partition(":")[0]
        shared = storage_state.is_shared(storage_state.section_of(call.world, home)) and shared
        if not guest_disks.is_cdrom(guest_disks.parse(option, value)):
            call.need(f"/storage/{storage or home}", "Datastore.AllocateSpace")
    return shared


def _need_features(call: Call, config: Document, full: bool, running: bool) -> None:
    """Refuse what a disk cannot: only the base disks of a template have linked clones."""
    of = " a snapshot of" if call.get("snapname") else ""
    for option in sorted(config):
        volid = guest_disks.volume_of(config[option]) if is_drive(option) else ""
        if option == "tpmstate0" and full and running and not of:
            raise failure("cannot clone TPM state while VM is running")
        if not volid or full or option == "tpmstate0" or is_base(volid):
            continue
        if not guest_disks.is_cdrom(guest_disks.parse(option, config[option])):
            what = f"{of} '{volid}' ({option})" if major(call.world) >= 9 else f" drive '{option}'"
            raise failure(f"Linked clone feature is not supported for{what}")


def _end_clone(world: World, task: Document) -> None:
    args, source = task["args"], world.get("guest", task["id"])
    if source is None:
        raise TaskFailed(f"unable to find configuration file for VM {task['id']} on node '{task['node']}'")
    new = world.get("guest", str(args["newid"]))
    if new is None:
        raise TaskFailed(f"unable to find configuration file for VM {args['newid']} on node '{args['target']}'")
    config = {
        key: value for key, value in _source(source, args["snapname"] or None).items() if not _NOT_CLONED.fullmatch(key)
    }
    for option in sorted(config):
        if is_drive(option):
            config[option] = _drive(world, task, option, config[option])
        elif re.fullmatch(r"net\d+", option):
            config[option] = guest_options.network(str(config[option]), fresh=True)
    task["log"].insert(0, f"creating a clone of VM {task['id']} with ID {args['newid']}")
    uuids = re.sub(r"uuid=[^,]+", f"uuid={uuid.uuid4()}", str(config.get("smbios1", "")))
    config |= {"smbios1": uuids or f"uuid={uuid.uuid4()}", "name": args["name"]}
    if config.get("vmgenid"):
        config["vmgenid"] = str(uuid.uuid4())
    if args["description"].strip():
        config["description"] = args["description"].rstrip()
    world.put("guest", str(args["newid"]), new | {"config": config, "lock": "", "pool": args["pool"] or None})


def _drive(world: World, task: Document, option: str, value: Any) -> str:
    args = task["args"]
    drive = guest_disks.parse(option, value)
    volid = drive["file"]
    if owner(volid) is None:  # an ISO file, or nothing in the drive
        return str(value)
    disc = guest_disks.is_cdrom(drive)
    if disc or args["full"]:
        target = args["storage"] or volid.partition(":")[0]
        task["log"].append(f"create full clone of drive {option} ({volid})")
        if not disc:
            _need_unlocked(world, task, volid)
        form = args["format"]
        drive["file"] = guest_disks.copy(world, task["node"], args["target"], volid, args["newid"], target, form)
        task["log"].append(f"allocated target volume '{drive['file']}'")
    else:
        task["log"].append(f"create linked clone of drive {option} ({volid})")
        drive["file"] = store_of(world, volid, args["target"]).linked(volid, args["newid"])
    made = store_of(world, drive["file"], args["target"]).facts(drive["file"])
    drive["size"] = format_size(made["virtual_size"])
    return print_properties(drive, "file")


def _need_unlocked(world: World, task: Document, volid: str) -> None:
    try:
        guest_disks.need_unlocked(world, world.get("guest", task["id"]) or {}, volid)
    except TaskFailed as failed:
        raise TaskFailed(f"clone failed: {failed}") from failed


_INTO = either(perm("/vms/{newid}", "VM.Allocate"), perm("/pool/{pool}", "VM.Allocate", only_with="pool"))
ROUTES = (
    Route(
        "POST",
        f"{AT_GUEST}/clone",
        clone,
        both(on_guest("VM.Clone"), _INTO),
        "node:node vmid:vmid newid:vmid bwlimit?:int[0..] description?:str format?:(raw|qcow2|vmdk) full?:bool"
        " name?:dns-name pool?:poolid snapname?:configid<..40> storage?:storage-id target?:node",
        by=RECORDED,
    ),
)
WORKS = {"qmclone": _end_clone}
