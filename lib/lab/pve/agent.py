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
from lib.lab.provenance import INDEX, belief
from lib.lab.pve import guest_disks, guest_state
from lib.lab.pve.answers import failure
from lib.lab.pve.call import AT_GUEST, OF_GUEST, Call, Route, Rule, on_guest
from lib.lab.pve.guest_options import DRIVES, is_drive
from lib.lab.pve.readings import names, reading
from lib.lab.pve.tasks import TaskFailed
from lib.lab.pve.volume_stores import owner, store_of
from lib.lab.world import Document, World

_BELIEF = belief("a guest's agent answers some seconds after it was started, and is refused in these words")
PACKAGE = "qemu-guest-agent"
BOOT_SECONDS = 20.0
SILENT = "QEMU guest agent is not running"
_MAC = re.compile(r"=([0-9A-F]{2}(?::[0-9A-F]{2}){5})\b")
_COUNTERS = [f"{way}-{what}" for way in ("rx", "tx") for what in ("bytes", "dropped", "errs", "packets")]


def _command(name: str) -> Callable[[Call], Any]:
    """Return the handler of one command of the agent."""

    def ask(call: Call) -> Any:
        return _ask(call, str(call.get("command", "")) if name == "" else name)

    return ask


def _ask(call: Call, command: str) -> Any:
    """Refuse in the order and the words of PVE::QemuServer::Agent, or answer."""
    guest = call.guest()
    if "agent" not in guest["config"]:
        raise failure("No QEMU guest agent configured")
    if guest["status"] != "running":
        raise failure(f"VM {guest['vmid']} is not running")
    if not guest_state.agent_enabled(guest["config"]) or not _is_up(call, guest):
        raise failure(SILENT)
    if Faults(call.world).take("agent-silent", f"{call.node} {guest['vmid']} {guest['config'].get('name', '')}"):
        raise failure(SILENT)
    answer = _ANSWERS.get(command)
    if answer is None:
        raise failure(f"the lab's guests have no agent command '{command}'")
    return {"result": answer(call.world, guest["config"])}


def _is_up(call: Call, guest: Document) -> bool:
    if call.now < guest["started"] + BOOT_SECONDS * call.world.task_scale:
        return False
    config = guest["config"]
    disks = [guest_disks.volume_of(value) for option, value in config.items() if is_drive(option)]
    return any(PACKAGE in _packages(call.world, call.node, volid) for volid in disks if owner(volid) is not None)


def _packages(world: World, node: str, volid: str) -> list[str]:
    try:
        return list(store_of(world, volid, node).facts(volid).get("packages", []))
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
    meta, known = world.lab, world.get("meta", "leases") or {}
    cards = set(_MAC.findall(str([guest["config"] for guest in world.all("guest").values()])))
    leases = {card: address for card, address in known.items() if card in cards}  # those of destroyed guests are free
    if mac not in leases:
        first, last = (int(ipaddress.ip_address(each.strip())) for each in meta["dhcp"].split("-"))
        every = (str(ipaddress.ip_address(number)) for number in range(first, last + 1))
        leases[mac] = next((address for address in every if address not in leases.values()), "")
        world.put("meta", "leases", leases)
    return f"{leases[mac]}/{ipaddress.ip_network(meta['cidr']).prefixlen}" if leases[mac] else ""


_ANSWERS: dict[str, Callable[[World, Document], Any]] = {
    "ping": lambda world, config: {},
    "network-get-interfaces": _interfaces,
    "get-host-name": lambda world, config: {"host-name": str(config.get("name", ""))},
}


def _of(*privileges: str) -> Rule:
    return on_guest(*privileges, any_of=len(privileges) > 1)


_ANY = "VM.GuestAgent.Unrestricted"
_MONITOR = on_guest("VM.Monitor")  # before 9 the one privilege for all of it
_AUDIT, _POWER = _of("VM.GuestAgent.Audit", _ANY), _of("VM.PowerMgmt", _ANY)
_FILES, _ALL = _of("VM.GuestAgent.FileSystemMgmt", _ANY), _of(_ANY)
_COMMANDS: dict[str, tuple[str, Rule]] = {
    "fsfreeze-freeze": ("POST", _FILES),
    "fsfreeze-status": ("POST", _of("VM.GuestAgent.Audit", "VM.GuestAgent.FileSystemMgmt", _ANY)),
    "fsfreeze-thaw": ("POST", _FILES),
    "fstrim": ("POST", _FILES),
    "ping": ("POST", _AUDIT),
    **dict.fromkeys(("shutdown", "suspend-disk", "suspend-hybrid", "suspend-ram"), ("POST", _POWER)),
    **dict.fromkeys(
        (
            *("get-fsinfo", "get-host-name", "get-memory-block-info", "get-memory-blocks", "get-osinfo", "get-time"),
            *("get-timezone", "get-users", "get-vcpus", "info", "network-get-interfaces"),
        ),
        ("GET", _AUDIT),
    ),
}
_WITH_PARAMETERS: dict[str, tuple[str, Rule, str]] = {
    "exec": ("POST", _ALL, "command:list input-data?:str<..65536>"),
    "exec-status": ("GET", _ALL, "pid:int"),
    "file-read": (
        "GET",
        _of("VM.GuestAgent.FileRead", _ANY),
        "file:str count?:int[1..16777216]@9 decode?:bool@9 offset?:int[0..]@9",
    ),
    "file-write": ("POST", _of("VM.GuestAgent.FileWrite", _ANY), "content:str<..61440> file:str encode?:bool"),
    "set-user-password": ("POST", _ALL, "password:str<5..1024> username:str crypted?:bool"),
}
_PATH = f"{AT_GUEST}/agent"
ROUTES = (
    reading(_PATH, names("name", *sorted((*_COMMANDS, *_WITH_PARAMETERS))), INDEX, declaration=OF_GUEST),
    Route(
        "POST",
        _PATH,
        _command(""),
        _of(_ANY, _ANY),
        f"{OF_GUEST} command:({'|'.join(sorted(_COMMANDS))})",
        by=_BELIEF,
        check_before_9=_MONITOR,
    ),
    *(
        Route(method, f"{_PATH}/{name}", _command(name), check, OF_GUEST, by=_BELIEF, check_before_9=_MONITOR)
        for name, (method, check) in _COMMANDS.items()
    ),
    *(
        Route(
            method,
            f"{_PATH}/{name}",
            _command(name),
            check,
            f"{OF_GUEST} {declaration}",
            by=_BELIEF,
            check_before_9=_MONITOR,
        )
        for name, (method, check, declaration) in _WITH_PARAMETERS.items()
    ),
)
