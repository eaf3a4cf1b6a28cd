"""Own the storage configuration (API: /storage) and each node's view of it (API: /nodes/{node}/storage)."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from lib.lab.files import Files
from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve import storage_state
from lib.lab.pve.access import forget_acls
from lib.lab.pve.answers import Refusal, failure, invalid
from lib.lab.pve.call import SEES_STORAGE, Call, Route, everyone, perm
from lib.lab.pve.formats import split_list
from lib.lab.pve.params import NEWEST, declared
from lib.lab.pve.readings import names, reading
from lib.lab.pve.rights import major
from lib.lab.world import Document, World

# Type → what it may hold, its own options, and which of them are required. They stay as they were made, but for the
# options that may be changed (`_CHANGEABLE` below).
_ALL = set(storage_state.FOLDERS)
_COMMON = {"content", "nodes", "disable", "shared", "bwlimit"}
_DIRECTORY = {"prune-backups", "max-protected-backups", "content-dirs", "mkdir", "create-base-path", "create-subdirs"}
_DIRECTORY |= {"format", "preallocation", "snapshot-as-volume-chain", "path"}
_KINDS: dict[str, tuple[set[str], str, str]] = {
    "dir": (_ALL, "is_mountpoint", "path"),
    "nfs": (_ALL, "options", "server export"),
    "cifs": (_ALL, "username password domain smbversion subdir options", "server share"),
    "cephfs": (_ALL - {"images", "rootdir"}, "monhost username keyring fuse options subdir fs-name", ""),
    "btrfs": (_ALL, "is_mountpoint nocow", "path"),
    "rbd": (
        {"images", "rootdir"},
        "pool monhost username krbd keyring namespace data-pool",
        "",
    ),
    "lvm": ({"images", "rootdir"}, "base saferemove saferemove-stepsize saferemove_throughput tagged_only", "vgname"),
    "lvmthin": ({"images", "rootdir"}, "", "thinpool vgname"),
    "zfspool": ({"images", "rootdir"}, "blocksize sparse mountpoint", "pool"),
    "iscsi": ({"images"}, "", "portal target"),
    "pbs": (
        {"backup"},
        """namespace port username password encryption-key master-pubkey fingerprint skip-cert-verification
        prune-backups max-protected-backups""",
        "server datastore",
    ),
}
# What is in the schema because other types may change it.
_KEPT: dict[str, tuple[str, ...]] = dict.fromkeys(("nfs", "cifs"), ("server", "snapshot-as-volume-chain"))
_KEPT |= {"dir": ("snapshot-as-volume-chain",), "pbs": ("server",), "zfspool": ("pool",)}
_WITH_FOLDERS = ("dir", "nfs", "cifs", "cephfs", "btrfs")


def _options(kind: str) -> set[str]:
    _, own, required = _KINDS[kind]
    return _COMMON | set(own.split()) | set(required.split()) | (_DIRECTORY if kind in _WITH_FOLDERS else set())


_FOLDERS = ("content", "download-url", "file-restore", "import-metadata", "prunebackups", "rrd", "rrddata", "status")
# Secrets live in files of their own and never in the configuration.
_HIDDEN = ("keyring", "password", "encryption-key", "master-pubkey")


def digest(world: World) -> str:
    """Return the digest of the whole storage configuration."""
    return hashlib.sha1(json.dumps(world.all("storage"), sort_keys=True).encode()).hexdigest()


def _shown(world: World, name: str, section: Document) -> dict[str, Any]:
    shown = {key: value for key, value in section.items() if key not in _HIDDEN}
    shown["content"] = ",".join(storage_state.contents(section))
    if section["type"] in storage_state.SHARED_TYPES:
        shown["shared"] = 1
    return shown | {"storage": name, "digest": digest(world)}


def list_storages(call: Call) -> list[dict[str, Any]]:
    """GET /storage: those that the caller may see."""
    return [
        _shown(call.world, name, section)
        for name, section in call.world.all("storage").items()
        if section["type"] == call.get("type", section["type"]) and _may_see(call, name)
    ]


def _may_see(call: Call, name: str) -> bool:
    return call.may(f"/storage/{name}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)


def get_storage(call: Call) -> dict[str, Any]:
    """GET /storage/{storage}."""
    return _shown(call.world, call["storage"], storage_state.section_of(call.world, call["storage"]))


def _checked(kind: str, given: Document, section: Document) -> Document:
    """Return a section with what is given put in, by the rules of its type. Raises Refusal."""
    held, _, required = _KINDS[kind]
    for name in given:
        if name not in _options(kind) | {"type"}:
            raise failure(f"unexpected property '{name}'")
    section = section | given
    for name in required.split():
        if name not in section:
            raise failure(f"missing value for required option '{name}'")
    if "content" in given:
        words = split_list(str(given["content"]))
        for word in words:
            if word not in held | {"none"}:
                raise failure(f"storage does not support content type '{word}'")
        section["content"] = ",".join(dict.fromkeys(words))
    if "nodes" in given:
        section["nodes"] = ",".join(dict.fromkeys(split_list(str(given["nodes"]))))
    return section


def _folder(path: str, version: int) -> str:
    """Return the path of a new storage, since 9 without what says nothing: slashes at its end, two together, `/./`."""
    if not re.fullmatch(r"/[-/a-zA-Z0-9_.@]+", path):
        raise failure(f"illegal path for directory storage: {path}")
    if version < 9:
        return path
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def create_storage(call: Call) -> dict[str, Any]:
    """POST /storage."""
    name, kind = call["storage"], call["type"]
    if kind not in _KINDS:
        raise failure(f"create storage failed: the lab has no storage of type '{kind}'")
    given = {
        key: value for key, value in call.params.items() if key != "storage" and not (key == "nodes" and not value)
    }
    section = _checked(kind, given, {})
    if kind in ("dir", "btrfs"):
        section["path"] = _folder(section["path"], major(call.world))
    if kind in _WITH_FOLDERS:
        section.setdefault("path", f"/mnt/pve/{name}")
    if call.world.get("storage", name) is not None:
        raise failure(f"create storage failed: storage ID '{name}' already defined")
    if storage_state.is_on(section, call.node) and not section.get("disable"):
        if kind == "dir":
            prepare_folders(call.world, call.node, section)
        problem = storage_state.inactive_reason(call.world, name, section, call.node)
        if problem and kind != "rbd":  # is not asked for while it is not used
            raise failure(f"create storage failed: {problem}")
    call.world.put("storage", name, section)
    _activate_everywhere(call.world, section)
    return {"storage": name, "type": kind}


def _flag(section: Document, name: str) -> bool:
    """Read a switch that took over from `mkdir`."""
    value = section[name] if name in section else section.get("mkdir", 1)
    return bool(int(value or 0))


def prepare_folders(world: World, node: str, section: Document) -> None:
    """Make the folders of a directory storage on a node, as its activation does."""
    files, where = Files(world, node), storage_state.mount_point(section)
    if where and not files.is_mounted(where):
        return
    if _flag(section, "create-base-path"):
        files.mkdir(section["path"], parents=True)
    if files.is_dir(section["path"]) and _flag(section, "create-subdirs"):
        for content in storage_state.contents(section):
            if content in storage_state.FOLDERS:
                files.mkdir(storage_state.folder(section, content), parents=True)


def _activate_everywhere(world: World, section: Document) -> None:
    """Do on every node of a directory storage what pvestatd does there within seconds, whichever node was asked."""
    if section["type"] == "dir" and not section.get("disable"):
        for node in world.keys("node"):
            if storage_state.is_on(section, node):
                prepare_folders(world, node, section)


def update_storage(call: Call) -> dict[str, Any]:
    """PUT /storage/{storage}."""
    name, prefix = call["storage"], "update storage failed: "
    if call.get("digest") not in (None, digest(call.world)):
        raise failure(f"{prefix}detected modified configuration - file changed by other user? Try again.")
    section = call.world.get("storage", name)
    if section is None:
        raise failure(f"{prefix}storage '{name}' does not exist")
    given = {key: value for key, value in call.params.items() if key not in ("storage", "delete", "digest")}
    try:
        for option in given:
            if option in _KEPT.get(section["type"], ()):
                raise failure(f"can't change value of fixed parameter '{option}'")
        changed = _checked(section["type"], given, section)
        removed = split_list(call.get("delete", ""))
        _need_deletable(section["type"], removed, given)
        section = {key: value for key, value in changed.items() if key not in removed}
    except Refusal as refusal:
        raise failure(f"{prefix}{refusal.message}") from None
    call.world.put("storage", name, section)
    _activate_everywhere(call.world, section)
    return {"storage": name, "type": section["type"]}


def _need_deletable(kind: str, removed: list[str], given: Document) -> None:
    changeable = declared(_CHANGEABLE, NEWEST)
    for option in removed:
        if option not in _options(kind):
            raise failure(f"no such option '{option}'")
        if option in _KINDS[kind][2].split():
            raise failure(f"unable to delete required option '{option}'")
        if option not in changeable or option in _KEPT.get(kind, ()):
            raise failure(f"unable to delete fixed option '{option}'")
        if option in given:
            raise failure(f"cannot set and delete property '{option}' at the same time!")


def delete_storage(call: Call) -> None:
    """DELETE /storage/{storage}: the configuration and the rights on it; the data stay."""
    name = call["storage"]
    if call.world.get("storage", name) is None:
        raise failure(f"delete storage failed: storage '{name}' does not exist")
    call.world.delete("storage", name)
    forget_acls(call.world, path=f"/storage/{name}")
    for pool, document in call.world.all("pool").items():
        kept = [each for each in document.get("storages", []) if each != name]
        call.world.put("pool", pool, document | {"storages": kept})


# ---------------------------------------------------------------- on a node


def node_storages(call: Call) -> list[dict[str, Any]]:
    """GET /nodes/{node}/storage: every storage, used on the node or not; of a wanted content those that are."""
    wanted = split_list(call.get("content", ""))
    known = {
        name: section
        for name, section in call.world.all("storage").items()
        if not wanted
        or (storage_state.is_enabled(section, call.node) and set(wanted) & set(storage_state.contents(section)))
    }
    if call.get("storage") and call["storage"] not in known:
        raise invalid(storage="No such storage.")
    target = call.get("target")
    found = []
    for name, section in known.items():
        if not _may_see(call, name) or call.get("storage", name) != name:
            continue
        if call.get("enabled") and section.get("disable"):
            continue
        if target not in (None, call.node, "localhost") and not (
            storage_state.is_shared(section) and all(storage_state.is_on(section, each) for each in (call.node, target))
        ):
            continue
        entry = storage_state.status(call.world, name, section, call.node) | {"storage": name}
        if call.get("format") and entry["enabled"]:
            entry |= _formats(section, major(call.world))
        if entry["total"]:
            entry["used_fraction"] = entry["used"] / entry["total"]
        found.append(entry)
    return found


def _formats(section: Document, version: int) -> dict[str, Any]:
    """Return which formats disks may have there: as a pair, and since 9 by name, too."""
    known = ["qcow2", "raw", "subvol", "vmdk"] if section["type"] in ("dir", "nfs", "cifs") else ["raw"]
    default = section.get("format", "raw")
    if version < 9:
        return {"format": [dict.fromkeys(known, 1), "raw"]} if len(known) > 1 else {}
    by_name = {"formats": {"supported": known, "default": default}}
    return by_name | {"format": [dict.fromkeys(known, 1), default]}


def node_status(call: Call) -> dict[str, Any]:
    """GET /nodes/{node}/storage/{storage}/status."""
    section = call.world.get("storage", call["storage"])
    if section is None:
        raise invalid(storage="No such storage.")
    return storage_state.status(call.world, call["storage"], section, call.node)


def _below(call: Call) -> list[dict[str, str]]:
    """GET /nodes/{node}/storage/{storage}."""
    since_9 = ["oci-registry-pull"] if major(call.world) >= 9 else []
    return names("subdir", *sorted([*_FOLDERS, "upload", *since_9]))


_TYPES = "btrfs|cephfs|cifs|dir|esxi|iscsi|iscsidirect|lvm|lvmthin|nfs|pbs|rbd|zfs|zfspool"
_OF_TYPE = f"type:({_TYPES.replace('esxi', 'esxi|glusterfs')})@8 type:({_TYPES})@9"
_CHANGEABLE = """blocksize?:str@8 blocksize?:storage-zfs-blocksize@9 bwlimit?:{bwlimit} comstar_hg?:str
comstar_tg?:str content?:storage-content-list content-dirs?:dir-override-list create-base-path?:bool
create-subdirs?:bool data-pool?:str disable?:bool domain?:str<..256> encryption-key?:str fingerprint?:fingerprint
format?:(raw|qcow2|subvol|vmdk) fs-name?:configid fuse?:bool is_mountpoint?:str keyring?:str krbd?:bool lio_tpg?:str
master-pubkey?:str max-protected-backups?:int[-1..] mkdir?:bool monhost?:storage-portal-dns-list
mountpoint?:storage-path namespace?:str nocow?:bool nodes?:node-list nowritecache?:bool options?:storage-options
password?:str<..256> pool?:str port?:int[1..65535] preallocation?:(off|metadata|falloc|full)
prune-backups?:{prune-backups} maxfiles?:int[0..]@8 saferemove?:bool saferemove-stepsize?:int(1|2|4|8|16|32)@9
saferemove_throughput?:str server?:storage-server server2?:storage-server!server@8 transport?:(tcp|rdma|unix)@8
shared?:bool skip-cert-verification?:bool smbversion?:(default|2.0|2.1|3|3.0|3.11) snapshot-as-volume-chain?:bool@9
sparse?:bool subdir?:storage-path tagged_only?:bool username?:str zfs-base-path?:storage-path@9"""
_FIXED = """authsupported?:str base?:volume-id datastore?:str export?:storage-path iscsiprovider?:str
path?:storage-path portal?:storage-portal-dns share?:str target?:str thinpool?:storage-vgname vgname?:storage-vgname
volume?:str@8"""
_ALLOCATE = perm("/storage", "Datastore.Allocate")
_ON_NODE = "node:node storage:storage-id"
ROUTES = (
    Route("GET", "/storage", list_storages, everyone, _OF_TYPE.replace("type:", "type?:"), by=RECORDED),
    Route(
        "POST",
        "/storage",
        create_storage,
        _ALLOCATE,
        f"storage:storage-id {_OF_TYPE} {_CHANGEABLE} {_FIXED}",
        by=RECORDED,
    ),
    Route(
        "GET",
        "/storage/{storage}",
        get_storage,
        perm("/storage/{storage}", "Datastore.Allocate"),
        "storage:storage-id",
        by=RECORDED,
    ),
    Route(
        "PUT",
        "/storage/{storage}",
        update_storage,
        _ALLOCATE,
        f"storage:storage-id delete?:configid-list<..4096> digest?:str<..64> {_CHANGEABLE}",
        by=RECORDED,
    ),
    Route("DELETE", "/storage/{storage}", delete_storage, _ALLOCATE, "storage:storage-id", by=SCHEMA),
    Route(
        "GET",
        "/nodes/{node}/storage",
        node_storages,
        everyone,
        "node:node content?:storage-content-list enabled?:bool format?:bool storage?:storage-id target?:node",
        by=RECORDED,
    ),
    reading("/nodes/{node}/storage/{storage}", _below, SCHEMA, SEES_STORAGE, _ON_NODE),
    Route("GET", "/nodes/{node}/storage/{storage}/status", node_status, SEES_STORAGE, _ON_NODE, by=RECORDED),
)
