"""Own what is asked of one node (API: /version, /nodes): status, version, network, DNS, time, its tasks."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from lib.lab.internet import fetch
from lib.lab.provenance import INDEX, RECORDED, SCHEMA
from lib.lab.pve import cluster, tasks
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import Call, Route, either, everyone, perm
from lib.lab.pve.formats import split_list
from lib.lab.pve.readings import names, reading
from lib.lab.world import Document

_HEX = r"(?:[0-9A-Fa-f]{8,}|<\w+>)"
_UPID = re.compile(rf"UPID:[a-zA-Z0-9-]+:{_HEX}:{_HEX}:{_HEX}:[^:\s]+:[^:\s]*:[^:\s]+:")
_FOLDERS = (
    *("aplinfo", "apt", "capabilities", "ceph", "certificates", "config", "disks", "dns", "firewall", "hardware"),
    *("hosts", "journal", "lxc", "migrateall", "netstat", "network", "qemu", "query-url-metadata", "replication"),
    *("report", "rrd", "rrddata", "scan", "sdn", "services", "spiceshell", "startall", "status", "stopall", "storage"),
    *("subscription", "suspendall", "syslog", "tasks", "termproxy", "time", "version", "vncshell", "vzdump"),
    "wakeonlan",
)
_BRIDGE_TYPES = ("bridge", "OVSBridge")


def version(call: Call) -> dict[str, str]:
    """GET /version and /nodes/{node}/version."""
    return {key: call.world.lab[key] for key in ("release", "repoid", "version")}


def index(call: Call) -> list[dict[str, Any]]:
    """GET /nodes."""
    return cluster.node_entries(call)


def status(call: Call) -> dict[str, Any]:
    """GET /nodes/{node}/status."""
    node = call.world.get("node", call.node) or {}
    figures = cluster.node_figures(call, call.node, node)
    free = node["memory"] - figures["mem"]
    return {
        "boot-info": {"mode": "efi" if node.get("nic") else "legacy-bios"},
        "cpu": figures["cpu"],
        "idle": 0,
        "memory": {"available": free, "free": free, "total": node["memory"], "used": figures["mem"]},
        "swap": {"free": 0, "total": 0, "used": 0},
        "uptime": figures["uptime"],
        "wait": 0.001,
    }


# ------------------------------------------------------------------ network


def network(call: Call) -> list[dict[str, Any]]:
    """GET /nodes/{node}/network."""
    wanted = call.get("type")
    found = [each for each in _interfaces(call) if each["type"] not in _BRIDGE_TYPES or _may_use(call, each["iface"])]
    if wanted in (None, "include_sdn"):
        return found
    if wanted in ("any_bridge", "any_local_bridge"):
        return [each for each in found if each["type"] in _BRIDGE_TYPES]
    return [each for each in found if each["type"] == wanted]


def _may_use(call: Call, bridge: str) -> bool:
    """Tell whether the caller may see or use a bridge, or one of its VLANs."""
    path = f"/sdn/zones/localnetwork/{bridge}"
    tagged = {acl["path"] for acl in call.world.all("acl").values() if acl["path"].startswith(f"{path}/")}
    return call.is_root or any(call.may(each, "SDN.Audit", "SDN.Use", any_of=True) for each in (path, *tagged))


def interface(call: Call) -> dict[str, Any]:
    """GET /nodes/{node}/network/{iface}."""
    for each in _interfaces(call):
        if each["iface"] == call["iface"]:
            return {key: value for key, value in each.items() if key != "iface"}
    raise invalid(iface="interface does not exist")


def _interfaces(call: Call) -> list[dict[str, Any]]:
    node = call.world.get("node", call.node) or {}
    if "interfaces" in node:
        return list(node["interfaces"])
    meta = call.world.lab
    plain = {"families": ["inet"], "method6": "manual", "autostart": 1, "active": 1}
    found: list[dict[str, Any]] = []
    for number, bridge in enumerate(node["bridges"]):
        entry = {"iface": bridge, "type": "bridge", "bridge_fd": "0", "bridge_stp": "off", "priority": 3 + number}
        entry |= {"bridge_ports": node.get("nic", "eno1") if number == 0 else "", "method": "manual"} | plain
        if number == 0:
            prefix = ipaddress.ip_network(meta["cidr"]).prefixlen
            netmask = str(ipaddress.ip_network(meta["cidr"]).netmask)
            entry |= {"method": "static", "address": node["address"], "netmask": netmask, "gateway": meta["gateway"]}
            entry["cidr"] = f"{node['address']}/{prefix}"
        found.append(entry)
    nic = {"iface": node.get("nic", "eno1"), "type": "eth", "method": "manual", "exists": 1} | plain
    return [*found, nic]


def dns(call: Call) -> dict[str, str]:
    """GET /nodes/{node}/dns."""
    meta = call.world.lab
    found = {f"dns{number}": address for number, address in enumerate(meta["nameservers"][:3], 1)}
    return found | ({"search": meta["domain"]} if meta.get("domain") else {})


def time_of_node(call: Call) -> dict[str, Any]:
    """GET /nodes/{node}/time: the node's own clock, and the same read as local time."""
    node = call.world.get("node", call.node) or {}
    if node.get("timezone", "Etc/UTC") is None:
        raise failure("command 'timedatectl show '--property=Timezone' --value' failed: exit code 1")
    now = int(call.now + node.get("clock_offset", 0.0))
    return {"time": now, "localtime": now, "timezone": node.get("timezone", "Etc/UTC")}


# -------------------------------------------------------------------- tasks


def _visible(call: Call, task: Document) -> bool:
    return tasks.is_own(call.identity, task) or call.may(f"/nodes/{task['node']}", "Sys.Audit")


def list_tasks(call: Call) -> list[dict[str, Any]]:
    """GET /nodes/{node}/tasks: the newest first; `total` stands beside the list."""
    source = call.get("source", "archive")
    found = []
    for task in reversed(call.world.all("task").values()):
        ended = task["endtime"] is not None
        if task["node"] != call.node or not _visible(call, task):
            continue
        if (source == "archive" and not ended) or (source == "active" and ended):
            continue
        if _wanted(call, task):
            running = {} if ended else {"saved": "0", "status": "RUNNING"}
            found.append(tasks.describe(task) | running)
    call.extra["total"] = len(found)
    start = call.get("start", 0)
    return found[start : start + call.get("limit", 50)]


def _wanted(call: Call, task: Document) -> bool:
    kinds = {"typefilter": task["type"], "vmid": task["id"]}
    if any(name in call.params and str(call[name]) != str(value) for name, value in kinds.items()):
        return False
    if str(call.get("userfilter", "")).lower() not in str(task["user"]).lower():
        return False
    word = _word(task["exitstatus"])
    if call.get("errors"):  # warnings are among them, and no other filter counts then
        if word == "ok":
            return False
    elif "statusfilter" in call.params and word not in split_list(str(call["statusfilter"]).lower()):
        return False
    started = task["starttime"]
    return bool(call.get("since", 0) <= started <= call.get("until", started))


def _word(exitstatus: str | None) -> str:
    if exitstatus is None or exitstatus == "unexpected status":
        return "unknown"
    return "ok" if exitstatus == "OK" else "warning" if exitstatus.startswith("WARNINGS: ") else "error"


def _task(call: Call, privilege: str = "Sys.Audit") -> Document:
    if not _UPID.fullmatch(call["upid"]):
        raise invalid(upid="unable to parse worker upid")
    task = call.world.get("task", call["upid"])
    if task is None or task["node"] != call.node:
        raise invalid(upid="no such task")
    if not tasks.is_own(call.identity, task):
        call.need(f"/nodes/{call.node}", privilege)
    return task


def task_status(call: Call) -> dict[str, Any]:
    """GET /nodes/{node}/tasks/{upid}/status: a task that failed is a 200 all the same."""
    task = _task(call)
    shown = {key: task[key] for key in ("upid", "node", "pid", "pstart", "starttime", "type", "id", "user", "status")}
    if task["tokenid"]:
        shown["tokenid"] = task["tokenid"]
    if task["exitstatus"] is not None:
        shown["exitstatus"] = task["exitstatus"]
    return shown


def task_log(call: Call) -> list[dict[str, Any]]:
    """GET /nodes/{node}/tasks/{upid}/log: it opens the file, whether there is one or not."""
    if _UPID.fullmatch(call["upid"]) and call.world.get("task", call["upid"]) is None:
        if call["upid"].split(":")[-2] != call.identity:
            call.need(f"/nodes/{call.node}", "Sys.Audit")
        lines = ["unable to open file - No such file or directory"]
    else:
        lines = _task(call)["log"]
    if call.get("download") and {"start", "limit"} & set(call.params):
        raise failure("'download' cannot be used together with 'start' or 'limit' parameters")
    start = call.get("start", 0)
    end = start + (call.get("limit", 50) or len(lines))
    call.extra["total"] = len(lines)
    if not lines:
        return [{"n": 1, "t": "no content"}]
    return [{"n": number, "t": text} for number, text in enumerate(lines, 1)][start:end]


def stop_task(call: Call) -> None:
    """DELETE /nodes/{node}/tasks/{upid}: end a running task; what it would have done does not happen."""
    task = _task(call, "Sys.Modify")
    if task["endtime"] is None:
        tasks.abort(call.world, call.now, task)


# ----------------------------------------------------------------- metadata


def query_url(call: Call) -> dict[str, Any]:
    """GET /nodes/{node}/query-url-metadata: what the simulated internet has at that URL."""
    found = fetch(call.world, call["url"])
    if isinstance(found, str):
        raise failure(f"invalid server response: '{found}'")
    name = call["url"].rpartition("/")[2]
    return {"filename": name, "mimetype": found.get("mimetype", "application/octet-stream"), "size": found["size"]}


MAY_DOWNLOAD = either(perm("/", "Sys.Audit", "Sys.Modify"), perm("/nodes/{node}", "Sys.AccessNetwork"))
_AUDIT = perm("/nodes/{node}", "Sys.Audit")
_KINDS = "OVSBridge|OVSBond|OVSPort|OVSIntPort|vnet|any_bridge|any_local_bridge"
_NETWORK_TYPES = f"""node:node type?:(bridge|bond|eth|alias|vlan|{_KINDS})@8
type?:(bridge|bond|eth|alias|vlan|fabric|{_KINDS}|include_sdn)@9"""
ROUTES = (
    Route("GET", "/version", version, everyone, by=RECORDED),
    Route("GET", "/nodes", index, everyone, by=RECORDED),
    reading("/nodes/{node}", names("name", *_FOLDERS), INDEX, declaration="node:node"),
    Route("GET", "/nodes/{node}/version", version, everyone, "node:node", by=RECORDED),
    Route("GET", "/nodes/{node}/status", status, _AUDIT, "node:node", by=RECORDED),
    Route("GET", "/nodes/{node}/network", network, everyone, _NETWORK_TYPES, by=RECORDED),
    Route("GET", "/nodes/{node}/network/{iface}", interface, _AUDIT, "node:node iface:iface<2..20>", by=SCHEMA),
    Route("GET", "/nodes/{node}/dns", dns, _AUDIT, "node:node", by=RECORDED),
    Route("GET", "/nodes/{node}/time", time_of_node, _AUDIT, "node:node", by=SCHEMA),
    Route(
        "GET",
        "/nodes/{node}/query-url-metadata",
        query_url,
        MAY_DOWNLOAD,
        "node:node url:url verify-certificates?:bool",
        by=RECORDED,
    ),
    Route(
        "GET",
        "/nodes/{node}/tasks",
        list_tasks,
        everyone,
        "node:node errors?:bool limit?:int[0..] since?:int source?:(archive|active|all) start?:int[0..]"
        " statusfilter?:task-status-type-list typefilter?:str until?:int userfilter?:str vmid?:vmid",
        by=RECORDED,
    ),
    reading("/nodes/{node}/tasks/{upid}", names("name", "log", "status"), INDEX, declaration="node:node upid:str"),
    Route("DELETE", "/nodes/{node}/tasks/{upid}", stop_task, everyone, "node:node upid:str", by=SCHEMA),
    Route("GET", "/nodes/{node}/tasks/{upid}/status", task_status, everyone, "node:node upid:str", by=SCHEMA),
    Route(
        "GET",
        "/nodes/{node}/tasks/{upid}/log",
        task_log,
        everyone,
        "node:node upid:str download?:bool limit?:int[0..] start?:int[0..]",
        by=SCHEMA,
    ),
)
