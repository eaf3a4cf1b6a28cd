"""Own reading and changing a guest's options (API: …/qemu/{vmid}/config, pending, cloudinit)."""

from __future__ import annotations

from typing import Any

from lib.lab.provenance import RECORDED, SCHEMA, belief
from lib.lab.pve import cloudinit, datacenter, guest_disks, guest_options, guest_rights, guest_state, hotplug, params
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import AT_GUEST, OF_GUEST, Call, Route, on_guest
from lib.lab.pve.formats import split_list
from lib.lab.pve.guest_options import is_drive
from lib.lab.pve.params import print_properties
from lib.lab.pve.rights import major
from lib.lab.pve.tasks import TaskFailed, caller
from lib.lab.pve.volume_stores import store_of
from lib.lab.world import Document, World


def get_config(call: Call) -> dict[str, Any]:
    """GET …/config: with pending changes, unless `current`."""
    name = call.get("snapshot")
    if name and call.get("current"):
        both = "cannot use 'snapshot' parameter with 'current'"
        raise invalid(snapshot=both, current=both)
    guest = call.guest()
    if name is not None:
        return guest_state.snapshot_config(guest, name) | {"digest": guest_state.digest(guest["config"])}
    return guest_state.shown_config(guest, bool(call.get("current")))


def get_pending(call: Call) -> list[dict[str, Any]]:
    """GET …/pending: each option with its present and its coming value."""
    guest = call.guest()
    pending = guest.get("pending", {})
    found = []
    for key, value in guest_state.shown_config(guest, True).items():
        entry: dict[str, Any] = {"key": key, "value": value}
        if key in pending:
            entry |= {"delete": 1} if pending[key] is None else {"pending": pending[key]}
        found.append(entry)
    fresh = [key for key in pending if key not in guest["config"]]
    return found + [{"key": key, "pending": pending[key]} for key in fresh]


def dump_cloudinit(call: Call) -> str:
    """GET …/cloudinit/dump."""
    return cloudinit.dump(call.world.lab, call["vmid"], call.guest()["config"], call["type"])


def get_cloudinit(call: Call) -> list[dict[str, Any]]:
    """GET …/cloudinit."""
    guest = call.guest()
    return cloudinit.listed({"cloudinit": {}} | guest, guest_state.shown_config(guest, True))


def rebuild_cloudinit(call: Call) -> None:
    """PUT …/cloudinit: write the drive anew. Here it is made from the configuration whenever it is read."""
    guest = call.guest()
    guest_state.need_unlocked(guest)
    call.world.put("guest", str(call["vmid"]), guest | {"cloudinit": {}})


# ------------------------------------------------------------------- change


def _changes(call: Call) -> tuple[dict[str, Any], list[str]]:
    """Check an update, in the order of the real one; return what is to be set and what to be removed."""
    call.root_only("skiplock")
    vmid = call["vmid"]
    guest_options.need_keys(call.params)
    given = guest_options.given(call.params)
    removed, reverted = split_list(call.get("delete", "")), split_list(call.get("revert", ""))
    if not given and not removed and not reverted:
        raise failure("no options specified")
    removed = ["ide2" if name == "cdrom" else name for name in removed]
    _need_sense(given, removed, reverted)
    drives = {name: value for name, value in given.items() if is_drive(name)}
    guest_disks.check(call, drives)
    if "hookscript" in given:
        guest_disks.need_script(call, str(given["hookscript"]))
    guest_rights.need_options(call, vmid, None, [*removed, *given])
    config = (call.world.get("guest", str(vmid)) or {}).get("config", {})
    kept = {name: value for name, value in drives.items() if not _same_volume(config, name, value)}
    guest_disks.need_rights(call, vmid, kept)
    guest_disks.need_others(call, vmid, given)
    guest_rights.need_bridges(call, given)
    guest = call.guest()
    if call.get("digest") not in (None, guest_state.digest(guest["config"])):
        raise failure("checksum mismatch (file change by other user?)")
    if not call.get("skiplock") and "lock" not in removed:
        guest_state.need_unlocked(guest)
    _need_memory(given, guest)
    _revert(call, guest, reverted)
    return given, removed


def _need_sense(given: dict[str, Any], removed: list[str], reverted: list[str]) -> None:
    """Refuse options that there are not, and such as are to be set and taken away at once."""
    known = params.declared(guest_options.OPTIONS, params.NEWEST)
    for name in reverted:
        if name not in known:
            raise invalid(revert=f"unknown option '{name}'")
        if name in given:
            raise invalid(delete=f"you can't use '-{name}' and -revert {name}' at the same time")
    for name in removed:
        if name in given:
            raise invalid(delete=f"you can't use '-{name}' and -delete {name}' at the same time")
        if name in reverted:
            raise invalid(revert=f"you can't use '-delete {name}' and -revert {name}' at the same time")
        if name not in known:
            raise invalid(delete=f"unknown option '{name}'")


def _need_memory(given: dict[str, Any], guest: Document) -> None:
    if "memory" not in given and "balloon" not in given:
        return
    wanted = guest["config"] | guest.get("pending", {}) | given
    if int(wanted.get("balloon") or 0) > guest_state.memory_bytes(wanted) >> 20:
        raise failure("balloon value too large (must be smaller than assigned memory)")


def _need_drives(guest: Document, given: dict[str, Any], removed: list[str], force: bool) -> None:
    """Refuse to remove drives of a protected guest or a snapshot, and to boot from what is not there; see the machine.

    The work itself looks, and not the request.
    """
    config = guest["config"]
    for name in removed:
        value = config.get(name)
        if value is None or not (is_drive(name) or name.startswith("unused")):
            continue
        if config.get("protection"):
            what = f"drive '{name}'" if is_drive(name) else f"unused disk '{value}'"
            raise TaskFailed(f"can't remove {what} - protection mode enabled")
        volid, unused = guest_disks.volume_of(value), name.startswith("unused")
        mine = guest_disks.owned({name: value}, guest["vmid"])
        if mine and (force or unused) and guest_disks.in_snapshot(guest, volid):
            used = f"unable to delete '{volid}' - volume is still in use (snapshot?)"
            if unused:
                raise TaskFailed(used)
            running = guest["status"] == "running"
            what = "hotplug problem -" if running else f"unable to apply pending change {name} :"
            raise invalid(**{name: f"{what} {used}\n"})
    if "machine" in given:
        guest_options.need_machine(str(given["machine"]))
    if "order=" in str(given.get("boot", "")):
        for name in str(given["boot"]).partition("order=")[2].split(",")[0].split(";"):
            if name and (name in removed or name not in config | guest.get("pending", {}) | given):
                raise TaskFailed(f"invalid bootorder: device '{name}' does not exist'")


def _revert(call: Call, guest: Document, reverted: list[str]) -> None:
    if reverted:
        for name in reverted:
            _forget_pending(guest, name)
        call.world.put("guest", str(call["vmid"]), guest)


def _same_volume(config: Document, option: str, value: Any) -> bool:
    drive = guest_disks.parse(option, value)
    return "import-from" not in drive and guest_disks.volume_of(config.get(option, "")) == drive["file"]


def update_now(call: Call) -> None:
    """PUT …/config: at once."""
    given, removed = _changes(call)
    guest_rights.need_inside(call.world, call, call["vmid"], call.guest()["config"], given, removed)
    try:
        _apply(call.world, call.node, call["vmid"], given, removed, bool(call.get("force")), [])
    except TaskFailed as failed:
        raise failure(str(failed)) from None


def update_later(call: Call) -> str:
    """POST …/config: the same as a task."""
    given, removed = _changes(call)
    if call.get("background_delay"):
        call.failed = f"failed to update VM {call['vmid']}: "
    seconds = 15.0 if any("import-from" in str(value) for value in given.values()) else 1.0
    untold = ("node", "vmid", "digest", "background_delay", "import-working-storage")
    shown = call.params | {"cipassword": "<hidden>"}
    told = "".join(f" -{key} {shown[key]}" for key in sorted(call.params) if key not in untold)
    args = {"given": given, "removed": removed, "force": call.get("force", 0)}
    return call.start("qmconfig", call["vmid"], seconds, log=[f"update VM {call['vmid']}:{told}"], **args)


def unlink(call: Call) -> None:
    """PUT …/unlink: take disks out of the configuration, or with `force` away."""
    call.params["delete"] = call.params.pop("idlist")
    update_now(call)


def _end_update(world: World, task: Document) -> None:
    args = task["args"]
    guest = guest_state.present(world, task["node"], task["id"])
    guest_rights.need_inside(
        world, caller(world, task), int(task["id"]), guest["config"], args["given"], args["removed"]
    )
    _apply(world, task["node"], int(task["id"]), args["given"], args["removed"], bool(args["force"]), task["log"])


def _apply(
    world: World, node: str, vmid: int, given: dict[str, Any], removed: list[str], force: bool, log: list[str]
) -> None:
    guest = world.get("guest", str(vmid)) or {}
    config = guest["config"]
    _need_drives(guest, given, removed, force)
    for option in removed:
        boot = out_of_boot_order(guest_state.coming_config(guest), option)
        if boot is not None:
            _set(guest, "boot", boot)
        if option == "lock":
            guest["lock"] = ""
        elif option in config and option.startswith("unused"):
            _let_go(world, node, vmid, config, option, force)
        elif is_drive(option):
            _remove_drive(world, node, vmid, guest, option, force)
        else:
            _set(guest, option, None)
    for option, value in given.items():
        if is_drive(option):
            _set_drive(world, node, vmid, guest, option, value, log)
            _into_boot_order(guest, option)
        elif option == "lock":
            guest["lock"] = value
        elif option == "tags":
            _set(guest, option, guest_options.stored(option, datacenter.unique_tags(world, str(value))))
        else:
            _set(guest, option, guest_options.stored(option, value))
            if option == "ostype" and not {"machine"} & {*given, *removed, *guest["pending"]}:
                pinned = guest_options.pinned_machine(config | {option: value}, guest_state.QEMU[major(world)])
                for name, machine in pinned.items():
                    _set(guest, name, machine)
    world.put("guest", str(vmid), guest)


def out_of_boot_order(config: Document, option: str) -> str | None:
    """Return a boot order without a device that goes away; None where it is not in it."""
    key, _, devices = str(config.get("boot", "")).partition("=")
    if key != "order" or option not in devices.split(";"):
        return None
    return guest_options.boot_order([name for name in devices.split(";") if name != option])


def _into_boot_order(guest: Document, option: str) -> None:
    """Make a new CD drive bootable, as the last one."""
    config = guest_state.coming_config(guest)
    key, _, devices = str(config.get("boot", "")).partition("=")
    names = devices.split(";")
    disc = guest_disks.is_cdrom(guest_disks.parse(option, config[option])) and "cloudinit" not in str(config[option])
    if key == "order" and disc and option not in names:
        _set(guest, "boot", f"order={';'.join([*names, option])}")


def _waits(guest: Document, option: str, value: Any) -> bool:
    return guest["status"] == "running" and not hotplug.takes(guest["config"], option, value)


def _set(guest: Document, option: str, value: Any) -> None:
    waits = _waits(guest, option, value)
    guest["pending"].pop(option, None)
    if waits:
        if guest["config"].get(option) != value:
            guest["pending"][option] = value
        return
    cloudinit.note(guest, option, value)
    if value is None:
        guest["config"].pop(option, None)
    else:
        guest["config"][option] = value


def _remove_drive(world: World, node: str, vmid: int, guest: Document, option: str, force: bool) -> None:
    _forget_pending(guest, option)
    if _waits(guest, option, None) and option in guest["config"]:
        guest["pending"][option] = None
    elif option in guest["config"]:
        _let_go(world, node, vmid, guest["config"], option, force)


def _forget_pending(guest: Document, option: str) -> None:
    """Drop a change that waits; a disk that was to come in stays as an unused one."""
    value = guest["pending"].pop(option, None)
    if value is not None and is_drive(option):
        _keep(guest["config"], guest["vmid"], option, value)


def _keep(config: Document, vmid: int, option: str, value: Any) -> None:
    volid = guest_disks.volume_of(value)
    held = [guest_disks.volume_of(each) for name, each in config.items() if is_drive(name)]
    if volid not in held and guest_disks.owned({option: value}, vmid):
        add_unused(config, volid)


def settled(world: World, guest: Document) -> Document:
    """Return a guest that has taken on what waited for it to be off."""
    config = guest["config"]
    for option, value in guest["pending"].items():
        before = config.get(option)
        if is_drive(option) and before and guest_disks.volume_of(before) != guest_disks.volume_of(value or ""):
            _let_go(world, guest["node"], guest["vmid"], config, option, False)
    return guest | {"config": guest_state.coming_config(guest), "pending": {}, "paused": False, "cloudinit": {}}


def _let_go(world: World, node: str, vmid: int, config: Document, option: str, force: bool) -> None:
    """Take a drive out of the configuration; a disk of the guest's own stays as an unused one."""
    value = config.pop(option)
    volid = guest_disks.volume_of(value)
    mine = guest_disks.owned({option: value}, vmid)
    if not mine:
        return
    if force or option.startswith("unused") or "cloudinit" in volid:
        store_of(world, volid, node).free(volid)
        return
    add_unused(config, volid)


def add_unused(config: Document, volid: str) -> str:
    """Keep a volume in the configuration as an unused one; return under which option."""
    option = next(f"unused{number}" for number in range(256) if f"unused{number}" not in config)
    config[option] = volid
    return option


def _set_drive(world: World, node: str, vmid: int, guest: Document, option: str, value: Any, log: list[str]) -> None:
    config = guest["config"]
    same = _same_volume(config, option, value)
    if same:
        before = guest_disks.parse(option, config[option])
        kept = {"size": before["size"]} if "size" in before else {}
        made = print_properties(guest_disks.parse(option, value) | kept, "file")
    else:
        made = guest_disks.make(world, node, vmid, option, value, log, guest_state.coming_config(guest))
    _forget_pending(guest, option)
    if _waits(guest, option, made):
        guest["pending"][option] = made
    else:
        if option in config and not same:
            _let_go(world, node, vmid, config, option, False)
        config[option] = made
    taken = guest_disks.volume_of(made)
    for name in [name for name in config if name.startswith("unused") and config[name] == taken]:
        del config[name]


_AUDIT = on_guest("VM.Audit")
_ANY_CONFIG = on_guest(
    *("VM.Config.Disk", "VM.Config.CDROM", "VM.Config.CPU", "VM.Config.Memory"),
    *("VM.Config.Network", "VM.Config.HWType", "VM.Config.Options", "VM.Config.Cloudinit"),
    any_of=True,
)
_UPDATE = f"""{OF_GUEST} {guest_options.OPTIONS} delete?:configid-list digest?:str<..40> force?:bool!delete
revert?:configid-list skiplock?:bool"""
ROUTES = (
    Route(
        "GET",
        f"{AT_GUEST}/config",
        get_config,
        _AUDIT,
        f"{OF_GUEST} current?:bool snapshot?:configid<..40>",
        by=RECORDED,
    ),
    Route("PUT", f"{AT_GUEST}/config", update_now, _ANY_CONFIG, _UPDATE, by=RECORDED),
    Route(
        "POST",
        f"{AT_GUEST}/config",
        update_later,
        _ANY_CONFIG,
        _UPDATE + " background_delay?:int[1..30] import-working-storage?:storage-id",
        by=SCHEMA,
    ),
    Route(
        "PUT",
        f"{AT_GUEST}/unlink",
        unlink,
        on_guest("VM.Config.Disk"),
        f"{OF_GUEST} idlist:configid-list force?:bool",
        by=SCHEMA,
    ),
    Route("GET", f"{AT_GUEST}/pending", get_pending, _AUDIT, OF_GUEST, by=RECORDED),
    Route("GET", f"{AT_GUEST}/cloudinit", get_cloudinit, _AUDIT, OF_GUEST, by=SCHEMA),
    Route(
        "PUT",
        f"{AT_GUEST}/cloudinit",
        rebuild_cloudinit,
        on_guest("VM.Config.Cloudinit"),
        OF_GUEST,
        by=belief("a cloud-init drive is made anew and answers nothing"),
    ),
    Route(
        "GET", f"{AT_GUEST}/cloudinit/dump", dump_cloudinit, _AUDIT, f"{OF_GUEST} type:(user|network|meta)", by=RECORDED
    ),
)
WORKS = {"qmconfig": _end_update}
