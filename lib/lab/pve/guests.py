"""Own the life of a guest (API: /nodes/{node}/qemu): list, create, template, resize, destroy. Not its options."""

from __future__ import annotations

from typing import Any

from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve import (
    backup_jobs,
    clones,
    datacenter,
    guest_config,
    guest_disks,
    guest_options,
    guest_rights,
    guest_state,
    storage_state,
    tasks,
)
from lib.lab.pve.access import forget_acls
from lib.lab.pve.answers import Refusal, denied, failure, invalid
from lib.lab.pve.call import AT_GUEST, OF_GUEST, Call, Route, everyone, on_guest
from lib.lab.pve.guest_options import DRIVES, is_drive
from lib.lab.pve.params import print_properties
from lib.lab.pve.readings import names, reading
from lib.lab.pve.rights import major
from lib.lab.pve.tasks import TaskFailed, caller
from lib.lab.pve.volume_stores import format_size, store_of
from lib.lab.world import Document, World

IMPORT_SECONDS = 15.0
_FOLDERS = (
    *("config", "cloudinit", "pending", "status", "unlink", "vncproxy", "termproxy", "migrate", "resize", "move"),
    *("rrd", "rrddata", "monitor", "agent", "snapshot", "spiceproxy", "sendkey", "firewall", "mtunnel"),
    "remote_migrate",
)


def list_guests(call: Call) -> list[dict[str, Any]]:
    """GET /nodes/{node}/qemu: those that the caller may audit."""
    full = bool(call.get("full"))
    return [
        guest_state.listed(call.world, guest, call.now, full)
        for vmid, guest in call.world.all("guest").items()
        if guest["node"] == call.node and call.may(f"/vms/{vmid}", "VM.Audit")
    ]


# ------------------------------------------------------------------- create


def create(call: Call) -> str:
    """POST /nodes/{node}/qemu."""
    vmid, pool = call["vmid"], call.get("pool")
    guest_options.need_keys(call.params)
    if pool and call.world.get("pool", pool) is None:
        raise Refusal(403, f"Permission check failed (pool '{pool}' does not exist)")
    if "storage" in call.params:
        call.need(f"/storage/{call['storage']}", "Datastore.AllocateSpace")
    if call.get("ha-managed"):
        call.need("/", "Sys.Console")
    if call.get("start"):
        call.need_guest(vmid, pool, "VM.PowerMgmt")
    if not call.may(f"/vms/{vmid}", "VM.Allocate") and not (pool and call.may(f"/pool/{pool}", "VM.Allocate")):
        raise denied()
    given = guest_options.given(call.params)
    drives = {name: value for name, value in given.items() if is_drive(name)}
    if "archive" in call.params:
        _need_archive(call, vmid, drives)
    guest_disks.need_rights(call, vmid, drives)
    guest_disks.need_others(call, vmid, given)
    guest_rights.need_options(call, vmid, pool, given)
    guest_rights.need_devices(call, vmid, pool, given)
    guest_rights.need_bridges(call, given)
    guest_disks.check(call, drives)
    existing, verb = call.world.get("guest", str(vmid)), "restore" if "archive" in call.params else "create"
    if existing is not None:
        raise failure(f"unable to {verb} VM {vmid} - VM {vmid} already exists on node '{existing['node']}'")
    if verb == "restore":
        raise failure(f"unable to restore VM {vmid} - the lab's backups are empty")
    if "tags" in given:
        given["tags"] = datacenter.unique_tags(call.world, str(given["tags"]))
    kept = {name: guest_options.stored(name, value) for name, value in given.items() if not is_drive(name)}
    config = {name: value for name, value in kept.items() if value is not None}
    shown = {"name": config["name"]} if "name" in config else {}
    call.world.put("guest", str(vmid), guest_state.fresh(vmid, call.node, shown, "create"))
    imports = any("import-from" in str(value) for value in drives.values())
    args = {"config": config, "drives": drives, "pool": pool, "start": call.get("start", 0)}
    seconds = 3.0 + (IMPORT_SECONDS if imports else 0.0)
    return call.start("qmcreate", vmid, seconds, provisional=vmid, **args)


def _need_archive(call: Call, vmid: int, drives: Document) -> None:
    """Refuse to restore with drives beside the backup, or from what is none."""
    archive = str(call["archive"])
    for name in sorted(drives):
        raise invalid(**{name: "option conflicts with option 'archive'"})
    if archive == "-":
        raise failure("pipe requires cli environment")
    if ":" not in archive and not call.is_root:
        raise failure("Only root can pass arbitrary filesystem paths.")
    storage, named, volume = archive.partition(":")
    if named:
        guest_disks.need_volume(call, vmid, archive, "backup")
        path = storage_state.file_of(storage_state.section_of(call.world, storage), volume)
    if not call.files.exists(path if named else archive):
        raise failure(f"volume '{archive}' does not exist" if named else f"can't find file '{archive}'")


def _end_create(world: World, task: Document) -> None:
    args, vmid, node = task["args"], int(task["id"]), task["node"]
    guest = world.get("guest", str(vmid))
    if guest is None:
        raise TaskFailed(f"unable to create VM {vmid} - Configuration file does not exist")
    config = dict(args["config"])
    try:
        guest_options.need_machine(str(config.get("machine", "pc")))
        config |= guest_disks.make_all(world, node, vmid, args["drives"], task["log"])
        if "tags" in config:
            guest_rights.need_tags(world, caller(world, task), vmid, "", str(config["tags"]))
    except (TaskFailed, Refusal) as failed:
        told = failed.told if isinstance(failed, Refusal) else failed
        raise TaskFailed(f"unable to create VM {vmid} - {told}") from None
    config |= guest_state.fresh_identity(config, task["starttime"])
    config.setdefault("boot", guest_options.default_boot(config))
    config |= guest_options.pinned_machine(config, guest_state.QEMU[major(world)])
    guest |= {"config": config, "lock": "", "pool": args["pool"]}
    world.put("guest", str(vmid), guest)
    if args["start"]:  # a task of its own, which this one does not wait for
        task["log"].append("Execute autostart")
        tasks.start(world, task["due"], node, "qmstart", task["id"], caller(world, task).identity, 3.0)


# ----------------------------------------------------------------- template


def make_template(call: Call) -> str:
    """POST …/template."""
    guest = call.guest()
    guest_state.need_unlocked(guest)
    if guest.get("snapshots"):
        raise failure("unable to create template, because VM contains snapshots")
    if guest["config"].get("template") and not call.get("disk"):
        raise failure("you can't convert a template to a template")
    if guest["status"] == "running":
        raise failure("you can't convert a VM to template if VM is running")
    return call.start("qmtemplate", call["vmid"], 2.0, disk=call.get("disk", ""))


def _end_template(world: World, task: Document) -> None:
    guest = present(world, task)
    config, wanted = guest["config"], task["args"]["disk"]
    for option in [wanted] if wanted else DRIVES:
        if option not in config:
            continue
        drive = guest_disks.parse(option, config[option])
        if guest_disks.is_cdrom(drive) or guest_disks.volume_of(config[option]) == "":
            continue
        drive["file"] = store_of(world, drive["file"], task["node"]).to_base(drive["file"])
        config[option] = print_properties(drive, "file")
    config["template"] = 1  # also where one disk was named
    world.put("guest", task["id"], guest)


def present(world: World, task: Document) -> Document:
    """Return the guest that a task works on; end the task where it is gone or locked."""
    guest = guest_state.present(world, task["node"], task["id"])
    if not task["args"].get("skiplock"):
        guest_state.need_unlocked(guest)
    return guest


# ------------------------------------------------------------------- resize


def resize(call: Call) -> str:
    """PUT …/resize: grow a disk, by `+SIZE` or to SIZE. What is wrong shows in the task."""
    call.root_only("skiplock")
    args = {name: call.get(name, "") for name in ("disk", "size", "digest", "skiplock")}
    return call.start("resize", call["vmid"], 1.0, **args)


def _end_resize(world: World, task: Document) -> None:
    guest = guest_state.present(world, task["node"], task["id"])
    config, option, text = guest["config"], task["args"]["disk"], task["args"]["size"]
    if task["args"]["digest"] not in ("", guest_state.digest(config)):
        raise TaskFailed("checksum mismatch (file change by other user?)")
    if not task["args"]["skiplock"]:
        guest_state.need_unlocked(guest)
    if option not in config:
        raise TaskFailed(f"disk '{option}' does not exist")
    drive = guest_disks.parse(option, config[option])
    storage, sign, _ = drive["file"].partition(":")
    if not sign:
        raise TaskFailed(f"unable to parse volume ID '{storage}'")
    if guest_disks.is_cdrom(drive):
        raise TaskFailed("you can't resize a cdrom")
    caller(world, task).need(f"/storage/{storage}", "Datastore.AllocateSpace")
    guest_disks.need_unlocked(world, guest, drive["file"])
    held = store_of(world, drive["file"], task["node"])
    before = held.facts(drive["file"])["virtual_size"]
    size = guest_state.parse_size(text.removeprefix("+")) + (before if text.startswith("+") else 0)
    if size < before:
        raise TaskFailed("shrinking disks is not supported")
    if size == before:
        return
    held.resize(drive["file"], size)
    config[option] = print_properties(drive | {"size": format_size(size)}, "file")
    world.put("guest", task["id"], guest)
    task["log"].append("Image resized.")


# ------------------------------------------------------------------ destroy


def destroy(call: Call) -> str:
    """DELETE …/qemu/{vmid}."""
    call.root_only("skiplock")
    guest = call.guest()
    if guest["config"].get("protection"):
        raise failure(f"can't remove VM {call['vmid']} - protection mode enabled")
    if guest["status"] == "running":
        raise failure(f"VM {call['vmid']} is running - destroy failed")
    args = {name: call.get(name, 0) for name in ("destroy-unreferenced-disks", "purge", "skiplock")}
    return call.start("qmdestroy", call["vmid"], 3.0, **args)


def _end_destroy(world: World, task: Document) -> None:
    guest = guest_state.present(world, task["node"], task["id"])
    vmid = guest["vmid"]
    if guest["config"].get("protection"):
        raise TaskFailed(f"can't remove VM {vmid} - protection mode enabled")
    if guest["status"] == "running":
        raise TaskFailed(f"VM {vmid} is running - destroy failed")
    if guest["lock"] != "suspended" and not task["args"]["skiplock"]:
        guest_state.need_unlocked(guest)
    guest_disks.free_all(world, task["node"], guest["config"], vmid)
    if task["args"]["destroy-unreferenced-disks"]:
        guest_disks.free_unreferenced(world, task["node"], vmid)
    world.delete("guest", str(vmid))
    if task["args"]["purge"]:
        task["log"].append(f"purging VM {vmid} from related configurations..")
        backup_jobs.forget(world, str(vmid))
    # Its place in a pool goes with the document; rights on its path go too, and do not come back with the id.
    forget_acls(world, path=f"/vms/{vmid}")


_DISKS = "|".join(DRIVES)
_QEMU = "/nodes/{node}/qemu"
_CREATE = f"""{OF_GUEST} {guest_options.OPTIONS} archive?:str<..255> bwlimit?:int[0..] force?:bool!archive
ha-managed?:bool@9 import-working-storage?:storage-id live-restore?:bool pool?:poolid start?:bool
storage?:storage-id unique?:bool!archive"""
_ALLOCATE = on_guest("VM.Allocate")
ROUTES = (
    Route("GET", _QEMU, list_guests, everyone, "node:node full?:bool", by=RECORDED),
    Route("POST", _QEMU, create, everyone, _CREATE, by=RECORDED),
    reading(AT_GUEST, names("subdir", *_FOLDERS), SCHEMA, declaration=OF_GUEST),
    Route(
        "DELETE",
        AT_GUEST,
        destroy,
        _ALLOCATE,
        f"{OF_GUEST} destroy-unreferenced-disks?:bool purge?:bool skiplock?:bool",
        by=RECORDED,
    ),
    Route("POST", f"{AT_GUEST}/template", make_template, _ALLOCATE, f"{OF_GUEST} disk?:({_DISKS})", by=RECORDED),
    Route(
        "PUT",
        f"{AT_GUEST}/resize",
        resize,
        on_guest("VM.Config.Disk"),
        f"{OF_GUEST} disk:({_DISKS}) size:resize digest?:str<..40> skiplock?:bool",
        by=RECORDED,
    ),
    *guest_config.ROUTES,
    *clones.ROUTES,
)
WORKS = {
    "qmcreate": _end_create,
    "qmtemplate": _end_template,
    "resize": _end_resize,
    "qmdestroy": _end_destroy,
    **guest_config.WORKS,
    **clones.WORKS,
}
