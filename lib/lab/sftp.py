"""Own SFTP on the simulated hosts: the protocol's operations over `Files`, journaled."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import posixpath
import tempfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, cast

import asyncssh
from asyncssh import FXF_APPEND, FXF_CREAT, FXF_EXCL, FXF_READ, FXF_TRUNC, FXF_WRITE

from lib.lab.files import KEPT, TYPES
from lib.lab.programs.host import Host
from lib.lab.provenance import belief

if TYPE_CHECKING:
    from lib.lab.journal import Journal

KINDS = {
    "file": asyncssh.FILEXFER_TYPE_REGULAR,
    "dir": asyncssh.FILEXFER_TYPE_DIRECTORY,
    "link": asyncssh.FILEXFER_TYPE_SYMLINK,
    "block": asyncssh.FILEXFER_TYPE_BLOCK_DEVICE,
}
SOURCE = belief("files over SFTP are refused as OpenSSH's server refuses them")


class _Handle:
    """An open file: a spool of its content, written back at close where it was opened for writing."""

    def __init__(self, path: str, writes: bool) -> None:
        self.path = path
        self.writes = writes
        self.mtime: int | None = None  # that the client set: it has to outlive the writing back
        self.content: IO[bytes] = cast(IO[bytes], tempfile.SpooledTemporaryFile(KEPT))  # noqa: SIM115  (closed with the handle)


class Sftp(asyncssh.SFTPServer):
    """One SFTP session on one host."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], host: Host, journal: Journal) -> None:
        super().__init__(channel)
        self._host = host
        self._journal = journal

    def _reach(self, op: str, path: bytes) -> str:
        """Journal an operation and meet the faults that are waiting for it."""
        text = posixpath.normpath(posixpath.join("/root", path.decode(errors="surrogateescape")))
        self._journal.write("sftp", host=self._host.address, op=op, path=text)
        dropped = self._host.faults.take("ssh-drop", f"{self._host.address} {op} {text}")
        if dropped or not self._host.is_up():
            self.connection.abort()
            raise ConnectionError("cut by a fault")
        return text

    # ------------------------------------------------------------- content

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Open a file; a new one appears at once, empty."""
        writes = bool(pflags & (FXF_WRITE | FXF_APPEND))
        text = self._reach("write" if writes else "read", path)
        files = self._host.files
        there = files.exists(text)
        if there and pflags & FXF_CREAT and pflags & FXF_EXCL:
            raise FileExistsError(errno.EEXIST, "File exists", text)
        if not there and not pflags & FXF_CREAT:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", text)
        if files.is_dir(text):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", text)
        handle = _Handle(text, writes)
        if there and (pflags & FXF_READ or not pflags & FXF_TRUNC):
            handle.content.write(files.read(text))
        if writes and (not there or pflags & FXF_TRUNC):
            wanted = attrs.permissions
            files.write(text, b"", None if there else (0o644 if wanted is None else wanted & 0o777 & ~0o022))
        return handle

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """Read from the spool."""
        content = cast(_Handle, file_obj).content
        content.seek(offset)
        return content.read(size)

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Write to the spool."""
        handle = cast(_Handle, file_obj)
        with _full():
            self._host.files.need_space(handle.path)
        handle.content.seek(offset)
        return handle.content.write(data)

    def close(self, file_obj: object) -> None:
        """Write the spool back; of a big file only size and digest are kept."""
        handle = cast(_Handle, file_obj)
        with handle.content as content:
            if not handle.writes:
                return
            size = content.seek(0, os.SEEK_END)
            content.seek(0)
            files = self._host.files
            with contextlib.suppress(FileNotFoundError), _full(), self._host.world.transaction():
                if size <= KEPT:
                    files.write(handle.path, content.read())
                else:
                    head = content.read(32)
                    content.seek(0)
                    digest = hashlib.sha256()
                    while chunk := content.read(1 << 20):
                        digest.update(chunk)
                    files.put_synthetic(handle.path, size, digest.hexdigest(), image_facts(head, size))
                if handle.mtime is not None:
                    files.change(handle.path, mtime=handle.mtime)

    def exit(self) -> None:
        """End the session with exit status 0: scp hands on what it gets, and takes silence for a failure."""
        self.channel.exit(0)

    # ---------------------------------------------------------- attributes

    def _attributes(self, path: str, follow: bool) -> asyncssh.SFTPAttrs:
        found = self._host.files.stat(path, follow)
        mode = TYPES[found["type"]] | found["mode"]
        when = int(found["mtime"])
        return asyncssh.SFTPAttrs(
            type=KINDS[found["type"]], size=found["size"], uid=found["uid"], gid=0, permissions=mode, atime=when,
            mtime=when, nlink=1,
        )  # fmt: skip

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Give attributes, links followed."""
        return self._attributes(self._reach("stat", path), True)

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Give attributes of a link itself."""
        return self._attributes(self._reach("stat", path), False)

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        """Give attributes of an open file: its size is the spool's."""
        handle = cast(_Handle, file_obj)
        attributes = self._attributes(handle.path, True)
        attributes.size = handle.content.seek(0, os.SEEK_END)
        return attributes

    def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Set mode and times."""
        self._set(self._reach("setstat", path), attrs)

    def lsetstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Set mode and times."""
        self._set(self._reach("setstat", path), attrs)

    def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        """Set mode and times of an open file."""
        handle = cast(_Handle, file_obj)
        if attrs.size is not None:
            handle.content.truncate(attrs.size)
        handle.mtime = handle.mtime if attrs.mtime is None else attrs.mtime
        self._set(handle.path, attrs)

    def _set(self, path: str, attrs: asyncssh.SFTPAttrs) -> None:
        fields: dict[str, int | float] = {}
        if attrs.permissions is not None:
            fields["mode"] = attrs.permissions & 0o7777
        if attrs.mtime is not None:
            fields["mtime"] = attrs.mtime
        if attrs.uid is not None:
            fields["uid"] = attrs.uid
        self._host.files.change(path, **fields)

    def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        """Give the filesystem's size."""
        total, used = self._host.files.usage(self._reach("statvfs", path))
        free = (total - used) // 4096
        return asyncssh.SFTPVFSAttrs(
            bsize=4096, frsize=4096, blocks=total // 4096, bfree=free, bavail=free, files=1 << 20, ffree=1 << 19,
            favail=1 << 19, fsid=1, flags=0, namemax=255,
        )  # fmt: skip

    # ---------------------------------------------------------------- tree

    def listdir(self, path: bytes) -> list[asyncssh.SFTPName]:
        """List a directory."""
        folder = self._reach("list", path)
        names = [".", "..", *self._host.files.listdir(folder)]
        return [
            asyncssh.SFTPName(name.encode(), attrs=self._attributes(posixpath.normpath(f"{folder}/{name}"), False))
            for name in names
        ]

    def realpath(self, path: bytes) -> bytes:
        """Give the absolute path."""
        return self._host.files.resolve(posixpath.join("/root", path.decode())).encode()

    def readlink(self, path: bytes) -> bytes:
        """Give what a link points to."""
        return self._host.files.readlink(self._reach("readlink", path)).encode()

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """Make a link."""
        self._host.files.symlink(oldpath.decode(), self._reach("symlink", newpath))

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Make a directory."""
        mode = 0o755 if attrs.permissions is None else attrs.permissions & 0o777 & ~0o022
        with _full():
            self._host.files.mkdir(self._reach("mkdir", path), mode)

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        self._host.files.rmdir(self._reach("rmdir", path))

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        self._host.files.remove(self._reach("remove", path))

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename; an existing target is refused, as SFTP 3 wants."""
        old, new = self._reach("rename", oldpath), posixpath.join("/root", newpath.decode())
        if self._host.files.exists(new):
            raise FileExistsError(errno.EEXIST, "File exists", new)
        with self._host.world.transaction():
            self._host.files.rename(old, new)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename and replace."""
        old, new = self._reach("rename", oldpath), posixpath.join("/root", newpath.decode())
        with self._host.world.transaction():
            self._host.files.rename(old, new)


@contextlib.contextmanager
def _full() -> Iterator[None]:
    """Say of a full disk what OpenSSH's server says: version 3 of the protocol has no word of its own for it."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise asyncssh.SFTPFailure("Failure") from None


def image_facts(head: bytes, size: int) -> dict[str, object]:
    """Read what a disk image's first 32 bytes tell: its format and virtual size."""
    if head[:4] == b"QFI\xfb":
        virtual = int.from_bytes(head[24:32], "big")
        return {"format": "qcow2", "virtual_size": virtual, "packages": [], "machine_id": "uninitialized"}
    return {"format": "raw", "virtual_size": size}
