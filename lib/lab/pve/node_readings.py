"""Own what is read of one node beyond its state: containers, hosts file, subscription, disks and services.

The hosts file, the name servers and the time zone can be changed, too. There are no containers, and nothing but
the root disk: what only the machine can tell is told of one that has little.
"""

from __future__ import annotations

import hashlib
from typing import Any

from lib.lab.provenance import INDEX, SCHEMA
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import OF_GUEST, SEES_STORAGE, Call, Route, either, on_guest, perm
from lib.lab.pve.readings import AUDIT, FRESH_DIGEST, MACHINE, guest_reading, names, reading

_NODE = "node:node"
_PRICES = "https://www.proxmox.com/en/proxmox-virtual-environment/pricing"


# ----------------------------------------------------------------- settings


def get_hosts(call: Call) -> dict[str, str]:
    """GET /nodes/{node}/hosts."""
    text = call.files.read("/etc/hosts").decode() if call.files.exists("/etc/hosts") else ""
    return {"data": text, "digest": hashlib.sha1(text.encode()).hexdigest()}


def set_hosts(call: Call) -> None:
    """POST /nodes/{node}/hosts."""
    if call.get("digest") not in (None, get_hosts(call)["digest"]):
        raise failure("detected modified configuration - file changed by other user? Try again.")
    call.files.mkdir("/etc", parents=True)
    call.files.write("/etc/hosts", str(call["data"]).encode())


def set_dns(call: Call) -> None:
    """PUT /nodes/{node}/dns."""
    servers = [call[name] for name in ("dns1", "dns2", "dns3") if name in call.params]
    call.world.put("meta", "lab", call.world.lab | {"nameservers": servers, "domain": call["search"]})


def set_time(call: Call) -> None:
    """PUT /nodes/{node}/time."""
    zone = call["timezone"]
    if zone != "UTC" and "/" not in zone:
        raise invalid(timezone="No such timezone")
    node = call.world.get("node", call.node) or {}
    call.world.put("node", call.node, node | {"timezone": zone})


# ------------------------------------------------------------------ machine


def _no_container(call: Call) -> Any:
    raise failure(f"Configuration file 'nodes/{call.node}/lxc/{call['vmid']}.conf' does not exist")


def _service(name: str) -> dict[str, str]:
    state = {"active-state": "active", "state": "running", "unit-state": "enabled"}
    return state | {"desc": name, "name": name, "service": name}


def _services(call: Call) -> list[dict[str, str]]:
    units = (call.world.get("host", call.node) or {}).get("units", {})
    known = [name.removesuffix(".service") for name in units] or ["pvedaemon", "pveproxy", "pvestatd"]
    return [_service(name) for name in known]


def _service_state(call: Call) -> dict[str, str]:
    return _service(call["service"])


def _subscription(call: Call) -> dict[str, str]:
    server = hashlib.md5(call.node.encode(), usedforsecurity=False).hexdigest().upper()
    told = {"message": "There is no subscription key", "status": "notfound", "url": _PRICES}
    return told | ({"serverid": server} if call.may(f"/nodes/{call.node}", "Sys.Audit") else {})


def _network_state(call: Call) -> list[dict[str, str]]:
    node = call.world.get("node", call.node) or {}
    zone = {"status": "available", "zone": "localnetwork"}
    return [zone] if node.get("bridges") or node.get("interfaces") else []


_SYS = perm("/nodes/{node}", "Sys.Audit")
_MODIFY = perm("/nodes/{node}", "Sys.Modify")
_VM = on_guest("VM.Audit")
_OF_CONFIG = f"{OF_GUEST} current?:bool snapshot?:configid<..40>"
_FRAME = "timeframe:(hour|day|week|month|year) cf?:(AVERAGE|MAX)"
_FRAMES = """timeframe:(hour|day|week|month|year)@8 timeframe:(hour|day|week|month|year|decade)@9 cf?:(AVERAGE|MAX)"""
_CONFIG = f"""{_NODE} property?:(acme|acmedomain0|acmedomain1|acmedomain2|acmedomain3|acmedomain4|acmedomain5
|ballooning-target|description|startall-onboot-delay|wakeonlan)@8
property?:(acme|acmedomain0|acmedomain1|acmedomain2|acmedomain3|acmedomain4|acmedomain5
|ballooning-target|description|location|startall-onboot-delay|wakeonlan)@9""".replace("\n|", "|")
_BASIC = "chrony|corosync|cron|ksmtuned"
_OWN = "pve-cluster|pve-firewall|pve-ha-crm|pve-ha-lrm"
_DAEMONS = "pvedaemon|pvefw-logger|pveproxy|pvescheduler|pvestatd"
_REST = "spiceproxy|sshd|syslog|systemd-journald|systemd-timesyncd"
_SERVICE = f"""{_NODE}
service:({_BASIC}|postfix|{_OWN}|{_DAEMONS}|{_REST})@8
service:({_BASIC}|lxcfs|postfix|proxmox-firewall|{_OWN}|pve-lxc-syscalld|{_DAEMONS}|qmeventd|{_REST})@9"""
_DISKS = either(AUDIT, _SYS)
_AT = "/nodes/{node}"
ROUTES = (
    reading(f"{_AT}/hosts", get_hosts, SCHEMA, AUDIT, _NODE),
    Route("POST", f"{_AT}/hosts", set_hosts, _MODIFY, f"{_NODE} data:str digest?:str<..64>", by=SCHEMA),
    Route("PUT", f"{_AT}/dns", set_dns, _MODIFY, f"{_NODE} search:str dns1?:ip dns2?:ip dns3?:ip", by=SCHEMA),
    Route("PUT", f"{_AT}/time", set_time, _MODIFY, f"{_NODE} timezone:str", by=SCHEMA),
    reading(f"{_AT}/lxc", [], SCHEMA, declaration=_NODE),
    reading(f"{_AT}/lxc/{{vmid}}/config", _no_container, SCHEMA, _VM, _OF_CONFIG),
    reading(f"{_AT}/lxc/{{vmid}}/status/current", _no_container, SCHEMA, _VM, OF_GUEST),
    reading(f"{_AT}/subscription", _subscription, SCHEMA, declaration=_NODE),
    reading(f"{_AT}/config", {"digest": FRESH_DIGEST}, SCHEMA, AUDIT, _CONFIG),
    reading(f"{_AT}/replication", [], SCHEMA, declaration=f"{_NODE} guest?:vmid"),
    reading(f"{_AT}/apt", names("id", "changelog", "repositories", "update", "versions"), INDEX, declaration=_NODE),
    reading(f"{_AT}/apt/update", [], SCHEMA, _MODIFY, _NODE),
    reading(f"{_AT}/services", _services, MACHINE, _SYS, _NODE),
    reading(
        f"{_AT}/services/{{service}}",
        names("subdir", "state", "start", "stop", "restart", "reload"),
        INDEX,
        _SYS,
        _SERVICE,
    ),
    reading(f"{_AT}/services/{{service}}/state", _service_state, MACHINE, _SYS, _SERVICE),
    reading(
        f"{_AT}/disks",
        names("name", "list", "initgpt", "smart", "lvm", "lvmthin", "directory", "wipedisk", "zfs"),
        INDEX,
        declaration=_NODE,
    ),
    reading(
        f"{_AT}/disks/list",
        [],
        SCHEMA,
        _DISKS,
        f"{_NODE} include-partitions?:bool skipsmart?:bool type?:(unused|journal_disks)",
    ),
    reading(f"{_AT}/disks/lvm", {"children": [], "leaf": 0}, SCHEMA, AUDIT, _NODE),
    *(reading(f"{_AT}/disks/{kind}", [], SCHEMA, AUDIT, _NODE) for kind in ("lvmthin", "zfs", "directory")),
    reading(f"{_AT}/certificates", names("name", "acme", "custom", "info"), INDEX, declaration=_NODE),
    reading(f"{_AT}/firewall", names("name", "log", "options", "rules"), INDEX, declaration=_NODE),
    reading(f"{_AT}/firewall/options", {"digest": FRESH_DIGEST}, SCHEMA, _SYS, _NODE),
    reading(f"{_AT}/firewall/rules", [], SCHEMA, _SYS, _NODE),
    reading(f"{_AT}/hardware", names("type", "pci", "usb"), INDEX, declaration=_NODE),
    reading(
        f"{_AT}/hardware/pci",
        [],
        SCHEMA,
        perm("/", "Sys.Audit", "Sys.Modify", any_of=True),
        f"{_NODE} pci-class-blacklist?:string-list verbose?:bool",
    ),
    reading(f"{_AT}/hardware/usb", [], SCHEMA, perm("/", "Sys.Modify"), _NODE),
    reading(f"{_AT}/capabilities", names("name", "qemu"), INDEX, declaration=_NODE),
    reading(f"{_AT}/scan", names("method", "cifs", "iscsi", "lvm", "nfs", "pbs", "zfs"), INDEX, declaration=_NODE),
    reading(f"{_AT}/netstat", [], MACHINE, _SYS, _NODE),
    reading(f"{_AT}/rrddata", [], MACHINE, _SYS, f"{_NODE} {_FRAMES}"),
    reading(f"{_AT}/storage/{{storage}}/rrddata", [], MACHINE, SEES_STORAGE, f"{_NODE} storage:storage-id {_FRAME}"),
    reading(f"{_AT}/qemu/{{vmid}}/rrddata", guest_reading([]), MACHINE, _VM, f"{OF_GUEST} {_FRAME}"),
    reading(
        f"{_AT}/qemu/{{vmid}}/firewall",
        names("name", "aliases", "ipset", "log", "options", "refs", "rules"),
        INDEX,
        declaration=OF_GUEST,
    ),
    reading(f"{_AT}/qemu/{{vmid}}/firewall/options", {"digest": FRESH_DIGEST}, SCHEMA, _VM, OF_GUEST),
    reading(f"{_AT}/qemu/{{vmid}}/firewall/rules", [], SCHEMA, _VM, OF_GUEST),
    reading(f"{_AT}/sdn/zones", _network_state, SCHEMA, declaration=_NODE),
)
