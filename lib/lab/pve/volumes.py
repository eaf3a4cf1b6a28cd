"""Own the volumes of storages (API: …/storage/{storage}/content): list, make, say something of, remove."""

from __future__ import annotations

import calendar
import re
import time
from typing import Any

from lib.lab.files import Files
from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve import storage_state, volume_names
from lib.lab.pve.answers import Refusal, failure, invalid
from lib.lab.pve.call import SEES_STORAGE, Call, Route, everyone, perm
from lib.lab.pve.guest_disks import need_volume
from lib.lab.pve.tasks import TaskFailed
from lib.lab.pve.volume_stores import backed_up, owner, store
from lib.lab.world import Document, World

_LISTED = ("vztmpl", "iso", "backup", "snippets", "import")


# --------------------------------------------------------------------- list


def list_content(call: Call) -> list[dict[str, Any]]:
    """GET …/content: what the storage holds, as far as the caller may see it."""
    name = call["storage"]
    section = storage_state.need_on(call.world, name, call.node)
    storage_state.need_active(call.world, name, section, call.node)
    allowed = storage_state.contents(section)
    wanted = [kind for kind in allowed if kind == call.get("content", kind)]
    found: list[dict[str, Any]] = []
    if "images" in wanted:
        found += store(call.world, name, call.node).images()
    if section["type"] == "dir":
        for kind in [kind for kind in wanted if kind in _LISTED]:
            found += files_of(call.files, name, section, kind)
    if "vmid" in call.params:
        found = [entry for entry in found if _is_of(call["vmid"], entry)]
    found.sort(key=lambda entry: str(entry["volid"]).lower())
    return [entry for entry in found if _may_read(call, entry["volid"])]


def _is_of(vmid: int, entry: dict[str, Any]) -> bool:
    """Tell whether a volume is listed where a guest's are asked for: snippets and images to import always are."""
    if entry["content"] == "backup":
        return f"-{vmid}-" in entry["volid"]
    return entry["content"] in ("snippets", "import") or entry.get("vmid") == vmid


def _may_read(call: Call, volid: str) -> bool:
    try:
        need_volume(call, None, volid)
    except Refusal:
        return False
    return True


def files_of(files: Files, name: str, section: Document, kind: str) -> list[dict[str, Any]]:
    """Return the files of one kind on a storage, as its content lists them."""
    folder = storage_state.folder(section, kind)
    if not files.is_dir(folder):
        return []
    found = []
    for file in files.listdir(folder):
        stat = files.stat(f"{folder}/{file}")
        if stat["type"] != "file" or not volume_names.fits(kind, file):
            continue
        entry = {"content": kind, "ctime": int(stat["mtime"]), "size": stat["size"], "volid": f"{name}:{kind}/{file}"}
        entry["format"] = _format(kind, file)
        found.append(entry | (_of_backup(files, folder, file) if kind == "backup" else {}))
    return found


def _of_backup(files: Files, folder: str, file: str) -> dict[str, Any]:
    """Return what a backup's name says, and the files beside it; of its notes the first line."""
    shown: dict[str, Any] = {"subtype": "unknown"}
    if match := re.match(r"vzdump-(lxc|openvz|qemu)-", file):
        shown["subtype"] = match[1]
    if match := re.search(r"-([1-9]\d{2,8})-", file):
        shown["vmid"] = int(match[1])
    if match := re.match(r"vzdump-\w+-\d+-(\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d)\.", file):
        shown["ctime"] = calendar.timegm(time.strptime(match[1], "%Y_%m_%d-%H_%M_%S"))
    shown |= _remarks(files, f"{folder}/{file}")
    return shown | ({"notes": shown["notes"].split("\n")[0]} if "notes" in shown else {})


def _format(kind: str, file: str) -> str:
    if kind in ("iso", "snippets"):
        return kind.removesuffix("s")
    last = file.rpartition(".")[2]
    if kind == "vztmpl":
        return f"t{last}"
    packed = re.search(r"\.((?:tar|vma)\.\w+)$", file)
    return packed[1] if packed else last


# ------------------------------------------------------------ one volume


def _volid(call: Call) -> str:
    """Return the volume id that is meant; the storage may stand in it or beside it."""
    volume, storage = str(call["volume"]), call.get("storage")
    if ":" not in volume:
        if not storage:
            raise invalid(volume="no storage specified - incomplete volume ID")
        return f"{storage}:{volume}"
    named = volume.partition(":")[0]
    if storage and named != storage:
        raise invalid(volume=f"storage ID mismatch ({named} != {storage})\n")
    return volume


def allocate(call: Call) -> str:
    """POST …/content: make an empty disk; answers with its volume id."""
    name, vmid, text = call["filename"], call["vmid"], call["size"]
    size = int(text.rstrip("MG")) * (1 << {"M": 20, "G": 30}.get(text[-1], 10))
    suffix = name.rpartition(".")[2] if name.endswith((".raw", ".qcow2", ".vmdk")) else ""
    if suffix and call.get("format", suffix) != suffix:
        raise invalid(format=f"different storage formats ({call['format']} != {suffix})")
    section = storage_state.need_on(call.world, call["storage"], call.node)
    storage_state.need_active(call.world, call["storage"], section, call.node)
    kind = suffix or call.get("format", section.get("format", "raw"))
    held = store(call.world, call["storage"], call.node)
    if not name:
        return held.allocate(vmid, size, format=kind)
    if section["type"] == "dir":
        volume_names.parse(section, f"{vmid}/{name}")
        if not name.endswith(f".{kind}"):
            told = f"wrong extension for format ('{name.rpartition('.')[2]} != '{kind}')"
            raise failure(f"illegal name '{name}' - {told}")
    elif not name.startswith(f"vm-{vmid}-"):
        raise failure(f"illegal name '{name}' - should be 'vm-{vmid}-*'")
    volid = f"{call['storage']}:{vmid}/{name}" if section["type"] == "dir" else f"{call['storage']}:{name}"
    if held.exists(volid):
        raise failure(f"disk image '{storage_state.file_of(section, volid.partition(':')[2])}' already exists")
    held.make(volid, size, kind)
    return volid


def get_volume(call: Call) -> dict[str, Any]:
    """GET …/content/{volume}."""
    volid = _volid(call)
    storage = volid.partition(":")[0]
    need_volume(call, None, volid)
    section = storage_state.need_on(call.world, storage, call.node)
    kind = volume_names.parse(section, volid.partition(":")[2])[0]
    path = storage_state.file_of(section, volid.partition(":")[2]) if section["type"] == "dir" else volid
    try:
        facts = store(call.world, storage, call.node).facts(volid)
    except TaskFailed:
        raise failure(f"volume_size_info on '{volid}' failed - no format") from None
    if kind in ("images", "import"):
        return {"format": facts["format"], "path": path, "size": facts["virtual_size"], "used": facts["used"]}
    shown = {"format": "raw", "path": path, "size": facts["used"], "used": facts["used"]}
    return shown | ({"notes": "", "protected": 0} | _remarks(call.files, path) if kind == "backup" else {})


def _remarks(files: Files, path: str) -> dict[str, Any]:
    """Return what was said of a backup: it lies in files beside it."""
    notes = {"notes": files.read(f"{path}.notes").decode()} if files.exists(f"{path}.notes") else {}
    return notes | ({"protected": 1} if files.exists(f"{path}.protected") else {})


def set_volume(call: Call) -> None:
    """PUT …/content/{volume}: say something of a backup, or protect it."""
    volid = _volid(call)
    section = storage_state.section_of(call.world, volid.partition(":")[0])
    need_volume(call, None, volid)
    kind = volume_names.parse(section, volid.partition(":")[2])[0]
    for name in [each for each in ("notes", "protected") if each in call.params]:
        if section["type"] != "dir":
            raise failure(f"attribute '{name}' is not supported for storage type '{section['type']}'")
        if kind != "backup":
            raise failure(
                "only backups can have notes" if name == "notes" else f"only backups support attribute '{name}'"
            )
        path = f"{storage_state.file_of(section, volid.partition(':')[2])}.{name}"
        if call[name]:
            call.files.write(path, str(call[name]).encode() if name == "notes" else b"")
        elif call.files.exists(path):
            call.files.remove(path)


def delete_volume(call: Call) -> str:
    """DELETE …/content/{volume}."""
    volid = _volid(call)
    storage = volid.partition(":")[0]
    section = storage_state.section_of(call.world, storage)
    kind, vmid = volume_names.parse(section, volid.partition(":")[2])
    vmid = backed_up(volid) if kind == "backup" else vmid
    if kind == "backup" and vmid:
        call.need(f"/storage/{storage}", "Datastore.AllocateSpace")
        call.need(f"/vms/{vmid}", "VM.Backup")
    else:
        call.need(f"/storage/{storage}", "Datastore.Allocate")
    call.failed = "" if call.get("delay") else None
    return call.start("imgdel", f"{vmid}@{storage}" if vmid else storage, 2.0, volid=volid)


def _end_delete(world: World, task: Document) -> None:
    volid = task["args"]["volid"]
    storage, _, volume = volid.partition(":")
    section = storage_state.need_on(world, storage, task["node"])
    storage_state.need_active(world, storage, section, task["node"])
    held = store(world, storage, task["node"])
    if section["type"] == "rbd" or owner(volid) is not None:
        if held.children(volid):
            raise TaskFailed(f"base volume '{volume}' is still in use by linked clones")
        if section["type"] == "rbd" and not held.exists(volid):
            raise TaskFailed(f"rbd error: error opening image {volume}: (2) No such file or directory")
        if not held.exists(volid):
            task["log"].append(f"disk image '{storage_state.file_of(section, volume)}' does not exist")
        held.free(volid)
    else:
        files, path = Files(world, task["node"]), storage_state.file_of(section, volume)
        if "protected" in _remarks(files, path):
            raise TaskFailed(f"cannot remove protected volume '{volume}' on '{storage}'")
        if not files.exists(path):
            task["log"].append(f"disk image '{path}' does not exist")
        for each in (path, f"{path}.notes"):
            if files.exists(each):
                files.remove(each)
    task["log"].append(f"Removed volume '{volid}'")


_STORAGE = "node:node storage:storage-id"
_ALLOCATE = f"{_STORAGE} filename:str size:disk-amount vmid:vmid format?:(raw|qcow2|subvol|vmdk)!size"
_CONTENT = "/nodes/{node}/storage/{storage}/content"
ROUTES = (
    Route("GET", _CONTENT, list_content, SEES_STORAGE, f"{_STORAGE} content?:storage-content vmid?:vmid", by=RECORDED),
    Route("POST", _CONTENT, allocate, perm("/storage/{storage}", "Datastore.AllocateSpace"), _ALLOCATE, by=SCHEMA),
    Route("GET", _CONTENT + "/{volume}", get_volume, everyone, "node:node volume:str storage?:storage-id", by=SCHEMA),
    Route(
        "PUT",
        _CONTENT + "/{volume}",
        set_volume,
        everyone,
        "node:node volume:str notes?:str protected?:bool storage?:storage-id",
        by=SCHEMA,
    ),
    Route(
        "DELETE",
        _CONTENT + "/{volume}",
        delete_volume,
        everyone,
        "node:node volume:str delay?:int[1..30] storage?:storage-id",
        by=RECORDED,
    ),
)
WORKS = {"imgdel": _end_delete}
