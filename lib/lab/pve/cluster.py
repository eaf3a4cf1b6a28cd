"""Own what is asked of the cluster as a whole (API: /cluster): resources, status, next VM id, tasks, Ceph."""

from __future__ import annotations

from typing import Any

from lib.lab.faults import Faults
from lib.lab.provenance import RECORDED, belief
from lib.lab.pve import datacenter, guest_state, storage_state, tasks
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import Call, Route, everyone, perm
from lib.lab.world import Document, World


def is_up(world: World, node: str) -> bool:
    """Tell whether a node can be reached: it is on, and no fault has cut it off."""
    found = world.peek("node", node)
    if found is None or not found.get("online", True):
        return False
    return Faults(world).standing("partition", _partition(node, found)) is None


def is_reached(world: World, node: str) -> bool:
    """Tell whether who tries now reaches a node; a try that a partition frustrates uses it up by one."""
    found = world.peek("node", node)
    frustrated = found is not None and Faults(world).take("partition", _partition(node, found)) is not None
    return not frustrated and is_up(world, node)


def _partition(node: str, document: Document) -> str:
    return f"{node} {document.get('address', '')}"


# ---------------------------------------------------------------- resources


def node_entries(call: Call) -> list[dict[str, Any]]:
    """Return every node as /nodes and /cluster/resources show it; figures only for those who may audit."""
    found = []
    for name, node in call.world.all("node").items():
        up = is_up(call.world, name)
        entry: dict[str, Any] = {"id": f"node/{name}", "level": "", "node": name, "type": "node"}
        entry["status"] = "online" if up else "offline"
        if up and call.may(f"/nodes/{name}", "Sys.Audit"):
            entry |= node_figures(call, name, node)
        found.append(entry)
    return found


def node_figures(call: Call, name: str, node: Document) -> dict[str, Any]:
    """Return load, memory and root disk of a node."""
    total, used = storage_state.root_usage(call.world, name)
    guests = [guest for guest in call.world.all("guest").values() if guest["node"] == name]
    busy = sum(guest_state.memory_bytes(guest["config"]) for guest in guests if guest["status"] == "running")
    return {
        "cpu": 0.02,
        "maxcpu": node["cpus"],
        "mem": min(node["memory"], node["memory"] // 16 + busy),
        "maxmem": node["memory"],
        "disk": used,
        "maxdisk": total,
        "uptime": int(call.now - node["boot_time"]),
    }


def guest_entries(call: Call) -> list[dict[str, Any]]:
    """Return the guests that the caller may audit."""
    found = []
    for vmid, guest in call.world.all("guest").items():
        if not call.may(f"/vms/{vmid}", "VM.Audit"):
            continue
        up = is_up(call.world, guest["node"])
        entry = guest_state.resource(call.world, guest, call.now, up)
        if "pool" in entry and not call.may(f"/pool/{entry['pool']}", "Pool.Audit"):
            del entry["pool"]
        found.append(entry)
    return found


def storage_entries(call: Call) -> list[dict[str, Any]]:
    """Return each storage on each of its nodes, as far as the caller may audit."""
    found = []
    for name in call.world.keys("storage"):
        if not call.may(f"/storage/{name}", "Datastore.Audit"):
            continue
        section = call.world.get("storage", name) or {}
        for node in call.world.keys("node"):
            if storage_state.is_on(section, node):
                up = is_up(call.world, node)
                found.append(storage_state.resource(call.world, name, section, node, up))
    return found


def resources(call: Call) -> list[dict[str, Any]]:
    """GET /cluster/resources: everything in one list."""
    wanted = call.get("type")
    found: list[dict[str, Any]] = []
    if wanted in (None, "vm"):
        found += guest_entries(call)
    if wanted in (None, "node"):
        found += [entry | ({"cgroup-mode": 2} if entry["status"] == "online" else {}) for entry in node_entries(call)]
    if wanted in (None, "storage"):
        off = {name for name, section in call.world.all("storage").items() if section.get("disable")}
        found += [entry for entry in storage_entries(call) if entry["storage"] not in off]
    if wanted in (None, "sdn"):
        found += _networks(call)
    if wanted is None:
        pools = (name for name in call.world.keys("pool") if call.may(f"/pool/{name}", "Pool.Audit"))
        found += [{"id": f"/pool/{name}", "pool": name, "type": "pool"} | _load(call, name) for name in pools]
    return found


def _load(call: Call, pool: str) -> dict[str, Any]:
    """Return what the running guests of a pool use together; nothing where none runs."""
    guests = [guest for guest in call.world.all("guest").values() if guest.get("pool") == pool]
    entries = [guest_state.resource(call.world, guest, call.now, True) for guest in guests]
    runs = [entry for entry in entries if entry.get("uptime")]
    if not runs:
        return {}
    cpus = sum(entry["maxcpu"] for entry in runs)
    found = {key: sum(entry[key] for entry in runs) for key in ("mem", "maxmem", "maxcpu")}
    found["cpu"] = sum(entry["cpu"] * entry["maxcpu"] for entry in runs) / cpus
    return found | {"uptime": max(entry["uptime"] for entry in runs)}


def _networks(call: Call) -> list[dict[str, Any]]:
    """Return what the nodes report of their SDN; here they report nothing that nobody put there."""
    reported = (call.world.get("meta", "sdn") or {}).get("reported", [])
    return [entry for entry in reported if call.may(f"/sdn/zones/{entry.get('sdn', '')}", "SDN.Audit")]


# ------------------------------------------------------------------- status


def status(call: Call) -> list[dict[str, Any]]:
    """GET /cluster/status: a node on its own is no cluster."""
    nodes = call.world.all("node")
    alone = len(nodes) == 1
    found: list[dict[str, Any]] = []
    if not alone:
        up = sum(is_up(call.world, name) for name in nodes)
        name = call.world.lab.get("cluster_name", "lab")
        cluster = {"id": "cluster", "name": name, "nodes": len(nodes), "quorate": int(2 * up > len(nodes))}
        found.append(cluster | {"type": "cluster", "version": len(nodes)})
    for name, node in nodes.items():
        found.append(
            {
                "id": f"node/{name}",
                "ip": node["address"],
                "level": "",
                "local": int(name == call.node),
                "name": name,
                "nodeid": 0 if alone else node["nodeid"],
                "online": int(is_up(call.world, name)),
                "type": "node",
            }
        )
    return found


def next_id(call: Call) -> str:
    """GET /cluster/nextid: the first free VM id, or a check of the one given. It reserves nothing."""
    taken = {int(vmid) for vmid in call.world.keys("guest")}
    if "vmid" in call.params:
        if call["vmid"] in taken:
            raise invalid(vmid=f"VM {call['vmid']} already exists")
        return str(call["vmid"])
    lower, upper = datacenter.ids(datacenter.settings(call.world))
    free = next((vmid for vmid in range(lower, upper) if vmid not in taken), None)
    if free is None:
        raise failure(f"unable to get any free VMID in range [{lower}, {upper}]")
    return str(free)


def list_tasks(call: Call) -> list[dict[str, Any]]:
    """GET /cluster/tasks: the newest of all nodes; a token that may not see all sees none, not even its own."""
    sees_all = call.may("/", "Sys.Audit")
    found = []
    for task in reversed(call.world.all("task").values()):
        if sees_all or call.identity == task["user"]:
            shown = tasks.describe(task)
            del shown["pid"], shown["pstart"]
            found.append(shown | ({"saved": "1"} if task["endtime"] is not None else {}))
    return found[:25]


# --------------------------------------------------------------------- Ceph


def ceph_status(call: Call) -> dict[str, Any]:
    """GET /cluster/ceph/status: health and how full, as `ceph status --format json` has them."""
    ceph = call.world.get("meta", "ceph")
    if ceph is None:
        raise storage_state.no_ceph()
    total, used = storage_state.ceph_usage(call.world)
    return {
        "fsid": ceph["fsid"],
        "health": {"status": ceph["health"], "checks": ceph["checks"], "mutes": []},
        "quorum_names": call.world.keys("node")[:3],
        "osdmap": {"num_osds": ceph["osds"], "num_up_osds": ceph["osds"], "num_in_osds": ceph["osds"]},
        "pgmap": {
            "bytes_total": total,
            "bytes_used": used,
            "bytes_avail": total - used,
            "num_pools": len(ceph["pools"]),
            "num_pgs": 32 * len(ceph["pools"]),
        },
    }


_CEPH = perm("/", "Sys.Audit", "Datastore.Audit", any_of=True)
_CEPH_KEYS = belief("which keys the status of Ceph has")
ROUTES = (
    Route("GET", "/cluster/resources", resources, everyone, "type?:(vm|storage|node|sdn)", by=RECORDED),
    Route("GET", "/cluster/status", status, perm("/", "Sys.Audit"), by=RECORDED),
    Route("GET", "/cluster/nextid", next_id, everyone, "vmid?:vmid", by=RECORDED),
    Route("GET", "/cluster/tasks", list_tasks, everyone, by=RECORDED),
    Route("GET", "/cluster/ceph/status", ceph_status, _CEPH, by=_CEPH_KEYS),
    Route("GET", "/nodes/{node}/ceph/status", ceph_status, _CEPH, "node:node", by=_CEPH_KEYS),
)
