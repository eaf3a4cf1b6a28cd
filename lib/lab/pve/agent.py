"""Own what guests answer through their agent (API: …/qemu/{vmid}/agent), and the addresses that they have.

A running guest answers if its agent is switched on, its disk descends from an image that has the agent in it,
and it has had time to boot. Nothing boots here: its addresses follow from its configuration and the DHCP range.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from lib.lab.faults import Faults
from lib.lab.provenance import belief
from lib.lab.pve import guest_disks, guest_state
from lib.lab.pve.answers import failure
from lib.lab.pve.call import Call, Route, everyone, perm
from lib.lab.pve.guest_options import DRIVES, is_drive
from lib.lab.pve.tasks import TaskFailed
from lib.lab.pve.volume_stores import owner, store
from lib.lab.world import Document, World

_BELIEF = belief("a guest's agent answers some seconds after it was started, and is refused in these words")
PACKAGE = "qemu-guest-agent"
BOOT_SECONDS = 20.0
SILENT = "QEMU guest agent is not running"
_MAC = re.compile(r"=([0-9A-F]{2}(?::[0-9A-F]{2}){5})\b")
_COUNTERS = [f"{way}-{what}" for way in ("rx", "tx") for what in ("bytes", "dropped", "errs", "packets")]


def index(call: Call) -> list[dict[str, str]]:
    """GET …/agent: the commands below it."""
    call.guest()
    return [{"name": name} for name in ("network-get-interfaces", "ping")]


def ping(call: Call) -> Any:
    """POST …/agent/ping."""
    return _ask(call, lambda guest: {})


def network_interfaces(call: Call) -> Any:
    """GET …/agent/network-get-interfaces."""
    return _ask(call, lambda guest: _interfaces(call.world, guest["config"]))


def _ask(call: Call, command: Callable[[Document], Any]) -> Any:
    guest = call.guest()
    if not guest_state.agent_enabled(guest["config"]):
        raise failure("No QEMU guest agent configured")
    if guest["status"] != "running":
        raise failure(f"VM {guest['vmid']} is not running")
    if not _is_up(call, guest):
        raise failure(SILENT)
    if Faults(call.world).take("agent-silent", f"{call.node} {guest['vmid']} {guest['config'].get('name', '')}"):
        raise failure(SILENT)
    return {"result": command(guest)}


def _is_up(call: Call, guest: Document) -> bool:
    scale = float((call.world.get("meta", "lab") or {}).get("task_scale", 0.0))
    if call.now < guest["started"] + BOOT_SECONDS * scale:
        return False
    config = guest["config"]
    disks = [guest_disks.volume_of(value) for option, value in config.items() if is_drive(option)]
    return any(PACKAGE in _packages(call.world, call.node, volid) for volid in disks if owner(volid) is not None)


def _packages(world: World, node: str, volid: str) -> list[str]:
    try:
        return list(store(world, volid.partition(":")[0], node).facts(volid).get("packages", []))
    except TaskFailed:  # a volume that is gone has nothing in it
        return []


# ---------------------------------------------------------------- addresses


def _interfaces(world: World, config: Document) -> list[dict[str, Any]]:
    found = [_interface("lo", "00:00:00:00:00:00", "127.0.0.1/8")]
    for number in range(32):
        for mac in _MAC.findall(str(config.get(f"net{number}", ""))):
            address = _static(config, number) or _lease(world, mac)
            found.append(_interface(f"eth{number}", mac.lower(), address))
    return found


def _interface(name: str, mac: str, address: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "hardware-address": mac, "statistics": dict.fromkeys(_COUNTERS, 0)}
    if address:
        ip = ipaddress.ip_interface(address)
        shown = {"ip-address": str(ip.ip), "ip-address-type": f"ipv{ip.version}", "prefix": ip.network.prefixlen}
        found["ip-addresses"] = [shown]
    return found


def _static(config: Document, number: int) -> str:
    """Return the address that cloud-init sets, with its prefix; without a cloud-init drive it sets none."""
    if not any("cloudinit" in str(config.get(option, "")) for option in DRIVES):
        return ""
    match = re.search(r"(?:^|,)ip=([\d.]+/\d+)", str(config.get(f"ipconfig{number}", "")))
    return match[1] if match else ""


def _lease(world: World, mac: str) -> str:
    """Return the address that the DHCP server gives, with its prefix: always the same to the same card."""
    meta, known = world.get("meta", "lab") or {}, world.get("meta", "leases") or {}
    cards = set(_MAC.findall(str([guest["config"] for guest in world.all("guest").values()])))
    leases = {card: address for card, address in known.items() if card in cards}  # those of destroyed guests are free
    if mac not in leases:
        first, last = (int(ipaddress.ip_address(each.strip())) for each in meta["dhcp"].split("-"))
        every = (str(ipaddress.ip_address(number)) for number in range(first, last + 1))
        leases[mac] = next((address for address in every if address not in leases.values()), "")
        world.put("meta", "leases", leases)
    return f"{leases[mac]}/{ipaddress.ip_network(meta['cidr']).prefixlen}" if leases[mac] else ""


_GUEST = "node:node vmid:vmid"
_PATH = "/nodes/{node}/qemu/{vmid}/agent"
_ASK = perm("/vms/{vmid}", "VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted", any_of=True)
_MONITOR = perm("/vms/{vmid}", "VM.Monitor")
ROUTES = (
    Route("GET", _PATH, index, everyone, _GUEST, by=_BELIEF),
    Route("POST", _PATH + "/ping", ping, _ASK, _GUEST, by=_BELIEF, check_before_9=_MONITOR),
    Route(
        "GET",
        _PATH + "/network-get-interfaces",
        network_interfaces,
        _ASK,
        _GUEST,
        by=_BELIEF,
        check_before_9=_MONITOR,
    ),
)
