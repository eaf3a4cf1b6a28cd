"""Own `rbd`: images of the simulated Ceph cluster, their mapping on hosts, watchers and written extents.

Output follows Ceph's rbd (Squid); no real one was at hand: what it prints here is belief.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from lib.lab.files import erase_filesystem, filesystem_of
from lib.lab.programs.arguments import parse
from lib.lab.programs.host import Host, Output
from lib.lab.provenance import belief
from lib.lab.pve.volume_stores import FEATURES
from lib.lab.world import Document

_INVALID = "(22) Invalid argument"
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
VALUES = "format p pool size s image-feature image object-size t o options image-format whole-object"
FLAGS = "pretty-format no-progress l long q force exclusive"


class _RefusedError(Exception):
    def __init__(self, exit: int, text: str) -> None:
        super().__init__(text)
        self.exit = exit


def rbd(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Run one subcommand."""
    options, words = parse(argv, FLAGS, VALUES)
    name = words[0] if words else "help"
    rest = words[1:]
    if name in ("device", "feature", "image-meta") and rest:
        name, rest = f"{name} {rest[0]}", rest[1:]
    elif name == "showmapped":
        name = "device list"
    command = COMMANDS.get(name)
    if command is None:
        return Output(22 if words else 1, "", f"error: unknown option '{' '.join(words)}'\n")
    try:
        return Output(0, command(host, options, rest), seconds=0.15)
    except _RefusedError as error:
        return Output(error.exit, "", f"{error}\n", seconds=0.1)


def _spec(options: dict[str, str], words: list[str]) -> tuple[str, str]:
    """Return pool and image of `pool/image`, or of -p and a name."""
    text = words[0] if words else options.get("image", "")
    if not text:
        raise _RefusedError(22, "rbd: image name was not specified")
    pool, given, image = text.rpartition("/")
    return (pool if given else options.get("p", options.get("pool", "rbd"))), image


def _need_pool(host: Host, pool: str) -> None:
    if pool not in (host.world.get("meta", "ceph") or {}).get("pools", ["rbd"]):
        raise _RefusedError(2, f"rbd: error opening pool '{pool}': (2) No such file or directory")


def _image(host: Host, options: dict[str, str], words: list[str]) -> tuple[str, str, Document]:
    pool, image = _spec(options, words)
    _need_pool(host, pool)
    found = host.world.get("rbd", f"{pool}/{image}")
    if found is None:
        raise _RefusedError(2, f"rbd: error opening image {image}: (2) No such file or directory")
    return pool, image, found


def _bytes(text: str) -> int:
    unit = text.rstrip("iB")[-1:].upper()
    if unit in UNITS:
        return int(float(text.rstrip("iB")[:-1]) * UNITS[unit])
    return int(text) * UNITS["M"]


def _human(size: int) -> str:
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        step = UNITS[unit[0]]
        if size >= step:
            return f"{size // step} {unit}" if size % step == 0 else f"{size / step:.1f} {unit}"
    return f"{size} B"


def _told(options: dict[str, str], document: Any, plain: str) -> str:
    return json.dumps(document, separators=(",", ":")) if options.get("format") == "json" else plain


def create(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Make an image."""
    pool, image = _spec(options, words)
    _need_pool(host, pool)
    if "size" not in options and "s" not in options:
        raise _RefusedError(22, "rbd: must specify --size <M/G/T>")
    if host.world.get("rbd", f"{pool}/{image}") is not None:
        raise _RefusedError(17, "rbd: create error: (17) File exists")
    features = options["image-feature"].split(",") if "image-feature" in options else FEATURES
    size = _bytes(options.get("size") or options["s"])
    document = {"size": size, "features": features, "id": secrets.token_hex(6), "fs": None}
    host.world.put("rbd", f"{pool}/{image}", document)
    return ""


def info(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Tell about an image."""
    _, image, found = _image(host, options, words)
    document: dict[str, Any] = {
        "name": image,
        "id": found.get("id", ""),
        "size": found["size"],
        "objects": -(-found["size"] // (4 << 20)),
        "order": 22,
        "object_size": 4 << 20,
        "snapshot_count": len(found.get("snapshots", [])),
        "block_name_prefix": f"rbd_data.{found.get('id', '')}",
        "format": 2,
        "features": found.get("features", FEATURES),
        "op_features": [],
        "flags": [],
    }
    if found.get("parent"):
        pool, _, rest = found["parent"].partition("/")
        name, _, snap = rest.partition("@")
        document["parent"] = {
            "pool": pool,
            "pool_namespace": "",
            "image": name,
            "snapshot": snap,
            "overlap": found["size"],
        }
    plain = (
        f"rbd image '{image}':\n\tsize {_human(found['size'])} in {document['objects']} objects\n"
        "\torder 22 (4 MiB objects)\n"
        f"\tsnapshot_count: {document['snapshot_count']}\n\tid: {document['id']}\n"
        f"\tblock_name_prefix: {document['block_name_prefix']}\n\tformat: 2\n"
        f"\tfeatures: {', '.join(document['features'])}\n"
        "\top_features: \n\tflags: \n"
    )
    return _told(options, document, plain)


def ls(host: Host, options: dict[str, str], words: list[str]) -> str:
    """List a pool's images."""
    pool = words[0] if words else options.get("p", options.get("pool", "rbd"))
    _need_pool(host, pool)
    names = sorted(key.partition("/")[2] for key in host.world.keys("rbd") if key.startswith(f"{pool}/"))
    if "l" not in options and "long" not in options:
        return _told(options, names, "".join(f"{name}\n" for name in names))
    rows = [
        {"image": n, "size": (host.world.get("rbd", f"{pool}/{n}") or {}).get("size", 0), "format": 2} for n in names
    ]
    return _told(options, rows, "".join(f"{row['image']}  {_human(row['size'])}  2\n" for row in rows))


def _mapped(host: Host) -> dict[str, Document]:
    return dict(host.system().get("mapped", {}))


def _holders(host: Host, pool: str, image: str) -> list[tuple[str, str]]:
    """Return (node, device) of every host that has the image mapped."""
    return [
        (node, device)
        for node, system in host.world.all("host").items()
        for device, row in system.get("mapped", {}).items()
        if (row["pool"], row["image"]) == (pool, image)
    ]


def feature_enable(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Give an image further features."""
    pool, image, found = _image(host, options, words)
    have = found.get("features", FEATURES)
    if any(name in have for name in words[1:]):
        why = f"one or more requested features are already enabled\nrbd: failed to update image features: {_INVALID}"
        raise _RefusedError(22, f"librbd::Operations: {why}")
    host.world.put("rbd", f"{pool}/{image}", found | {"features": [*have, *words[1:]]})
    return ""


def _need_lock(host: Host, pool: str, image: str, features: list[str]) -> None:
    """Refuse to map for good what has no exclusive lock, or whose lock another host does not let go."""
    if "exclusive-lock" not in features:
        raise _RefusedError(22, f"rbd: sysfs write failed\nrbd: map failed: {_INVALID}")
    for system in host.world.all("host").values():
        for row in system.get("mapped", {}).values():
            if (row["pool"], row["image"]) == (pool, image) and row.get("exclusive"):
                raise _RefusedError(30, "rbd: sysfs write failed\nrbd: map failed: (30) Read-only file system")


def map_(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Give an image a device on this host."""
    pool, image, found = _image(host, options, words)
    exclusive = "exclusive" in options or "exclusive" in options.get("o", "").split(",")
    if exclusive:
        _need_lock(host, pool, image, found.get("features", FEATURES))
    if not set(found.get("features", [])) <= set(FEATURES):
        raise _RefusedError(
            6,
            "rbd: sysfs write failed\nRBD image feature set mismatch.\nrbd: map failed: (6) No such device or address",
        )
    mapped = _mapped(host)
    number = next(n for n in range(1000) if f"/dev/rbd{n}" not in mapped)
    device = f"/dev/rbd{number}"
    row = {"pool": pool, "image": image, "id": number, "exclusive": exclusive}
    host.change(mapped=mapped | {device: row})
    host.files.put_device(device, found["size"])
    host.files.mkdir(f"/dev/rbd/{pool}", parents=True)
    if not host.files.exists(f"/dev/rbd/{pool}/{image}"):
        host.files.symlink(f"../../rbd{number}", f"/dev/rbd/{pool}/{image}")
    return f"{device}\n"


def unmap(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Take the device away; refused while it is mounted."""
    mapped = _mapped(host)
    device = words[0] if words and words[0].startswith("/dev/") else ""
    if device:
        device = host.files.resolve(device)
        if device not in mapped:
            raise _RefusedError(
                22, f"rbd: {words[0]}: not a mapped rbd device\nrbd: unmap failed: (22) Invalid argument"
            )
    else:
        pool, image = _spec(options, words)
        devices = [device for node, device in _holders(host, pool, image) if node == host.node]
        if not devices:
            raise _RefusedError(
                22, f"rbd: {pool}/{image}: not a mapped image or snapshot\nrbd: unmap failed: (22) Invalid argument"
            )
        device = devices[0]
    if any(mount["source"] == device for mount in host.files.mounts().values()):
        raise _RefusedError(16, "rbd: sysfs write failed\nrbd: unmap failed: (16) Device or resource busy")
    row = mapped.pop(device)
    host.change(mapped=mapped)
    host.files.remove(device)
    link = f"/dev/rbd/{row['pool']}/{row['image']}"
    if host.files.resolve(link) == device:
        host.files.remove(link)
    return ""


def device_list(host: Host, options: dict[str, str], words: list[str]) -> str:
    """List the devices of this host."""
    rows = [
        {
            "id": str(row.get("id", 0)),
            "pool": row["pool"],
            "namespace": "",
            "name": row["image"],
            "snap": "-",
            "device": device,
        }
        for device, row in _mapped(host).items()
    ]
    head = f"{'id':<3} {'pool':<10} {'namespace':<10} {'image':<24} {'snap':<5} device\n"
    lines = (f"{r['id']:<3} {r['pool']:<10} {'':<10} {r['name']:<24} {'-':<5} {r['device']}\n" for r in rows)
    return _told(options, rows, head + "".join(lines) if rows else "")


def _watchers(host: Host, pool: str, image: str) -> list[dict[str, Any]]:
    return [
        {
            "address": f"{(host.world.get('node', node) or {}).get('address', node)}:0/{2000000000 + index}",
            "client": 4000 + index,
            "cookie": 18446462598732840961,
        }
        for index, (node, _) in enumerate(_holders(host, pool, image))
    ]


def status(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Tell who has the image open."""
    pool, image, _ = _image(host, options, words)
    rows = _watchers(host, pool, image)
    lines = "".join(f"\twatcher={r['address']} client.{r['client']} cookie={r['cookie']}\n" for r in rows)
    return _told(options, {"watchers": rows}, f"Watchers:\n{lines}" if rows else "Watchers: none\n")


def diff(host: Host, options: dict[str, str], words: list[str]) -> str:
    """List the extents that were ever written."""
    _, _, found = _image(host, options, words)
    rows = [{"offset": 0, "length": 4 << 20, "exists": "true"}] if found.get("fs") or found.get("written") else []
    lines = "".join(f"{row['offset']:<10} {row['length']} data\n" for row in rows)
    return _told(options, rows, f"Offset     Length  Type\n{lines}" if rows else "")


def rm(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Remove an image that nobody has open."""
    pool, image, _ = _image(host, options, words)
    if _holders(host, pool, image):
        raise _RefusedError(
            16,
            "rbd: error: image still has watchers\nThis means the image is still open or the client using it crashed. "
            "Try again after closing/unmapping it or waiting 30s for the crashed client to timeout.",
        )
    host.world.delete("rbd", f"{pool}/{image}")
    erase_filesystem(host.world, filesystem_of(f"{pool}/{image}"))
    return ""


def resize(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Grow an image."""
    pool, image, found = _image(host, options, words)
    size = _bytes(options.get("size") or options.get("s", "0"))
    if size < found["size"]:
        raise _RefusedError(22, "rbd: shrinking an image is only allowed with the --allow-shrink flag")
    host.world.put("rbd", f"{pool}/{image}", found | {"size": size})
    return ""


def _meta(host: Host, options: dict[str, str], words: list[str], count: int) -> tuple[str, Document, list[str]]:
    pool, image, found = _image(host, options, words)
    if len(words) <= count:
        raise _RefusedError(22, "rbd: metadata key was not specified")
    return f"{pool}/{image}", found, words[1:]


def meta_set(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Keep a value with an image."""
    name, found, (key, value, *_) = _meta(host, options, words, 2)
    host.world.put("rbd", name, found | {"meta": found.get("meta", {}) | {key: value}})
    return ""


def meta_get(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Print a value."""
    _, found, (key, *_) = _meta(host, options, words, 1)
    if key not in found.get("meta", {}):
        why = f"failed to get metadata {key} of image : (2) No such file or directory"
        raise _RefusedError(2, f"rbd: {why}\nrbd: getting metadata failed: (2) No such file or directory")
    return f"{found['meta'][key]}\n"


def meta_remove(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Drop a value."""
    name, found, (key, *_) = _meta(host, options, words, 1)
    if key not in found.get("meta", {}):
        raise _RefusedError(2, f"rbd: failed to remove metadata {key} of image : (2) No such file or directory")
    host.world.put("rbd", name, found | {"meta": {k: v for k, v in found["meta"].items() if k != key}})
    return ""


def meta_list(host: Host, options: dict[str, str], words: list[str]) -> str:
    """Print all values."""
    _, _, found = _image(host, options, words)
    rows = found.get("meta", {})
    head = f"There {'is' if len(rows) == 1 else 'are'} {len(rows)} metadatum on this image.\n"
    lines = "\nKey   Value\n" + "".join(f"{key} {value}\n" for key, value in rows.items()) if rows else ""
    return _told(options, rows, head + lines)


COMMANDS = {
    "create": create, "info": info, "ls": ls, "list": ls, "map": map_, "device map": map_, "unmap": unmap,
    "device unmap": unmap, "device list": device_list, "device ls": device_list, "feature enable": feature_enable,
    "status": status, "diff": diff,
    "rm": rm, "remove": rm, "resize": resize, "image-meta set": meta_set, "image-meta get": meta_get,
    "image-meta remove": meta_remove, "image-meta rm": meta_remove, "image-meta list": meta_list,
    "image-meta ls": meta_list,
}  # fmt: skip


def ceph(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Tell the cluster's health: `ceph health [detail]`, `ceph status`."""
    state = host.world.get("meta", "ceph") or {}
    words = [word for word in argv if not word.startswith("-") and word != "json"]
    if words[:1] not in (["health"], ["status"], ["-s"]) and "-s" not in argv:
        return Output(
            22, "", f"no valid command found; {' '.join(words)} is not simulated\nError EINVAL: invalid command\n"
        )
    if "json" in argv or "--format=json" in argv:
        health = {"status": state.get("health"), "checks": state.get("checks", {})}
        document = health if words[:1] == ["health"] else {"fsid": state.get("fsid"), "health": health}
        return Output(0, "\n" + json.dumps(document) + "\n", seconds=0.5)
    return Output(0, f"{state.get('health')}\n", seconds=0.5)


PROGRAMS = {"rbd": rbd, "ceph": ceph}
SOURCES = dict.fromkeys(PROGRAMS, belief("rbd and ceph print and end as Ceph's manual says"))
