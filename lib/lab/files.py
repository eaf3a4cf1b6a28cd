"""Own the files of the simulated hosts: one view of a host's tree that honours what is mounted where.

A host's root filesystem and the filesystem on an RBD image are kept apart: an image
that is mounted elsewhere shows the same files there. What a program prints about
files is not here but in lib/lab/programs/.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import posixpath
import stat
import time
from typing import Any

from lib.lab.faults import Faults
from lib.lab.world import Document, World

KEPT = 1 << 20  # bytes up to which a file's content is kept; of a bigger one only size and digest are
ROOT_BYTES = 94 << 30
TYPES = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK, "block": stat.S_IFBLK}


def filesystem_of(image: str) -> str:
    """Return the filesystem id of an RBD image, named `pool/image`."""
    return f"rbd:{image}"


def make_filesystem(world: World, fsid: str, now: float | None = None) -> None:
    """Start a filesystem anew: its root and lost+found, nothing else."""
    erase_filesystem(world, fsid)
    world.put("file", f"{fsid}:/", _directory(0o755, now))
    if fsid.startswith("rbd:"):
        world.put("file", f"{fsid}:/lost+found", _directory(0o700, now))


def erase_filesystem(world: World, fsid: str) -> None:
    """Forget every file of a filesystem."""
    for key in world.keys("file"):
        if key.startswith(f"{fsid}:/"):
            world.delete("file", key)


def _directory(mode: int, now: float | None = None) -> Document:
    return {"type": "dir", "mode": mode, "uid": 0, "size": 4096, "mtime": now or time.time(), "facts": {}}


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class Files:
    """One host's files. Every method takes an absolute path and raises the OSError that Linux would."""

    def __init__(self, world: World, node: str) -> None:
        self._world = world
        self.node = node

    # ------------------------------------------------------------- where

    def mounts(self) -> dict[str, Document]:
        """Return what is mounted: target → source, fstype, options; the root filesystem is not listed."""
        return dict((self._world.peek("host", self.node) or {}).get("mounts", {}))

    def is_mounted(self, path: str) -> bool:
        """Tell whether a filesystem is mounted at exactly this path."""
        return posixpath.normpath(path) in self.mounts()

    def place(self, path: str) -> tuple[str, str]:
        """Return the filesystem id and the path inside it."""
        path = _absolute(path)
        best, fsid = "", self.node
        host = self._world.peek("host", self.node) or {}
        for target, mount in host.get("mounts", {}).items():
            if (path == target or path.startswith(target.rstrip("/") + "/")) and len(target) > len(best):
                best = target
                mapped = host.get("mapped", {}).get(mount["source"])
                fsid = filesystem_of(f"{mapped['pool']}/{mapped['image']}") if mapped else f"{self.node}-{target}"
        return fsid, "/" + path[len(best) :].lstrip("/") if best else path

    def _key(self, path: str) -> str:
        fsid, inside = self.place(path)
        return f"{fsid}:{inside}"

    def resolve(self, path: str, follow: bool = True) -> str:
        """Return the path with its symbolic links followed (the last component only if `follow`)."""
        parts = [part for part in _absolute(path).split("/") if part]
        done, hops = "", 0
        while parts:
            part = parts.pop(0)
            here = self._world.peek("file", self._key(f"{done}/{part}"))
            if here is None or here["type"] != "link" or (not parts and not follow):
                done = f"{done}/{part}"
                continue
            hops += 1
            if hops > 20:
                raise _error(errno.ELOOP, path)
            target = posixpath.normpath(posixpath.join(done or "/", here["target"]))
            parts = [each for each in target.split("/") if each] + parts
            done = ""
        return done or "/"

    # -------------------------------------------------------------- read

    def stat(self, path: str, follow: bool = True) -> Document:
        """Return the file's document: type, mode, uid, size (bytes), mtime, sha256, facts."""
        resolved = self.resolve(path, follow)
        found = self._world.get("file", self._key(resolved))
        if found is not None:
            return found
        self._need_directory(posixpath.dirname(resolved), path)
        raise _error(errno.ENOENT, path)

    def exists(self, path: str) -> bool:
        """Tell whether there is anything at the path."""
        return self._found(path) is not None

    def is_dir(self, path: str) -> bool:
        """Tell whether the path is a directory."""
        found = self._found(path)
        return found is not None and found["type"] == "dir"

    def _found(self, path: str) -> Document | None:
        try:
            return self._world.peek("file", self._key(self.resolve(path)))
        except OSError:
            return None

    def mode(self, path: str, follow: bool = True) -> int:
        """Return the full st_mode, type bits included."""
        found = self.stat(path, follow)
        return TYPES[found["type"]] | int(found["mode"])

    def read(self, path: str) -> bytes:
        """Return a file's content; a synthetic file has none and reads as EIO."""
        found = self.stat(path)
        if found["type"] == "dir":
            raise _error(errno.EISDIR, path)
        if found.get("data") is None:
            raise _error(errno.EIO, path)
        return base64.b64decode(found["data"])

    def readlink(self, path: str) -> str:
        """Return what a symbolic link points to."""
        found = self.stat(path, follow=False)
        if found["type"] != "link":
            raise _error(errno.EINVAL, path)
        return str(found["target"])

    def listdir(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        resolved = self.resolve(path)
        if self.stat(resolved)["type"] != "dir":
            raise _error(errno.ENOTDIR, path)
        stem = self._key(resolved).rstrip("/") + "/"
        names = {key[len(stem) :] for key in self._world.keys("file") if key.startswith(stem)}
        return sorted(name for name in names if name and "/" not in name)

    def usage(self, path: str) -> tuple[int, int]:
        """Return size and used bytes of the filesystem that the path is on."""
        fsid, _ = self.place(self.resolve(path))
        image = self._world.get("rbd", fsid.removeprefix("rbd:")) if fsid.startswith("rbd:") else None
        total = int(image["size"] * 0.979) if image else ROOT_BYTES
        return total, (24 << 10 if image else 3 << 30) + self._world.file_bytes(fsid)

    # ------------------------------------------------------------- write

    def need_space(self, path: str) -> None:
        """Raise ENOSPC where a fault says that there is none for this path; whatever writes asks here."""
        machine = self._world.peek("node", self.node) or self._world.peek("nameserver", self.node) or {}
        address = machine.get("address", "")
        if Faults(self._world).take("disk-full", f"{self.node} {address} {path}"):
            raise _error(errno.ENOSPC, path)

    def write(self, path: str, data: bytes, mode: int | None = None, facts: dict[str, Any] | None = None) -> None:
        """Create or replace a file; a new one has mode 0644 unless told, an old one keeps its own."""
        digest = hashlib.sha256(data).hexdigest()
        kept = base64.b64encode(data).decode() if len(data) <= KEPT else None
        self._put(path, {"size": len(data), "sha256": digest, "data": kept, "facts": facts or {}}, mode)

    def put_synthetic(self, path: str, size: int, sha256: str, facts: dict[str, Any] | None = None) -> None:
        """Create or replace a big file of which only size and digest are known."""
        self._put(path, {"size": size, "sha256": sha256, "data": None, "facts": facts or {}}, None)

    def _put(self, path: str, content: Document, mode: int | None) -> None:
        resolved = self.resolve(path)
        self._need_directory(posixpath.dirname(resolved), path)
        key = self._key(resolved)
        before = self._world.get("file", key)
        if before is not None and before["type"] == "dir":
            raise _error(errno.EISDIR, path)
        if content["size"]:  # an empty file has its place even on a full disk
            self.need_space(resolved)
        if content["size"] > KEPT:
            total, used = self.usage(resolved)
            if used - (before or {}).get("size", 0) + content["size"] > total:
                raise _error(errno.ENOSPC, path)
        kept_mode = before["mode"] if before else 0o644
        owner = {"type": "file", "mode": kept_mode if mode is None else mode, "uid": 0, "mtime": time.time()}
        self._world.put("file", key, owner | content)

    def set_facts(self, path: str, sha256: str, facts: dict[str, Any]) -> None:
        """Say that an image file was changed in place: new digest, new facts."""
        key = self._key(self.resolve(path))
        found = self.stat(path)
        self.need_space(path)
        self._world.put("file", key, found | {"sha256": sha256, "facts": facts, "mtime": time.time(), "data": None})

    def mkdir(self, path: str, mode: int = 0o755, parents: bool = False) -> None:
        """Make a directory; with `parents` also those above it, and an existing one is fine."""
        resolved = self.resolve(path)
        if self.exists(resolved):
            if parents and self.is_dir(resolved):
                return
            raise _error(errno.EEXIST, path)
        above = posixpath.dirname(resolved)
        if parents:
            self.mkdir(above, mode, parents=True)
        self._need_directory(above, path)
        self.need_space(resolved)
        self._world.put("file", self._key(resolved), _directory(mode))

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link at `path`."""
        resolved = self.resolve(path, follow=False)
        self._need_directory(posixpath.dirname(resolved), path)
        if self._world.get("file", self._key(resolved)) is not None:
            raise _error(errno.EEXIST, path)
        link = {"type": "link", "mode": 0o777, "uid": 0, "size": len(target), "mtime": time.time(), "target": target}
        self._world.put("file", self._key(resolved), link)

    def put_device(self, path: str, size: int) -> None:
        """Make a block device node."""
        self.mkdir(posixpath.dirname(path), parents=True)
        node = {"type": "block", "mode": 0o660, "uid": 0, "size": 0, "bytes": size, "mtime": time.time()}
        self._world.put("file", self._key(path), node)

    def remove(self, path: str) -> None:
        """Remove a file, link or device node."""
        resolved = self.resolve(path, follow=False)
        if self.stat(resolved, follow=False)["type"] == "dir":
            raise _error(errno.EISDIR, path)
        self._world.delete("file", self._key(resolved))

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        resolved = self.resolve(path)
        if self.is_mounted(resolved):
            raise _error(errno.EBUSY, path)
        if self.listdir(resolved):
            raise _error(errno.ENOTEMPTY, path)
        self._world.delete("file", self._key(resolved))

    def remove_tree(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        if self.stat(path, follow=False)["type"] != "dir":
            self.remove(path)
            return
        for name in self.listdir(path):
            self.remove_tree(posixpath.join(path, name))
        self.rmdir(path)

    def rename(self, source: str, target: str) -> None:
        """Rename within one filesystem; a file at `target` is replaced. EXDEV across filesystems."""
        old, new = self.resolve(source, follow=False), self.resolve(target, follow=False)
        moved = self.stat(old, follow=False)
        self._need_directory(posixpath.dirname(new), target)
        if self.place(old)[0] != self.place(new)[0]:
            raise _error(errno.EXDEV, source)
        if old == new:
            return
        there = self._world.get("file", self._key(new))
        if there is not None and there["type"] == "dir":
            if moved["type"] != "dir":
                raise _error(errno.EISDIR, target)
            self.rmdir(new)
        old_key, new_key = self._key(old), self._key(new)
        for key in [key for key in self._world.keys("file") if key.startswith(f"{old_key}/")]:
            self._world.put("file", new_key + key[len(old_key) :], self._world.get("file", key) or {})
            self._world.delete("file", key)
        self._world.put("file", new_key, moved)
        self._world.delete("file", old_key)

    def copy(self, source: str, target: str) -> None:
        """Copy a file with its content, mode and facts."""
        found = self.stat(source)
        if found["type"] == "dir":
            raise _error(errno.EISDIR, source)
        content = {key: found.get(key) for key in ("size", "sha256", "data", "facts")}
        self._put(target, content, found["mode"])

    def change(self, path: str, **fields: Any) -> None:
        """Set mode, uid or mtime of a file."""
        resolved = self.resolve(path)
        self._world.put("file", self._key(resolved), self.stat(resolved) | fields)

    def _need_directory(self, directory: str, path: str) -> None:
        found = self._world.peek("file", self._key(directory))
        if found is None:
            raise _error(errno.ENOENT, path)
        if found["type"] != "dir":
            raise _error(errno.ENOTDIR, path)


def _absolute(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))
