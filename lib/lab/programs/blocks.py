"""Own the programs for block devices and mounts: blkid, wipefs, mkfs.ext4, mount, umount, findmnt, and others.

What they print was taken from util-linux 2.38 and e2fsprogs 1.47 run on scratch files.
"""

from __future__ import annotations

import json
import posixpath
import uuid
from collections.abc import Sequence

from lib.lab.files import filesystem_of, make_filesystem
from lib.lab.programs.arguments import parse
from lib.lab.programs.host import Host, Output
from lib.lab.provenance import TOOL, belief
from lib.lab.world import Document

MIB = 1 << 20
ROOT = {"target": "/", "source": "/dev/mapper/pve-root", "fstype": "ext4", "options": "rw,relatime,errors=remount-ro"}


def image_of(host: Host, path: str) -> tuple[str, Document] | None:
    """Return name (`pool/image`) and document of the RBD image behind a device path."""
    device = host.files.resolve(host.path(path))
    row = host.system().get("mapped", {}).get(device)
    if row is None:
        return None
    name = f"{row['pool']}/{row['image']}"
    return name, host.world.get("rbd", name) or {}


def _marks(found: Document) -> Document | None:
    """Return what is on the image: {"type", "uuid", "label"}; None for nothing known."""
    marks = found.get("fs")
    return dict(marks) if marks else None


def blkid(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Tell the filesystem on a device; exit 2 where there is none, or no device."""
    options, paths = parse(argv, "p probe g", "o output s match-tag c cache-file")
    out = ""
    for path in paths:
        found = image_of(host, path)
        marks = _marks(found[1]) if found else None
        if found is None or marks is None:
            continue
        low = "p" in options or "probe" in options
        tags = _tags(marks, found[1], low)
        asked = options.get("s", options.get("match-tag"))
        tags = {k: v for k, v in tags.items() if asked in (None, k)}
        form = options.get("o", options.get("output", "full"))
        if form == "value":
            out += "".join(f"{value}\n" for value in tags.values())
        elif form == "export":
            out += f"DEVNAME={path}\n" + "".join(f"{k}={v}\n" for k, v in tags.items())
        else:
            out += f"{path}: " + " ".join(f'{k}="{v}"' for k, v in tags.items()) + "\n"
    return Output(0 if out else 2, out)


def _tags(marks: Document, image: Document, low: bool) -> dict[str, str]:
    if marks.get("pttype"):
        return {"PTUUID": marks.get("uuid", ""), "PTTYPE": marks["pttype"]}
    tags = {"LABEL": marks["label"]} if marks.get("label") else {}
    tags["UUID"] = marks.get("uuid", "")
    if low and marks["type"].startswith("ext"):
        tags["VERSION"] = "1.0"
    tags["BLOCK_SIZE"] = "4096" if image.get("size", 0) >= 512 * MIB else "1024"
    tags["TYPE"] = marks["type"]
    if low:
        tags["USAGE"] = "filesystem"
    return tags


OFFSETS = {
    "ext4": "0x438",
    "ext3": "0x438",
    "xfs": "0x0",
    "btrfs": "0x10040",
    "dos": "0x1fe",
    "gpt": "0x200",
    "LVM2_member": "0x218",
}


def wipefs(host: Host, argv: list[str], stdin: bytes) -> Output:
    """List signatures; erases none here, with -a it erases all."""
    options, paths = parse(argv, "n no-act J json a all f force q noheadings i p", "o output t types")
    rows, out = [], ""
    for path in paths:
        found = image_of(host, path)
        if found is None:
            why = (
                "Inappropriate ioctl for device" if host.files.exists(host.path(path)) else "No such file or directory"
            )
            return Output(1, "", f"wipefs: error: {path}: probing initialization failed: {why}\n")
        name, image = found
        marks = _marks(image)
        if marks is None:
            continue
        kind = marks.get("pttype") or marks["type"]
        offset = OFFSETS.get(kind, "0x0")
        rows.append((posixpath.basename(path), offset, kind, marks.get("uuid", ""), marks.get("label", "")))
        if ("a" in options or "all" in options) and not {"n", "no-act"} & set(options):
            host.world.put("rbd", name, image | {"fs": None, "written": True})
            out += f"{path}: 2 bytes were erased at offset 0x{int(offset, 16):08x} ({kind}): 53 ef\n"
    if "a" in options or "all" in options:
        return Output(0, out)
    keys = ("device", "offset", "type", "uuid", "label")
    if "J" in options or "json" in options:
        return Output(0, _json("signatures", [dict(zip(keys, (r or None for r in row), strict=True)) for row in rows]))
    table = [("DEVICE", "OFFSET", "TYPE", "UUID", "LABEL"), *rows]
    return Output(0, _columns(table) if rows else "")


def _json(name: str, rows: list[dict[str, str | None]]) -> str:
    """Print rows as libsmartcols does."""
    if not rows:
        return f'{{\n   "{name}": [\n\n   ]\n}}\n'
    body = []
    for row in rows:
        fields = ",\n".join(f"         {json.dumps(k)}: {json.dumps(v)}" for k, v in row.items())
        body.append("{\n" + fields + "\n      }")
    return f'{{\n   "{name}": [\n      ' + ",".join(body) + "\n   ]\n}\n"


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "".join(" ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)


def mkfs_ext4(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Make an ext4 filesystem; refused on a mounted device."""
    options, paths = parse(argv, "q F v", "L m b i N E O U T")
    path = paths[0] if paths else ""
    banner = "" if "q" in options else "mke2fs 1.47.2 (1-Jan-2025)\n"
    found = image_of(host, path)
    if found is None:
        return Output(1, "", f"mke2fs 1.47.2 (1-Jan-2025)\nThe file {path} does not exist and no size was specified.\n")
    name, image = found
    device = host.files.resolve(host.path(path))
    if any(mount["source"] == device for mount in host.files.mounts().values()):
        told = f"{banner}{path} is mounted; will not make a filesystem here!\n"
        return Output(1, "", told)
    marks = _marks(image)
    if marks is not None and "F" not in options:
        # Without a terminal mke2fs does not ask: it says what is there and goes on.
        label = f" labelled '{marks['label']}'" if marks.get("label") else ""
        banner += f"{path} contains a {marks.get('type') or marks.get('pttype')} file system{label}\n"
    identity = options.get("U") or str(uuid.uuid4())
    host.world.put("rbd", name, image | {"fs": {"type": "ext4", "uuid": identity, "label": options.get("L", "")}})
    make_filesystem(host.world, filesystem_of(name))
    if "q" in options:
        return Output(0, "", banner, seconds=3.0)
    blocks = image["size"] // 4096
    told = (
        f"Creating filesystem with {blocks} 4k blocks and {blocks // 4} inodes\nFilesystem UUID: {identity}\n\n"
        "Allocating group tables: done                            \n"
        "Writing inode tables: done                            \n"
        "Creating journal (16384 blocks): done\nWriting superblocks and filesystem accounting information: done\n\n"
    )
    return Output(0, told, banner, seconds=3.0)


def mount(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Mount a mapped image at a directory; without arguments list mounts."""
    options, words = parse(argv, "v", "t o types options")
    if not words:
        rows = [ROOT, *({"target": t} | m for t, m in host.files.mounts().items())]
        return Output(0, "".join(f"{r['source']} on {r['target']} type {r['fstype']} ({r['options']})\n" for r in rows))
    if len(words) == 1:
        return Output(1, "", f"mount: {words[0]}: can't find in /etc/fstab.\n")
    source, target = words
    problem = attach(host, source, target, options.get("t", options.get("types", "")), options.get("o", ""))
    return Output(32, "", problem) if problem else Output(seconds=0.1)


def attach(host: Host, source: str, target: str, fstype: str = "", options: str = "") -> str:
    """Mount; return what mount would complain about, "" if it went well."""
    more = "       dmesg(1) may have more information after failed mount system call.\n"
    where = posixpath.normpath(host.path(target))
    if not host.files.is_dir(where):
        return f"mount: {target}: mount point does not exist.\n{more}"
    found = image_of(host, source)
    if found is None:
        return f"mount: {target}: special device {source} does not exist.\n{more}"
    device = host.files.resolve(host.path(source))
    marks = _marks(found[1])
    if marks is None or (fstype not in ("", "auto", marks["type"])):
        why = f"wrong fs type, bad option, bad superblock on {source}, missing codepage or helper program, or other"
        return f"mount: {target}: {why} error.\n{more}"
    mounts = host.files.mounts()
    if mounts.get(where, {}).get("source") == device:
        return f"mount: {target}: {source} already mounted on {where}.\n{more}"
    kept = [
        word for word in options.split(",") if word and not word.startswith(("_netdev", "nofail", "x-", "defaults"))
    ]
    shown = ",".join(dict.fromkeys(["rw", *kept, *([] if "noatime" in kept else ["relatime"]), "stripe=16"]))
    host.change(mounts=mounts | {where: {"source": device, "fstype": marks["type"], "options": shown}})
    return ""


def umount(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Take a mount away, named by target or source."""
    _, words = parse(argv, "l f v q R")
    mounts = host.files.mounts()
    for word in words:
        where = posixpath.normpath(host.path(word))
        device = host.files.resolve(where)
        targets = [t for t, m in mounts.items() if t == where or m["source"] == device]
        if not targets:
            why = "not mounted." if host.files.exists(where) else "no mount point specified."
            return Output(32, "", f"umount: {word}: {why}\n")
        del mounts[targets[-1]]
        host.change(mounts=mounts)
    return Output()


def findmnt(host: Host, argv: list[str], stdin: bytes) -> Output:
    """List mounts, or find one by --mountpoint, --target or --source; exit 1 where there is none."""
    flags = "J json n noheadings l list raw r k kernel s fstab a"
    options, words = parse(argv, flags, "M mountpoint T target S source o output t types")
    rows = [ROOT, *({"target": t} | m for t, m in host.files.mounts().items())]
    point = options.get("M", options.get("mountpoint"))
    inside = options.get("T", options.get("target"))
    source = options.get("S", options.get("source"))
    if point is not None:
        rows = [row for row in rows if row["target"] == posixpath.normpath(host.path(point))]
    elif inside is not None:
        rows = _above(host, rows, inside)
    elif source is not None or words:
        word = source or words[0]
        device = host.files.resolve(host.path(word))
        rows = [row for row in rows if row["source"] == device or (source is None and row["target"] == word)]
    if not rows:
        return Output(1)
    asked = options.get("o", options.get("output", "target,source,fstype,options")).lower().split(",")
    picked = [{key: row.get(key) for key in asked} for row in rows]
    if "J" in options or "json" in options:
        return Output(0, _json("filesystems", picked))
    table = [tuple(str(value) for value in row.values()) for row in picked]
    bare = "n" in options or "noheadings" in options
    return Output(0, _columns(table if bare else [tuple(key.upper() for key in asked), *table]))


def _above(host: Host, rows: list[dict[str, str]], path: str) -> list[dict[str, str]]:
    where = posixpath.normpath(host.path(path))
    if not host.files.exists(where):
        return []
    fitting = [row for row in rows if f"{where}/".startswith(row["target"].rstrip("/") + "/")]
    return [max(fitting, key=lambda row: len(row["target"]))]


def mountpoint(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Tell whether a directory is a mount point."""
    options, words = parse(argv, "q d x")
    where = posixpath.normpath(host.path(words[0]))
    if not host.files.exists(where):
        return Output(1, "", "" if "q" in options else f"mountpoint: {words[0]}: No such file or directory\n")
    there = where == "/" or host.files.is_mounted(where)
    told = f"{words[0]} is {'' if there else 'not '}a mountpoint\n"
    return Output(0 if there else 32, "" if "q" in options else told)


def blockdev(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print a device's size in bytes (--getsize64)."""
    options, words = parse(argv, "getsize64 getro")
    found = image_of(host, words[0])
    if found is None:
        return Output(1, "", f"blockdev: cannot open {words[0]}: No such file or directory\n")
    return Output(0, "0\n" if "getro" in options else f"{found[1]['size']}\n")


PROGRAMS = {
    "blkid": blkid, "wipefs": wipefs, "mkfs.ext4": mkfs_ext4, "mke2fs": mkfs_ext4, "mount": mount, "umount": umount,
    "findmnt": findmnt, "mountpoint": mountpoint, "blockdev": blockdev,
}  # fmt: skip
_MOUNT = belief("how mount, umount, blockdev and mke2fs print, refuse and end")
SOURCES = dict.fromkeys(PROGRAMS, TOOL) | dict.fromkeys(("mount", "umount", "blockdev", "mke2fs"), _MOUNT)
