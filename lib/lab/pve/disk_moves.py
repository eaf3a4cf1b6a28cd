"""Own moving a disk to another storage or another guest (API: …/qemu/{vmid}/move_disk), and what disks can do."""

from __future__ import annotations

from typing import Any

from lib.lab.provenance import SCHEMA
from lib.lab.pve import guest_disks, guest_state, storage_state
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import AT_GUEST, OF_GUEST, Call, Route, on_guest
from lib.lab.pve.guest_config import add_unused, out_of_boot_order
from lib.lab.pve.guest_options import DRIVES, is_drive
from lib.lab.pve.guests import present
from lib.lab.pve.params import print_properties
from lib.lab.pve.snapshots import can_be_taken
from lib.lab.pve.tasks import TaskFailed
from lib.lab.pve.volume_stores import is_base, store_of
from lib.lab.world import Document, World

SECONDS = 15.0
_CHANGED = "detected modified configuration - file changed by other user? Try again."


def move(call: Call) -> str:
    """POST …/move_disk."""
    storage, target = call.get("storage"), call.get("target-vmid")
    if storage and target:
        both = "either set 'storage' or 'target-vmid', but not both"
        raise invalid(target_vmid=both, storage=both)
    if target:
        return _reassign(call, target)
    if not storage:
        none = "both 'storage' and 'target-vmid' missing, either needs to be set"
        raise invalid(target_vmid=none, storage=none)
    call.need(f"/storage/{storage}", "Datastore.AllocateSpace")
    disk = call["disk"]
    guest = call.guest()
    guest_state.need_unlocked(guest)
    if call.get("digest") not in (None, guest_state.digest(guest["config"])):
        raise failure(_CHANGED)
    if disk not in guest["config"]:
        raise failure(f"disk '{disk}' does not exist")
    drive = _parse(disk, guest["config"][disk])
    if is_drive(disk) and guest_disks.is_cdrom(drive):
        raise failure("you can't move a cdrom")
    volid = str(drive["file"])
    now = store_of(call.world, volid, call.node).facts(volid)["format"]
    if volid.partition(":")[0] == storage and call.get("format", now) == now:
        raise failure("you can't move to the same storage with same format")
    if "images" not in storage_state.contents(storage_state.need_on(call.world, storage, call.node)):
        raise invalid(storage=f"storage '{storage}' does not support vm images")
    if call.get("delete") and guest_disks.in_snapshot(guest, volid):
        raise failure("you can't move a disk with snapshots and delete the source")
    args = {name: call.get(name, "") for name in ("disk", "storage", "format", "delete")}
    return call.start("qmmove", call["vmid"], SECONDS, **args)


def _parse(disk: str, value: Any) -> dict[str, Any]:
    return guest_disks.parse(disk, value) if is_drive(disk) else {"file": str(value)}


def _end_move(world: World, task: Document) -> None:
    if ">" in task["id"]:
        _end_reassign(world, task)
        return
    guest, args, node = present(world, task), task["args"], task["node"]
    config, disk = guest["config"], args["disk"]
    drive = _parse(disk, config[disk])
    old = str(drive["file"])
    way = f"from current storage '{old.partition(':')[0]}' to target storage '{args['storage']}'"
    task["log"].append(f"copying volume '{old}' {way}")
    drive["file"] = guest_disks.copy(world, node, node, old, guest["vmid"], args["storage"], args["format"])
    if config.get("template"):
        drive["file"] = store_of(world, drive["file"], node).to_base(drive["file"])
    config[disk] = print_properties(drive, "file") if is_drive(disk) else drive["file"]
    if args["delete"]:
        task["log"].append(f"removing source volume '{old}' after successful copy")
        store_of(world, old, node).free(old)
    else:
        task["log"].append(f"adding source volume '{old}' as '{add_unused(config, old)}' to config")
    world.put("guest", task["id"], guest)


def _reassign(call: Call, target: int) -> str:
    """Give a disk to another guest."""
    call.need_guest(target, None, "VM.Config.Disk")
    vmid, disk, wanted = call["vmid"], call["disk"], call.get("target-disk", call["disk"])
    if vmid == target:
        raise invalid(target_vmid="must be different than source VMID to reassign disk")
    source, other = call.world.get("guest", str(vmid)), call.world.get("guest", str(target))
    if source is None:
        raise failure(f"could not find VM {vmid}")
    if other is None:
        raise failure(f"could not find target VM {target}")
    for guest in (source, other):
        guest_state.need_unlocked(guest)
    if source["config"].get("template") or other["config"].get("template"):
        raise failure("Can't move disks from or to template VMs")
    _need_unchanged(call, vmid, source, "digest")
    _need_unchanged(call, target, other, "target-digest")
    if disk not in source["config"]:
        raise failure(f"Disk '{disk}' for VM '{vmid}' does not exist")
    if wanted in other["config"]:
        raise failure(f"Target disk key '{wanted}' is already in use for VM '{target}'")
    if is_drive(disk) and guest_disks.is_cdrom(_parse(disk, source["config"][disk])):
        raise failure("CD drive contents can't be moved to another VM")
    if guest_disks.in_snapshot(source, guest_disks.volume_of(source["config"][disk])):
        raise failure("Can't move disk used by a snapshot to another VM")
    if source["status"] == "running" and is_drive(disk):
        raise failure("Cannot move disk to another VM while the source VM is running - detach first")
    storage = guest_disks.volume_of(source["config"][disk]).partition(":")[0]
    call.need(f"/storage/{storage}", "Datastore.AllocateSpace")
    return call.start(
        "qmmove", f"{vmid}-{disk}>{target}-{wanted}", 2.0, disk=disk, wanted=wanted, target=target, vmid=vmid
    )


def _need_unchanged(call: Call, vmid: int, guest: Document, name: str) -> None:
    if call.get(name) not in (None, guest_state.digest(guest["config"])):
        raise failure(f"VM {vmid}: {_CHANGED}")


def _end_reassign(world: World, task: Document) -> None:
    args, node = task["args"], task["node"]
    source, other = (world.get("guest", str(args[name])) for name in ("vmid", "target"))
    if source is None or other is None:
        raise TaskFailed(f"could not find VM {args['vmid'] if source is None else args['target']}")
    drive = _parse(args["disk"], source["config"].pop(args["disk"]))
    if (boot := out_of_boot_order(source["config"], args["disk"])) is not None:
        source["config"]["boot"] = boot
    old = str(drive["file"])
    drive["file"] = guest_disks.copy(world, node, node, old, args["target"], old.partition(":")[0], "")
    store_of(world, old, node).free(old)
    kept = is_drive(args["wanted"]) and is_drive(args["disk"])
    other["config"][args["wanted"]] = print_properties(drive, "file") if kept else drive["file"]
    for vmid, guest in ((args["vmid"], source), (args["target"], other)):
        world.put("guest", str(vmid), guest)
    task["log"].append(f"removing disk '{args['disk']}' from VM '{args['vmid']}' config")


def feature(call: Call) -> dict[str, Any]:
    """GET …/feature: whether the disks can be snapshotted, cloned (a base disk's linked clone), copied."""
    guest = call.need_there(call["vmid"])
    name = call.get("snapname")
    config = guest["config"] if name is None else guest_state.snapshot(guest, name)["config"]
    bases = all(
        is_base(guest_disks.volume_of(value))
        for option, value in config.items()
        if is_drive(option) and not guest_disks.is_cdrom(guest_disks.parse(option, value))
    )
    try:
        snapshots = can_be_taken(call.world, call.node, config)
    except TaskFailed as failed:
        raise failure(str(failed)) from None
    can = {"snapshot": snapshots, "clone": bases, "copy": True}[call["feature"]]
    return {"hasFeature": int(can), "nodes": call.world.keys("node")}


_DISKS = "|".join((*DRIVES, *(f"unused{number}" for number in range(256))))
_MOVE = f"""{OF_GUEST} disk:({_DISKS}) bwlimit?:int[0..] delete?:bool digest?:str<..40> format?:(raw|qcow2|vmdk)
storage?:storage-id target-digest?:str<..40> target-disk?:({_DISKS}) target-vmid?:vmid"""
ROUTES = (
    Route("POST", f"{AT_GUEST}/move_disk", move, on_guest("VM.Config.Disk"), _MOVE, by=SCHEMA),
    Route(
        "GET",
        f"{AT_GUEST}/feature",
        feature,
        on_guest("VM.Audit"),
        f"{OF_GUEST} feature:(snapshot|clone|copy) snapname?:configid<..40>",
        by=SCHEMA,
    ),
)
WORKS = {"qmmove": _end_move}
