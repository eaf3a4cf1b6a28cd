"""Own what a storage section means: where it is, whether it is active, how full, what it may hold, where its files lie.

Creating and changing sections is in storages.py, the volumes on them in volume_stores.py.
"""

from __future__ import annotations

from typing import Any

from lib.lab.files import Files
from lib.lab.pve.answers import Refusal, failure
from lib.lab.pve.params import FALSE, TRUE
from lib.lab.world import Document, World

# Content type → folder of a directory storage.
FOLDERS = {
    "iso": "template/iso",
    "vztmpl": "template/cache",
    "snippets": "snippets",
    "import": "import",
    "backup": "dump",
    "images": "images",
    "rootdir": "private",
}
SHARED_TYPES = ("rbd", "cephfs", "nfs", "cifs", "pbs", "iscsi", "iscsidirect", "zfs")
# What a storage holds whose configuration does not say (PVE::Storage::Plugin, plugindata).
_HELD = {"dir": "images,rootdir", "btrfs": "images,rootdir", "lvmthin": "images,rootdir", "zfspool": "images,rootdir"}
_HELD |= {"cephfs": "backup", "pbs": "backup", "esxi": "import"}


def section_of(world: World, name: str) -> Document:
    """Return a storage's section. Raises Refusal."""
    found = world.get("storage", name)
    if found is None:
        raise failure(f"storage '{name}' does not exist")
    return found


def contents(section: Document) -> list[str]:
    """Return the content types that a storage may hold."""
    return [word for word in str(section.get("content") or _HELD.get(section["type"], "images")).split(",") if word]


def is_on(section: Document, node: str) -> bool:
    """Tell whether the storage is meant for the node."""
    nodes = [name for name in str(section.get("nodes", "")).split(",") if name]
    return not nodes or node in nodes


def is_enabled(section: Document, node: str) -> bool:
    """Tell whether the storage is used on the node: it is not disabled, and meant for it."""
    return not section.get("disable") and is_on(section, node)


def is_shared(section: Document) -> bool:
    """Tell whether every node sees the same volumes."""
    return section["type"] in SHARED_TYPES or bool(int(section.get("shared", 0)))


def need_on(world: World, name: str, node: str) -> Document:
    """Return the section of a storage that is enabled and available on the node. Raises Refusal."""
    section = section_of(world, name)
    if section.get("disable"):
        raise failure(f"storage '{name}' is disabled")
    if not is_on(section, node):
        raise failure(f"storage '{name}' is not available on node '{node}'")
    return section


def need_active(world: World, name: str, section: Document, node: str) -> None:
    """Refuse where the storage cannot be used on the node at the moment."""
    problem = inactive_reason(world, name, section, node)
    if problem:
        raise failure(problem)


def inactive_reason(world: World, name: str, section: Document, node: str) -> str:
    """Return why a storage is not active on a node; empty if it is."""
    if section["type"] == "rbd":
        if section.get("pool", "rbd") not in (world.get("meta", "ceph") or {}).get("pools", []):
            return f"rbd error: rbd: couldn't connect to the cluster! (storage '{name}')"
        return ""
    if section["type"] in ("lvm", "lvmthin"):
        return f"no such volume group '{section['vgname']}'"
    if section["type"] == "zfspool":
        pool = section["pool"].partition("/")[0]
        return f"could not activate storage '{name}', zfs error: cannot import '{pool}': no such pool available\n"
    if section["type"] == "pbs":
        place, why = f"{section['server']}:{section.get('port', 8007)}", "Connection timed out"
        return f"{name}: error fetching datastores - 500 Can't connect to {place} ({why})"
    if section["type"] != "dir":
        return f"storage '{name}' is not online"
    files, path, where = Files(world, node), section["path"], mount_point(section)
    if where and not files.is_mounted(where):
        why = f"directory is expected to be a mount point but is not mounted: '{where}'"
        return f"unable to activate storage '{name}' - {why}"
    if not files.is_dir(path):
        return f"unable to activate storage '{name}' - directory '{path}' does not exist or is unreachable"
    return ""


def mount_point(section: Document) -> str:
    """Return where something has to be mounted for a directory storage: at its path, or at one that is named, or ""."""
    word = str(section.get("is_mountpoint", "no"))
    return "" if word.lower() in FALSE else section["path"] if word.lower() in TRUE else word


# -------------------------------------------------------------------- usage


def root_usage(world: World, node: str) -> tuple[int, int]:
    """Return size and used bytes of a node's root filesystem."""
    return Files(world, node).usage("/")


def ceph_usage(world: World) -> tuple[int, int]:
    """Return raw size and raw used bytes of the Ceph cluster, guests' disks included."""
    ceph = world.get("meta", "ceph") or {}
    stored = sum(int(image.get("used", 0)) for image in world.all("rbd").values())
    return int(ceph["bytes_total"]), int(ceph["bytes_used"]) + stored * int(ceph.get("replicas", 3))


def no_ceph() -> Refusal:
    """Return what a node without Ceph says."""
    return failure("binary not installed: /usr/bin/ceph-mon")


def usage(world: World, name: str, section: Document, node: str) -> tuple[bool, int, int]:
    """Return whether the storage is active, its size and used bytes as the node sees them."""
    if not is_enabled(section, node) or inactive_reason(world, name, section, node):
        return False, 0, 0
    if section["type"] == "rbd":
        total, used = ceph_usage(world)
        replicas = int((world.get("meta", "ceph") or {}).get("replicas", 3))
        return True, total // replicas, used // replicas
    total, used = Files(world, node).usage(section["path"])
    return True, total, used


def status(world: World, name: str, section: Document, node: str) -> dict[str, Any]:
    """Return a storage's state as /nodes/{node}/storage/{storage}/status shows it."""
    active, total, used = usage(world, name, section, node)
    return {
        "active": int(active),
        "avail": total - used,
        "content": ",".join(contents(section)),
        "enabled": int(is_enabled(section, node)),
        "shared": int(is_shared(section)),
        "total": total,
        "type": section["type"],
        "used": used,
    }


def resource(world: World, name: str, section: Document, node: str, up: bool) -> dict[str, Any]:
    """Return a storage on a node as /cluster/resources shows it."""
    entry: dict[str, Any] = {
        "content": ",".join(contents(section)),
        "id": f"storage/{node}/{name}",
        "node": node,
        "plugintype": section["type"],
        "shared": int(is_shared(section)),
        "storage": name,
        "type": "storage",
    }
    active, total, used = usage(world, name, section, node) if up else (False, 0, 0)
    if not active:
        return entry | {"status": "unknown"}
    return entry | {"status": "available", "disk": used, "maxdisk": total}


def folder(section: Document, content: str) -> str:
    """Return the folder of a content type in a directory storage."""
    return f"{section['path'].rstrip('/')}/{FOLDERS[content]}"


def file_of(section: Document, volume: str) -> str:
    """Return the path of a volume (the part after `STORAGE:`) of a directory storage."""
    base = section["path"].rstrip("/")
    parts = volume.split("/")
    if parts[0] in FOLDERS and parts[0] != "images":
        return f"{base}/{FOLDERS[parts[0]]}/{'/'.join(parts[1:])}"
    # A linked clone's volume id begins with its base: BASE_VMID/BASE_NAME/VMID/NAME.
    return f"{base}/images/{'/'.join(parts[-2:])}"
