"""Own the drives of a guest: which rights they need, making them (empty, imported, cloud-init), letting go of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lib.lab.files import Files
from lib.lab.pve import storage_state, volume_names
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import Call
from lib.lab.pve.guest_options import DRIVES, drive_kind
from lib.lab.pve.params import print_properties, property_string
from lib.lab.pve.rights import major
from lib.lab.pve.tasks import TaskFailed
from lib.lab.pve.volume_stores import CLOUDINIT_BYTES, backed_up, format_size, owner, store, store_of
from lib.lab.world import Document, World

EFI_BYTES = {"2m": 128 << 10, "4m": 528 << 10}
TPM_BYTES = 4 << 20
_NEW = re.compile(r"(?:([^:/]+):)(\d+(?:\.\d+)?)")
_CLOUDINIT = re.compile(r"([^:/]+):cloudinit")
_HAS_CLOUDINIT = re.compile(r"[:/](?:vm-\d+-)?cloudinit(?:\.(?:raw|qcow2|vmdk))?$")
_NO_FILE = ("none", "cdrom")
_NEEDED_FOR_IMPORT = {"efidisk0": ("efitype", "pre-enrolled-keys"), "tpmstate0": ("version",)}


def parse(option: str, value: Any) -> dict[str, Any]:
    """Return the properties of a drive."""
    return property_string(drive_kind(option), str(value))


def is_cdrom(drive: Mapping[str, Any]) -> bool:
    """Tell whether the drive is a CD drive (cloud-init's is one)."""
    return drive.get("media") == "cdrom" or drive["file"] in _NO_FILE or bool(_CLOUDINIT.fullmatch(drive["file"]))


def volume_of(value: Any) -> str:
    """Return the volume id in a drive's value, or an empty text."""
    file = str(value).split(",")[0].removeprefix("file=")
    return file if ":" in file else ""


# ------------------------------------------------------------------- rights


def need_rights(call: Call, vmid: int, drives: dict[str, Any]) -> None:
    """Check the storages that the drives name: they exist, hold images, and the caller may use them."""
    for option in sorted(drives):
        drive = parse(option, drives[option])
        file = drive["file"]
        if file in _NO_FILE:
            if file == "cdrom":
                call.need("/", "Sys.Console")
            continue
        if _CLOUDINIT.fullmatch(file):
            pass  # nothing is checked
        elif new := _NEW.fullmatch(file):
            _need_space(call, new[1])
        else:
            need_volume(call, vmid, file)
            if ":" in file and _content(call.world, file) not in ("images", "iso"):
                raise invalid(**{option: "content type needs to be 'images' or 'iso'"})
        if "import-from" in drive:
            _need_import(call, vmid, option, drive)


def need_others(call: Call, vmid: int, given: Mapping[str, Any]) -> None:
    """Refuse unless the caller may use what other options than drives name of storages."""
    for option in sorted(name for name in given if re.fullmatch(r"unused\d+", name)):
        need_volume(call, vmid, property_string("unused", str(given[option]))["file"], "images")
    if "vmstatestorage" in given:
        call.need(f"/storage/{given['vmstatestorage']}", "Datastore.AllocateSpace")
    if "cicustom" in given:
        for volid in sorted(property_string("cicustom", str(given["cicustom"])).values()):
            need_volume(call, vmid, volid, "snippets")


def need_script(call: Call, volid: str) -> None:
    """Refuse what is no script to hook into a guest's life."""
    storage, _, volume = volid.partition(":")
    section = storage_state.section_of(call.world, storage)
    if volume_names.parse(section, volume)[0] != "snippets":
        raise invalid(hookscript=f"'{volid}' is not in the snippets directory\n")
    if not call.files.exists(storage_state.file_of(section, volume)):
        raise invalid(hookscript=f"script '{volid}' does not exist\n")


def check(call: Call, drives: dict[str, Any]) -> None:
    """Refuse drives that make no sense, before anything is done: imports of the wrong form, an ISO file as a disk."""
    for option in sorted(drives):
        drive = parse(option, drives[option])
        new = _NEW.fullmatch(drive["file"])
        if not _fits_together(option, drive):
            raise invalid(**{option: "unable to parse drive options"})
        if "import-from" in drive:
            if not new or float(new[2]) != 0:
                form = "use <storage ID>:0,import-from=<source>"
                raise invalid(**{option: f"'import-from' requires special syntax - {form}"})
            for required in _NEEDED_FOR_IMPORT.get(option, ()):
                if required not in drive:
                    raise invalid(**{option: f"need to specify '{required}' when using 'import-from'"})
        if drive["file"].startswith("/") and not drive["file"].startswith("/dev/"):
            _need_storage_of(call, option, drive["file"])
        existing = ":" in drive["file"] and not new and not _CLOUDINIT.fullmatch(drive["file"])
        kind = _content(call.world, drive["file"]) if existing and major(call.world) >= 9 else ""
        if kind == "iso" and drive.get("media") != "cdrom":
            raise invalid(**{option: "explicit 'media=cdrom' is required for iso images"})


def _fits_together(option: str, drive: Mapping[str, Any]) -> bool:
    """Tell whether a drive's properties, each right by itself, are right together."""
    for limit in ("mbps", "iops"):
        if drive.get(limit) and (drive.get(f"{limit}_rd") or drive.get(f"{limit}_wr")):
            return False
    for needing in ("mbps_max", "mbps_rd_max", "mbps_wr_max"):
        if drive.get(needing) and not drive.get(needing.removesuffix("_max")):
            return False
    disc = drive.get("media") == "cdrom"
    return not (disc and (drive_kind(option) == "virtio" or any(drive.get(name) for name in ("snapshot", "format"))))


def _need_storage_of(call: Call, option: str, path: str) -> None:
    """Refuse a file that lies in no storage."""
    folders = [f"{section['path']}/" for section in call.world.all("storage").values() if "path" in section]
    if not path.startswith(tuple(folders)):
        raise invalid(**{option: f"unable to associate path '{path}' to any storage"})


def _content(world: World, volid: str) -> str:
    storage, _, volume = volid.partition(":")
    return volume_names.parse(storage_state.section_of(world, storage), volume)[0]


def _need_space(call: Call, storage: str) -> None:
    call.need(f"/storage/{storage}", "Datastore.AllocateSpace")
    section = storage_state.section_of(call.world, storage)
    if "images" not in storage_state.contents(section):
        raise invalid(storage=f"storage '{storage}' does not support vm images")


def _need_import(call: Call, vmid: int, option: str, drive: dict[str, Any]) -> None:
    source = drive["import-from"]
    of = owner(source)
    kind = "" if source.startswith("/") else _content(call.world, source)
    if kind and kind not in ("images", "import"):
        raise invalid(**{option: f"{source} has wrong type '{kind}' - needs to be 'images' or 'import'"})
    if of is not None:
        call.need(f"/vms/{of}", "VM.Clone")
    else:
        need_volume(call, vmid, source)


def need_volume(call: Call, vmid: int | None, volid: str, content: str = "") -> None:
    """Refuse unless the caller may use an existing volume: his guest's own, or one that he may read."""
    if volid.startswith("/"):
        if not call.is_root:
            raise failure("Only root can pass arbitrary filesystem paths.")
        return
    storage, _, volume = volid.partition(":")
    kind, of = volume_names.parse(storage_state.section_of(call.world, storage), volume)
    if content and kind != content:
        raise failure(f"unable to use volume {volid} - content type needs to be '{content}'")
    path = f"/storage/{storage}"
    if call.may(path, "Datastore.Allocate"):
        return
    if kind in ("iso", "vztmpl", "import"):
        call.need(path, "Datastore.AllocateSpace", "Datastore.Audit", any_of=True)
    elif kind == "backup" and (backup_of := backed_up(volume)):
        call.need(path, "Datastore.AllocateSpace")
        call.need(f"/vms/{backup_of}", "VM.Backup")
    elif of is None:
        raise failure(f"missing privileges to access {volid}")
    elif of != vmid:
        call.need(path, "Datastore.Audit")
        call.need(f"/vms/{of}", "VM.Config.Disk")


# ------------------------------------------------------------------- making


def make_all(world: World, node: str, vmid: int, drives: dict[str, Any], log: list[str]) -> dict[str, str]:
    """Make what the drives ask for; return their values as the configuration keeps them. Raises TaskFailed."""
    made: dict[str, str] = {}
    for option in sorted(drives):
        made[option] = make(world, node, vmid, option, drives[option], log, made)
    return made


def make(world: World, node: str, vmid: int, option: str, value: Any, log: list[str], others: Mapping[str, Any]) -> str:
    """Make one drive; `others` are those that the guest has beside it."""
    drive = parse(option, value)
    file = drive["file"]
    if _CLOUDINIT.fullmatch(file) or _HAS_CLOUDINIT.search(file):
        for other in [name for name in DRIVES if name in others and name != option]:
            if _HAS_CLOUDINIT.search(str(others[other]).split(",")[0]):
                raise TaskFailed(f"{option} - cloud-init drive is already attached at '{other}'")
    if match := _CLOUDINIT.fullmatch(file) or _NEW.fullmatch(file):
        section = storage_state.need_on(world, match[1], node)
        storage_state.need_active(world, match[1], section, node)
    if match := _CLOUDINIT.fullmatch(file):
        held, wanted = store(world, match[1], node), drive.pop("format", "")
        drive |= {"file": held.allocate(vmid, CLOUDINIT_BYTES, "cloudinit", wanted), "media": "cdrom"}
    elif "import-from" in drive:
        match = _NEW.fullmatch(file)
        assert match is not None
        _imported(world, node, vmid, match[1], drive, log)
    elif match := _NEW.fullmatch(file):
        size = _size(option, drive, match[2])
        drive["file"] = store(world, match[1], node).allocate(vmid, size, format=drive.pop("format", ""))
        drive["size"] = format_size(size)
    else:
        _existing(world, node, option, drive)
        return print_properties(drive, "file")
    text = print_properties(drive, "file")
    log.append(f"{option}: successfully created disk '{text}'")
    return text


def _size(option: str, drive: dict[str, Any], gigabytes: str) -> int:
    if option == "efidisk0":
        return EFI_BYTES[drive.get("efitype", "2m")]
    return TPM_BYTES if option == "tpmstate0" else int(float(gigabytes) * (1 << 30))


def _imported(world: World, node: str, vmid: int, target: str, drive: dict[str, Any], log: list[str]) -> None:
    source = drive.pop("import-from")
    size, used, facts = _source(world, node, source)
    held = store(world, target, node)
    wanted = str(drive.pop("format", facts.get("format", "raw")))
    log.append(f"create full clone of drive ({source})")
    drive["file"] = held.allocate(
        vmid, size, format=wanted if wanted in held.formats else "raw", used=used, facts=facts
    )
    log.append(f"allocated target volume '{drive['file']}'")
    drive["size"] = format_size(size)


def _source(world: World, node: str, source: str) -> tuple[int, int, Document]:
    """Return virtual size, used bytes and facts of what is imported."""
    path = source
    if not source.startswith("/"):
        storage, _, volume = source.partition(":")
        section = world.get("storage", storage)
        if section is None:
            raise TaskFailed(f"storage '{storage}' does not exist")
        if owner(source) is not None:
            facts = store_of(world, source, node).facts(source)
            return facts["virtual_size"], facts["used"], facts
        if section["type"] != "dir":
            raise TaskFailed(f"unable to parse rbd volume name '{volume}'")
        path = storage_state.file_of(section, volume)
    files = Files(world, node)
    if not files.exists(path):
        raise TaskFailed(f"can't find file '{path}'" if source.startswith("/") else f"failed to stat '{path}'")
    stat = files.stat(path)
    facts = {"format": path.rpartition(".")[2], "virtual_size": stat["size"]} | stat.get("facts", {})
    return facts["virtual_size"], stat["size"], facts


def _existing(world: World, node: str, option: str, drive: dict[str, Any]) -> None:
    """Take a volume that is there, and note its size."""
    file = drive["file"]
    if file in _NO_FILE:
        drive.setdefault("media", "cdrom")
    if file in _NO_FILE:
        return
    if file.startswith("/"):
        if not Files(world, node).exists(file):
            raise TaskFailed(f"volume {file} does not exist")
        return
    storage, _, volume = file.partition(":")
    section = world.get("storage", storage)
    if section is None:
        raise TaskFailed(f"storage '{storage}' does not exist")
    if owner(file) is not None:
        facts = store_of(world, file, node).facts(file)
        if drive.get("format", facts["format"]) != facts["format"]:
            other = f"'format={drive['format']}' option different from storage format '{facts['format']}'"
            raise TaskFailed(f"drive '{option}' - volume '{file}' - {other}")
        drive["size"] = format_size(facts["virtual_size"])
        return
    files, path = Files(world, node), storage_state.file_of(section, volume)
    if not files.exists(path):
        raise TaskFailed(f"volume '{file}' does not exist")
    drive["size"] = format_size(files.stat(path)["size"])


# --------------------------------------------------------------- letting go


def owned(config: Document, vmid: int) -> dict[str, str]:
    """Return the guest's own volumes by option, in Proxmox's order; unused ones are among them."""
    names = [*DRIVES, *sorted(name for name in config if name.startswith("unused"))]
    found = {name: volume_of(config[name]) for name in names if name in config}
    return {name: volid for name, volid in found.items() if volid and owner(volid) == vmid}


def in_snapshot(guest: Document, volid: str) -> bool:
    """Tell whether a snapshot of the guest holds the volume."""
    kept = (value for each in guest.get("snapshots", {}).values() for value in each["config"].values())
    return any(volume_of(value) == volid for value in kept)


def free_all(world: World, node: str, config: Document, vmid: int) -> None:
    """Remove every volume of the guest. Raises TaskFailed where linked clones hang on one."""
    volumes = owned(config, vmid)
    for volid in volumes.values():
        if "base-" in volid and store_of(world, volid, node).children(volid):
            raise TaskFailed(f"base volume '{volid}' is still in use by linked cloned")
    for volid in volumes.values():
        store_of(world, volid, node).free(volid)


def free_unreferenced(world: World, node: str, vmid: int) -> None:
    """Remove what else bears the guest's number in any storage of images that the node can use."""
    for name, section in world.all("storage").items():
        usable = storage_state.is_on(section, node) and not section.get("disable")
        if (
            usable
            and "images" in storage_state.contents(section)
            and not storage_state.inactive_reason(world, name, section, node)
        ):
            there = store(world, name, node)
            for row in there.images():
                if row["vmid"] == vmid:
                    there.free(row["volid"])


def need_unlocked(world: World, guest: Document, volid: str) -> None:
    """Fail where `qemu-img` cannot look into the image of a running guest.

    Proxmox builds QEMU without locks on images; a machine that runs another QEMU names its program as `locking`.
    """
    storage, _, volume = volid.partition(":")
    tool = (world.get("node", guest["node"]) or {}).get("locking")
    if (
        not tool
        or guest["status"] != "running"
        or (section := world.get("storage", storage) or {}).get("type") != "dir"
    ):
        return
    path = storage_state.file_of(section, volume)
    lock = 'Failed to get shared "write" lock Is another process using the image'
    raise TaskFailed(f"{tool}: Could not open '{path}': {lock} [{path}]?")


def copy(world: World, source_node: str, node: str, volid: str, vmid: int, target: str, format: str) -> str:
    """Copy a volume for another guest, to the storage `target`; return the new volume id."""
    held = store_of(world, volid, source_node)
    facts = {key: value for key, value in held.facts(volid).items() if key != "parent"}
    onto = store(world, target, node)
    kind = "cloudinit" if "cloudinit" in volid else "disk"
    wanted = format or str(facts["format"])
    return onto.allocate(
        vmid,
        facts["virtual_size"],
        kind,
        wanted if wanted in onto.formats else "raw",
        used=facts["used"],
        facts=facts,
    )
