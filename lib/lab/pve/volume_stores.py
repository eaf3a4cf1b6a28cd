"""Own the disks of guests on the two kinds of storage: files of a directory storage, RBD images of a pool.

Both kinds answer the same calls. A volume id is `STORAGE:NAME`; what one holds beyond its
size (packages in the image, machine-id …) travels along as `facts`.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import secrets
from typing import Any

from lib.lab.files import Files
from lib.lab.pve import storage_state
from lib.lab.pve.tasks import TaskFailed
from lib.lab.world import Document, World

FEATURES = ["layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"]
CLOUDINIT_BYTES = 4 << 20
_BACKUP = re.compile(r"vzdump-\w+-(\d+)-")
_OWNER = re.compile(r"(?:vm|base)-(\d+)-")


def owner(volid: str) -> int | None:
    """Return the VM id in a volume's name."""
    match = _OWNER.match(volid.rpartition("/")[2].rpartition(":")[2])
    return int(match[1]) if match else None


def is_base(volid: str) -> bool:
    """Tell whether a volume is the base of linked clones; a linked clone only has the name of one in its own."""
    return volid.rpartition("/")[2].rpartition(":")[2].startswith("base-")


def backed_up(volume: str) -> int | None:
    """Return the VM id in a backup's name, if it is one that vzdump gives."""
    match = _BACKUP.match(volume.rpartition("/")[2])
    return int(match[1]) if match else None


def format_size(size: int) -> str:
    """Return a size as configurations have it: the largest unit that divides it, up to T."""
    for unit in ("", "K", "M", "G"):
        if size % 1024 or not size:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}T"


class DirectoryStore:
    """Disks as files `images/VMID/vm-VMID-disk-N.FORMAT`."""

    formats = ("raw", "qcow2", "vmdk")

    def __init__(self, world: World, name: str, section: Document, node: str) -> None:
        self._files = Files(world, node)
        self._name = name
        self._section = section

    def _path(self, volid: str) -> str:
        return storage_state.file_of(self._section, volid.partition(":")[2])

    def _folder(self, vmid: int | str) -> str:
        return f"{storage_state.folder(self._section, 'images')}/{vmid}"

    def exists(self, volid: str) -> bool:
        """Tell whether the volume is there."""
        return self._files.exists(self._path(volid))

    def _free_number(self, vmid: int) -> int:
        names = self._names(vmid)
        return next(n for n in range(1000) if not any(f"-{vmid}-disk-{n}." in name for name in names))

    def _names(self, vmid: int | str) -> list[str]:
        folder = self._folder(vmid)
        return self._files.listdir(folder) if self._files.is_dir(folder) else []

    def allocate(
        self, vmid: int, size: int, kind: str = "disk", format: str = "", used: int = 0, facts: Any = None
    ) -> str:
        """Make a new disk and return its volume id."""
        suffix = format or ("qcow2" if kind == "cloudinit" else self._section.get("format", "raw"))
        stem = f"vm-{vmid}-cloudinit" if kind == "cloudinit" else f"vm-{vmid}-disk-{self._free_number(vmid)}"
        volid = f"{self._name}:{vmid}/{stem}.{suffix}"
        if self.exists(volid):
            raise TaskFailed(f"disk image '{self._path(volid)}' already exists")
        self._write(volid, size, suffix, used, dict(facts or {}))
        return volid

    def make(self, volid: str, size: int, format: str) -> None:
        """Make an empty disk of that name."""
        self._write(volid, size, format, 0, {})

    def _write(self, volid: str, size: int, format: str, used: int, facts: Document) -> None:
        path = self._path(volid)
        facts = facts | {"format": format, "virtual_size": size}
        digest = hashlib.sha256(f"{volid} {secrets.token_hex(8)}".encode()).hexdigest()
        try:
            self._files.mkdir(posixpath.dirname(path), parents=True)
            self._files.put_synthetic(path, used or min(size, 256 << 10), digest, facts)
        except OSError as error:
            raise TaskFailed(f"unable to create image: {error.strerror}") from None

    def facts(self, volid: str) -> Document:
        """Return what is known of the disk: format, virtual_size, parent, and what is in it."""
        try:
            found = self._files.stat(self._path(volid))
        except OSError:
            raise TaskFailed(f"volume '{volid}' does not exist") from None
        facts: Document = {"format": volid.rpartition(".")[2], "virtual_size": found["size"]} | found.get("facts", {})
        return facts | {"used": found["size"]}

    def resize(self, volid: str, size: int) -> None:
        """Grow the disk."""
        path = self._path(volid)
        self._files.change(path, facts=self._files.stat(path)["facts"] | {"virtual_size": size})

    def to_base(self, volid: str) -> str:
        """Turn the disk into the base of linked clones; its name changes."""
        new = volid.replace("/vm-", "/base-")
        self._files.rename(self._path(volid), self._path(new))
        return new

    def linked(self, volid: str, vmid: int) -> str:
        """Make a linked clone of a base disk."""
        facts = self.facts(volid)
        number = self._free_number(vmid)
        base = volid.partition(":")[2].split("/")[-2:]
        new = f"{self._name}:{'/'.join(base)}/{vmid}/vm-{vmid}-disk-{number}.qcow2"
        parent = {"parent": f"../{'/'.join(base)}"}
        self._write(new, facts["virtual_size"], "qcow2", 256 << 10, facts | parent)
        return new

    def children(self, volid: str) -> list[str]:
        """Return the linked clones of a base disk."""
        parent = "../" + "/".join(volid.partition(":")[2].split("/")[-2:])
        return [each["volid"] for each in self.images() if each.get("parent") == parent]

    def free(self, volid: str) -> None:
        """Remove the disk."""
        path = self._path(volid)
        if self._files.exists(path):
            self._files.remove(path)
            folder = posixpath.dirname(path)
            if not self._files.listdir(folder):
                self._files.rmdir(folder)

    def images(self) -> list[dict[str, Any]]:
        """Return every disk as content listings show it."""
        found = []
        top = storage_state.folder(self._section, "images")
        for vmid in self._files.listdir(top) if self._files.is_dir(top) else []:
            found += [self._entry(vmid, name) for name in self._names(vmid)]
        return found

    def _entry(self, vmid: str, name: str) -> dict[str, Any]:
        stat = self._files.stat(f"{self._folder(vmid)}/{name}")
        facts = stat.get("facts", {})
        parent = facts.get("parent")
        stem = f"{parent.removeprefix('../')}/" if parent else ""
        return {
            "content": "images",
            "ctime": int(stat["mtime"]),
            "format": facts.get("format", name.rpartition(".")[2]),
            "parent": parent,
            "size": facts.get("virtual_size", stat["size"]),
            "used": stat["size"],
            "vmid": int(vmid),
            "volid": f"{self._name}:{stem}{vmid}/{name}",
        }


class RbdStore:
    """Disks as RBD images `vm-VMID-disk-N` of a pool."""

    formats = ("raw",)

    def __init__(self, world: World, name: str, section: Document, node: str) -> None:
        self._world = world
        self._files = Files(world, node)
        self._name = name
        self._pool = section.get("pool", "rbd")

    def _key(self, volid: str) -> str:
        return f"{self._pool}/{volid.partition(':')[2].rpartition('/')[2]}"

    def _image(self, volid: str) -> Document:
        found = self._world.get("rbd", self._key(volid))
        if found is None:
            name = self._key(volid).partition("/")[2]
            raise TaskFailed(f"rbd error: rbd: error opening image {name}: (2) No such file or directory")
        return found

    def exists(self, volid: str) -> bool:
        """Tell whether the volume is there."""
        return self._world.get("rbd", self._key(volid)) is not None

    def _free_name(self, vmid: int) -> str:
        taken = set(self._world.keys("rbd"))
        numbers = (n for n in range(1000) if not {f"{self._pool}/{k}-{vmid}-disk-{n}" for k in ("vm", "base")} & taken)
        return f"vm-{vmid}-disk-{next(numbers)}"

    def allocate(
        self, vmid: int, size: int, kind: str = "disk", format: str = "", used: int = 0, facts: Any = None
    ) -> str:
        """Make a new image and return its volume id."""
        name = f"vm-{vmid}-cloudinit" if kind == "cloudinit" else self._free_name(vmid)
        if self._world.get("rbd", f"{self._pool}/{name}") is not None:
            raise TaskFailed(f"rbd create '{name}' error: rbd: create error: (17) File exists")
        if used:  # something is copied into it
            try:
                self._files.need_space(f"{self._pool}/{name}")
            except OSError as error:
                raise TaskFailed(f"copy failed: qemu-img: error while writing at byte 0: {error.strerror}") from None
        kept = {key: value for key, value in dict(facts or {}).items() if key not in ("format", "virtual_size", "used")}
        self._put(name, {"size": size, "used": used, "facts": kept})
        return f"{self._name}:{name}"

    def make(self, volid: str, size: int, format: str) -> None:
        """Make an empty image of that name."""
        self._put(volid.partition(":")[2], {"size": size, "used": 0, "facts": {}})

    def _put(self, name: str, image: Document) -> None:
        fresh = {"features": FEATURES, "id": secrets.token_hex(6), "fs": None}
        self._world.put("rbd", f"{self._pool}/{name}", fresh | image)

    def facts(self, volid: str) -> Document:
        """Return what is known of the disk: format, virtual_size, parent, and what is in it."""
        image = self._image(volid)
        known = {"format": "raw", "virtual_size": image["size"], "used": image.get("used", 0)}
        return dict(image.get("facts", {})) | known

    def resize(self, volid: str, size: int) -> None:
        """Grow the image."""
        self._world.put("rbd", self._key(volid), self._image(volid) | {"size": size})

    def to_base(self, volid: str) -> str:
        """Turn the image into the base of linked clones; its name changes."""
        image = self._image(volid)
        new = volid.replace(":vm-", ":base-").replace("/vm-", "/base-")
        self._world.delete("rbd", self._key(volid))
        self._world.put("rbd", self._key(new), image | {"snapshots": [*image.get("snapshots", []), "__base__"]})
        return new

    def linked(self, volid: str, vmid: int) -> str:
        """Make a linked clone of a base image."""
        image, name = self._image(volid), self._free_name(vmid)
        parent = f"{self._key(volid)}@__base__"
        self._put(name, {"size": image["size"], "used": 0, "facts": image.get("facts", {}), "parent": parent})
        return f"{self._name}:{self._key(volid).partition('/')[2]}/{name}"

    def children(self, volid: str) -> list[str]:
        """Return the linked clones of a base image."""
        stem = self._key(volid) + "@"
        return [name for name, image in self._world.all("rbd").items() if str(image.get("parent", "")).startswith(stem)]

    def free(self, volid: str) -> None:
        """Remove the image."""
        self._world.delete("rbd", self._key(volid))

    def images(self) -> list[dict[str, Any]]:
        """Return every guest's image as content listings show it; other images are nobody's."""
        found = []
        for key, image in self._world.all("rbd").items():
            pool, _, name = key.partition("/")
            vmid = owner(name)
            if pool != self._pool or vmid is None:
                continue
            parent = str(image.get("parent", "")).partition("/")[2]
            stem = f"{parent.partition('@')[0]}/" if parent else ""
            entry = {"content": "images", "format": "raw", "size": image["size"], "vmid": vmid}
            found.append(entry | {"parent": parent or None, "volid": f"{self._name}:{stem}{name}"})
        return found


Store = DirectoryStore | RbdStore


def store_of(world: World, volid: str, node: str) -> Store:
    """Return the store that a volume lies in, as seen from a node. Raises TaskFailed."""
    return store(world, volid.partition(":")[0], node)


def store(world: World, name: str, node: str) -> Store:
    """Return the store behind a storage as seen from a node. Raises TaskFailed where it has no disks."""
    section = world.get("storage", name)
    if section is None:
        raise TaskFailed(f"storage '{name}' does not exist")
    problem = storage_state.inactive_reason(world, name, section, node)
    if problem:
        raise TaskFailed(problem)
    return (RbdStore if section["type"] == "rbd" else DirectoryStore)(world, name, section, node)
