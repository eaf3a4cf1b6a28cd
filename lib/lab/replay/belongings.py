"""Own what a recorded host had beyond its configuration: how it is set up, its guests and files, the web around it."""

from __future__ import annotations

import contextlib
import posixpath
import re
from typing import Any

from lib.lab.files import Files
from lib.lab.internet import NO_CONNECTION
from lib.lab.pve import guest_disks, storage_state
from lib.lab.pve.guest_options import is_drive
from lib.lab.pve.guest_state import fresh, parse_size
from lib.lab.pve.power import NO_KVM
from lib.lab.pve.volume_stores import owner
from lib.lab.replay.recording import NODE, ROOT, Exchange
from lib.lab.world import Document, World

IMAGE_BYTES = 64 << 20  # virtual size of the disk image that the recording's web server gave out
# What the program of a QEMU that locks images says of one that a running guest uses; Proxmox's own locks none.
_LOCKED = re.compile(r"""([\w.-]+): Could not open '[^']*': Failed to get shared "write" lock""")
_ANSWER = re.compile(r"invalid server response: '(.+)'")
_WGET_ENDS = {  # what an unsuccessful download says of its URL
    "download failed: exit code 4": f"{NO_CONNECTION} it (Connection refused)",
    "download failed: exit code 8": "404 Not Found",
}
# What somebody set up on the machine.
_SETTINGS = ("network", "dns", "time", "hosts", "/cluster/options")


def unreadable() -> contextlib.suppress:
    """Pass over what a recording has in a form that nobody foresaw: it shows nothing of how the host was."""
    return contextlib.suppress(ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def reading(exchanges: list[Exchange], path: str) -> Document | None:
    """Return what the first reading of a path shows, if nothing wrote to it or below it before that."""
    for exchange in exchanges:
        if exchange.path == path and exchange.method == "GET" and exchange.status == 200 and not exchange.params:
            return dict(exchange.data) if isinstance(exchange.data, dict) else None
        if exchange.method != "GET" and exchange.well and exchange.path.startswith(posixpath.dirname(path)):
            return None
    return None


# ------------------------------------------------------------------ machine


def describe_machine(world: World, exchanges: list[Exchange]) -> None:
    """Set the machine up as the recording first reads it: interfaces, name servers, clock, names, addresses."""
    node, meta = world.get("node", NODE) or {}, world.get("meta", "lab") or {}
    seen: set[str] = set()
    for exchange in exchanges:
        with unreadable():
            _describe(world, exchange, node, meta, seen)
            if exchange.is_("GET", rf"/nodes/{NODE}/qemu/\d+/status/current") and "pid" in exchange.data:
                node["foreign_qemu"] = "proxmox-support" not in exchange.data
        locked = _LOCKED.search(_ends(exchange))
        node |= {"locking": locked[1]} if locked else {}
        node |= {"no_kvm": True} if NO_KVM in _ends(exchange) else {}
    world.put("node", NODE, node)
    world.put("meta", "lab", meta)


def _ends(exchange: Exchange) -> str:
    """Return how the task of an exchange ended, and those that it lists."""
    listed = exchange.data if isinstance(exchange.data, list) else []
    ends = [(exchange.task or {}).get("exitstatus"), *(each.get("status") for each in listed if isinstance(each, dict))]
    return " ".join(map(str, ends))


def _describe(world: World, exchange: Exchange, node: Document, meta: Document, seen: set[str]) -> None:
    """Take in what one reading shows of the machine, unless it was changed or read before."""
    name = exchange.path.removeprefix(f"/nodes/{NODE}/")
    if exchange.method != "GET" and name in _SETTINGS:
        seen.add(name)
    # Others than root are shown a part; what is refused shows nothing, but that the clock may be missing.
    if exchange.method != "GET" or name in seen or exchange.params or exchange.identity != ROOT:
        return
    if exchange.status != 200 and not (name == "time" and exchange.status == 500):
        return
    data = exchange.data
    if name == "network" and isinstance(data, list):
        node["interfaces"] = data
    elif name == "dns" and isinstance(data, dict):
        meta |= {"nameservers": [data[key] for key in ("dns1", "dns2", "dns3") if key in data]}
        meta |= {"domain": data.get("search", "")}
    elif name == "time":
        node["timezone"] = data["timezone"] if data else None
    elif name == "hosts" and isinstance(data, dict):
        files = Files(world, NODE)
        files.mkdir("/etc", parents=True)
        files.write("/etc/hosts", data["data"].encode())
    elif exchange.path == "/cluster/resources" and isinstance(data, list):
        world.put("meta", "sdn", {"reported": [each for each in data if each["type"] in ("sdn", "network")]})
    elif exchange.path == "/cluster/options" and isinstance(data, dict):
        world.put("meta", "options", {key: value for key, value in data.items() if key != "allowed-tags"})
    elif exchange.path == "/nodes" and isinstance(data, list):
        figures = next((each for each in data if "maxcpu" in each), {"maxcpu": node["cpus"], "maxmem": node["memory"]})
        node |= {"cpus": figures["maxcpu"], "memory": figures["maxmem"]}
    elif exchange.path == "/cluster/status" and isinstance(data, list):
        node["address"] = next((each["ip"] for each in data if each["type"] == "node"), node["address"])
    else:
        return
    seen.add(name)


def internet(exchanges: list[Exchange]) -> dict[str, Any]:
    """Return what the recording's URLs served: size and digest as far as they show, or what was said in its place."""
    found: dict[str, Any] = {}
    for exchange in exchanges:
        url, data = str(exchange.params.get("url", "")), exchange.data
        if not url:
            continue
        ended = str((exchange.task or {}).get("exitstatus", ""))
        answer, digest = _ANSWER.fullmatch(exchange.reason), re.search(r"got '([0-9a-f]{64})'", ended)
        if isinstance(data, dict) and "mimetype" in data:
            found[url] = _served(data["size"]) | {"mimetype": data["mimetype"]}
        elif answer or ended in _WGET_ENDS:
            found.setdefault(url, {"answer": answer[1] if answer else _WGET_ENDS[ended]})
        elif ended == "OK" or digest:
            length = re.search(r"Length: (\d+)", "\n".join(map(str, (exchange.task or {}).get("log", ()))))
            found.setdefault(url, _served(int(length[1]) if length else 0))
        if "size" in found.get(url, {}) and (digest or (ended == "OK" and "checksum" in exchange.params)):
            found[url]["sha256"] = digest[1] if digest else str(exchange.params["checksum"])
    return found


def _served(size: int) -> dict[str, Any]:
    return {"size": size, "sha256": "", "text": None, "facts": {"format": "qcow2", "virtual_size": IMAGE_BYTES}}


# ----------------------------------------------------------- storages, files


def make_folder(world: World, section: Document) -> None:
    """Make the folder of a directory storage."""
    if section["type"] == "dir":
        Files(world, NODE).mkdir(section["path"], parents=True)


def put_content(world: World, exchanges: list[Exchange], number: int, storage: str) -> None:
    """Put in the files that the first listing of a storage shows, but those that requests before it made."""
    section = world.get("storage", storage) or _made_section(exchanges[:number], storage)
    if section is None or section.get("type") != "dir":
        return
    digests = {entry["size"]: entry["sha256"] for entry in world.lab["internet"].values() if "size" in entry}
    made = _made(exchanges[:number])
    files = Files(world, NODE)
    for entry in exchanges[number].data or []:
        name = entry["volid"].rpartition("/")[2]
        if name in made or str(entry.get("vmid", owner(entry["volid"]))) in made:
            continue
        path = storage_state.file_of(section, entry["volid"].partition(":")[2])
        is_disk = entry["content"] == "images"
        size = int(entry["used"] if is_disk else entry["size"])
        facts = {"format": entry["format"], "virtual_size": int(entry["size"]) if is_disk else IMAGE_BYTES}
        files.mkdir(posixpath.dirname(path), parents=True)
        files.put_synthetic(path, size, digests.get(size, "0" * 64), facts)


def _made_section(exchanges: list[Exchange], storage: str) -> Document | None:
    for exchange in exchanges:
        if exchange.is_("POST", "/storage") and exchange.status == 200 and exchange.params.get("storage") == storage:
            return dict(exchange.params)
    return None


def _made(exchanges: list[Exchange]) -> set[str]:
    """Return the guests and file names that requests made."""
    found: set[str] = set()
    for exchange in exchanges:
        if exchange.method != "POST" or not exchange.well:
            continue
        found |= {str(exchange.params[name]) for name in ("vmid", "newid") if name in exchange.params}
        log = " ".join((exchange.task or {}).get("log", []))
        if "filename" in exchange.params and "no need to download" not in log:
            found.add(posixpath.basename(str(exchange.params["filename"])))
    return found


# ------------------------------------------------------------------- guests


def storages_of(config: Document) -> set[str]:
    """Return the storages that the disks of a configuration are on."""
    volumes = (guest_disks.volume_of(value) for option, value in config.items() if is_drive(option))
    return {volid.partition(":")[0] for volid in volumes if volid}


def put_guest(world: World, vmid: int, config: Document | None, state: Document) -> None:
    """Put in a guest: with the configuration that is read of it, else with what its state tells."""
    if config is None:
        config = {key: state[key] for key in ("name", "tags", "template") if key in state}
        config |= {"cores": state["cpus"]} if state.get("cpus", 1) != 1 else {}
        config |= {"memory": str(int(state["maxmem"]) >> 20)} if "maxmem" in state else {}
    config = {key: value for key, value in config.items() if key not in ("digest", "lock")}
    guest = fresh(vmid, NODE, config, state.get("lock", "")) | {"pool": state.get("pool")}
    runs = {"status": "running", "started": 0.0} if state.get("status") == "running" else {}
    world.put("guest", str(vmid), guest | runs)
    for option, value in config.items():
        if is_drive(option) or option.startswith("unused"):
            put_disk(world, str(value))


def put_disk(world: World, value: str) -> None:
    """Put in the volume of a drive, or give the one that is there the size that the drive says."""
    volid = guest_disks.volume_of(value)
    storage, _, volume = volid.partition(":")
    section = world.get("storage", storage)
    if section is None or section["type"] != "dir" or owner(volid) is None:
        return
    match = re.search(r"size=(\d+[KMGT]?)", value)
    size = parse_size(match[1]) if match else 4 << 20
    files, path = Files(world, NODE), storage_state.file_of(section, volume)
    before: Document = files.stat(path) if files.exists(path) else {"size": 266240, "sha256": "0" * 64, "facts": {}}
    facts = {"format": path.rpartition(".")[2]} | before["facts"] | {"virtual_size": size}
    files.mkdir(posixpath.dirname(path), parents=True)
    files.put_synthetic(path, before["size"], before["sha256"], facts)
