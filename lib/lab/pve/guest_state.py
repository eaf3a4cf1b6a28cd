"""Own how a guest looks from outside: status, figures for lists, its configuration as shown."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from lib.lab.pve.answers import failure
from lib.lab.pve.guest_options import DRIVES
from lib.lab.pve.params import property_string
from lib.lab.pve.rights import major
from lib.lab.world import Document, World

_PRESSURES = [f"pressure{what}{how}" for what in ("cpu", "io", "memory") for how in ("some", "full")]
QEMU = {8: "9.2.0", 9: "10.0.13"}  # by the major version of Proxmox VE
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def fresh(vmid: int, node: str, config: Document, lock: str = "") -> Document:
    """Return a guest that is off, as the world keeps it."""
    guest: Document = {"vmid": vmid, "node": node, "config": config, "pool": None, "lock": lock}
    return guest | {"status": "stopped", "started": None, "pending": {}, "snapshots": {}}


def present(world: World, node: str, vmid: int | str) -> Document:
    """Return a guest, which must be on the node. Raises Refusal."""
    found = world.get("guest", str(vmid))
    if found is None or found["node"] != node:
        raise failure(f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")
    return found


def need_unlocked(guest: Document) -> None:
    """Refuse while something else works on the guest."""
    if guest.get("lock"):
        raise failure(f"VM is locked ({guest['lock']})")


def memory_bytes(config: Document) -> int:
    """Return a guest's memory."""
    return int(property_string("memory", str(config.get("memory", 512)))["current"]) << 20


def cpus(world: World, guest: Document) -> int:
    """Return a guest's virtual CPUs; no more are shown than the node has."""
    config = guest["config"]
    most = int((world.peek("node", guest["node"]) or {}).get("cpus", 1))
    return int(config.get("vcpus") or min(int(config.get("cores", 1)) * int(config.get("sockets", 1)), most))


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 64M."""
    return int(float(text[:-1]) * _UNITS[text[-1]]) if text[-1] in _UNITS else int(text)


def boot_disk_bytes(config: Document) -> int:
    """Return the size of the first disk in a guest's boot order (before there were such: of its `bootdisk`)."""
    boot = str(config.get("boot", ""))
    order = boot.partition("order=")[2].split(",")[0].split(";")
    for name in order if boot.startswith(("order=", " ")) else [str(config.get("bootdisk", ""))]:
        if name in DRIVES and name in config and "media=cdrom" not in str(config[name]):
            sizes = [part.removeprefix("size=") for part in str(config[name]).split(",") if part.startswith("size=")]
            return parse_size(sizes[0]) if sizes else 0
    return 0


def digest(config: Document) -> str:
    """Return the digest of a configuration."""
    return hashlib.sha1(json.dumps(config, sort_keys=True).encode()).hexdigest()


def coming_config(guest: Document) -> Document:
    """Return a guest's configuration with what is pending in it."""
    both = guest["config"] | guest.get("pending", {})
    return {option: value for option, value in both.items() if value is not None}


def shown_config(guest: Document, current: bool) -> dict[str, Any]:
    """Return a configuration as GET …/config gives it: with what is pending, unless `current`."""
    config = dict(guest["config"]) if current else coming_config(guest)
    if "cipassword" in config:
        config["cipassword"] = "**********"
    config |= ({"lock": guest["lock"]} if guest.get("lock") else {}) | parent(guest)
    return config | {"digest": digest(guest["config"])}


def parent(document: Document) -> dict[str, str]:
    """Return the snapshot that a guest or a snapshot goes back to, as options show it."""
    return {"parent": document["parent"]} if document.get("parent") else {}


def snapshot(guest: Document, name: str) -> Document:
    """Return a snapshot of the guest. Raises Refusal."""
    found: Document | None = guest.get("snapshots", {}).get(name)
    if found is None:
        raise failure(f"snapshot '{name}' does not exist")
    return found


def snapshot_config(guest: Document, name: str) -> dict[str, Any]:
    """Return the configuration of a snapshot, with what is noted of the snapshot itself. Raises Refusal."""
    kept = snapshot(guest, name)
    shown = dict(kept["config"]) | {"snaptime": kept["snaptime"]} | parent(kept)
    shown |= {"description": kept["description"]} if kept["description"] else {}
    return shown | ({"cipassword": "**********"} if "cipassword" in shown else {})


def figures(world: World, guest: Document, now: float) -> dict[str, Any]:
    """Return what status and lists have in common."""
    config, runs = guest["config"], guest["status"] == "running"
    found: dict[str, Any] = {
        "cpu": 0.01 if runs else 0,
        "disk": 0,
        "maxdisk": boot_disk_bytes(config),
        "maxmem": memory_bytes(config),
        "mem": memory_bytes(config) // 3 if runs else 0,
        "name": config.get("name", f"VM {guest['vmid']}"),
        "netin": 0,
        "netout": 0,
        "status": guest["status"],
        "uptime": int(now - guest["started"]) if runs and guest.get("started") else 0,
        "vmid": guest["vmid"],
    }
    if major(world) >= 9:
        found["memhost"] = found["mem"]
    if major(world) < 9:
        found |= {"diskread": 0, "diskwrite": 0}
    if config.get("tags"):
        found["tags"] = config["tags"]
    if guest.get("lock"):
        found["lock"] = guest["lock"]
    return found


def listed(world: World, guest: Document, now: float, full: bool) -> dict[str, Any]:
    """Return a guest as /nodes/{node}/qemu lists it: `full` with what its QEMU is asked for."""
    config = guest["config"]
    found = figures(world, guest, now) | {"cpus": cpus(world, guest)}
    if config.get("balloon"):
        found |= {"balloon_min": int(config["balloon"]) << 20, "shares": int(config.get("shares", 1000))}
    if any(name.startswith("serial") for name in guest["config"]):
        found["serial"] = 1
    if guest["config"].get("template"):
        found["template"] = 1
    if guest["status"] == "running":
        found["pid"] = 100000 + guest["vmid"]
        if major(world) >= 9:
            found |= dict.fromkeys(_PRESSURES, 0)
    return found | (_asked(world, guest) if full else {})


def current(world: World, guest: Document, now: float) -> dict[str, Any]:
    """Return a guest as …/status/current shows it."""
    found = listed(world, guest, now, True) | {"ha": {"managed": 0}}
    if "vga" in guest["config"]:
        vga = property_string("vga", str(guest["config"]["vga"]))
        found |= {"clipboard": vga.get("clipboard")}
        if str(vga.get("type")).startswith(("virtio", "qxl")):
            found["spice"] = 1
    if agent_enabled(guest["config"]):
        found["agent"] = 1
    return found


def _asked(world: World, guest: Document) -> dict[str, Any]:
    """Return what a QEMU tells of itself, if it runs; of its many counters, there are none here.

    Proxmox asks for its own additions first, and one that lacks them (a node's `foreign_qemu`) for nothing more.
    """
    config, version = guest["config"], QEMU[major(world)]
    if guest["status"] != "running":
        return {"qmpstatus": guest["status"]}
    found: dict[str, Any] = {"qmpstatus": "paused" if guest.get("paused") else "running"}
    nets = [f"tap{guest['vmid']}i{name[3:]}" for name in config if name.startswith("net") and name[3:].isdigit()]
    if nets:
        found["nics"] = {name: {"netin": 0, "netout": 0} for name in nets}
    if (world.peek("node", guest["node"]) or {}).get("foreign_qemu"):
        return found
    kind = "q35" if "q35" in str(config.get("machine", "")) else "i440fx"
    machine = f"pc-{kind}-{version.rpartition('.')[0]}+pve1"
    found |= {"running-machine": machine, "running-qemu": version, "proxmox-support": {}, "diskread": 0, "diskwrite": 0}
    found["blockstat"] = {name: {} for name in DRIVES if name in config}
    if str(config.get("balloon", 1)) != "0":
        found |= {"balloon": memory_bytes(config), "ballooninfo": {"actual": memory_bytes(config)}}
    return found


def resource(world: World, guest: Document, now: float, up: bool) -> dict[str, Any]:
    """Return a guest as /cluster/resources lists it."""
    figure = figures(world, guest, now)
    found = figure | {"diskread": 0, "diskwrite": 0, "id": f"qemu/{guest['vmid']}", "maxcpu": cpus(world, guest)}
    found |= {"node": guest["node"], "template": int(bool(guest["config"].get("template"))), "type": "qemu"}
    if guest.get("pool"):
        found["pool"] = guest["pool"]
    if not up:
        found["status"] = "unknown"
    return found


def agent_enabled(config: Document) -> bool:
    """Tell whether the guest agent is switched on."""
    text = str(config.get("agent", ""))
    return bool(text) and bool(property_string("agent", text).get("enabled"))


def fresh_identity(config: Document, now: float) -> Document:
    """Return what a new guest gets of its own: UUIDs and the note of its creation."""
    return {
        "smbios1": config.get("smbios1", f"uuid={uuid.uuid4()}"),
        "vmgenid": config["vmgenid"] if config.get("vmgenid", "1") != "1" else str(uuid.uuid4()),
        "meta": config.get("meta", f"creation-qemu=10.0.13,ctime={int(now)}"),
    }
