"""Own what is read of Ceph beyond its status: pools, monitors, OSDs, rules, flags; or that the node has none of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib.lab.provenance import INDEX, SCHEMA
from lib.lab.pve import storage_state
from lib.lab.pve.call import Call, Route, perm
from lib.lab.pve.readings import AUDIT, names, reading
from lib.lab.pve.rights import major
from lib.lab.world import Document

_FLAGS = "nobackfill nodeep-scrub nodown noin noout norebalance norecover noscrub notieragent noup pause"
_BELOW = "cfg cmd-safety crush fs init log mds mgr mon osd pool restart rules start status stop"


def _with(read: Callable[[Call, Document], Any]) -> Callable[[Call], Any]:
    """Return a handler that refuses on a node without Ceph."""

    def handler(call: Call) -> Any:
        ceph = call.world.get("meta", "ceph")
        if ceph is None:
            raise storage_state.no_ceph()
        return read(call, ceph)

    return handler


def _pools(call: Call, ceph: Document) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {"type": "replicated", "size": int(ceph.get("replicas", 3)), "min_size": 2, "pg_num": 32}
    shared |= {"crush_rule": 0, "crush_rule_name": "replicated_rule", "pg_autoscale_mode": "on"}
    return [shared | {"pool": number, "pool_name": name} for number, name in enumerate(ceph["pools"], 1)]


def _monitors(call: Call, ceph: Document) -> list[dict[str, Any]]:
    nodes = list(call.world.all("node").items())[:3]
    shared = {"direxists": 1, "quorum": 1, "service": 1, "state": "running"}
    return [
        shared | {"name": name, "host": name, "addr": f"{node['address']}:6789/0", "rank": rank}
        for rank, (name, node) in enumerate(nodes)
    ]


def _osds(call: Call, ceph: Document) -> dict[str, Any]:
    nodes = call.world.keys("node")
    each = int(ceph["osds"]) // len(nodes)
    hosts = []
    for place, name in enumerate(nodes):
        leaves = [
            {
                "id": str(number),
                "name": f"osd.{number}",
                "type": "osd",
                "status": "up",
                "in": 1,
                "host": name,
                "leaf": 1,
            }
            for number in range(place * each, (place + 1) * each)
        ]
        hosts.append({"id": str(-3 - 2 * place), "name": name, "type": "host", "children": leaves, "leaf": 0})
    root = {"id": "-1", "name": "default", "type": "root", "children": hosts, "leaf": 0}
    return {
        "flags": "sortbitwise,recovery_deletes,purged_snapdirs,pglog_hardlimit",
        "root": {"leaf": 0, "children": [root]},
    }


def _flags(call: Call, ceph: Document) -> list[dict[str, Any]]:
    return [{"name": name, "value": 0} for name in _FLAGS.split()]


def _of_cluster(call: Call) -> list[dict[str, str]]:
    return names("name", "metadata", "status", "flags", *(["restart-bulk"] if major(call.world) >= 9 else []))


def _of_node(call: Call) -> list[dict[str, str]]:
    return names("name", *_BELOW.split(), *(["releases", "restart-bulk"] if major(call.world) >= 9 else []))


_CEPH = perm("/", "Sys.Audit", "Datastore.Audit", any_of=True)
_NODE = "node:node"
_AT = "/nodes/{node}/ceph"
ROUTES: tuple[Route, ...] = (
    reading("/cluster/ceph", _of_cluster, INDEX),
    reading("/cluster/ceph/flags", _with(_flags), SCHEMA, AUDIT),
    reading(_AT, _of_node, INDEX, _CEPH, _NODE),
    reading(f"{_AT}/pool", _with(_pools), SCHEMA, _CEPH, _NODE),
    reading(f"{_AT}/mon", _with(_monitors), SCHEMA, _CEPH, _NODE),
    reading(f"{_AT}/osd", _with(_osds), SCHEMA, _CEPH, _NODE),
    reading(f"{_AT}/rules", _with(lambda call, ceph: names("name", "replicated_rule")), SCHEMA, _CEPH, _NODE),
)
