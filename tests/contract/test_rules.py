"""Who may ask for every simulated path, against the official schemas; and what handlers check beyond the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.lab.pve import ceph_readings, cluster_readings, machine_readings, node_readings
from lib.lab.pve.answers import Answer
from lib.lab.pve.api import ROUTES, rule_of
from tests.contract.recordings import schema
from tests.lab.simulated import Simulated

USER = "asker@pve"
QEMU = "/nodes/node1/qemu"
GUEST = f"{QEMU}/131"
CONTENT = "/nodes/node1/storage/local/content"
NODE_TASK = "/nodes/{node}/tasks/{upid}"

# Where the schema lets everybody ask: what the handler wants (path, privilege), and of whom it says so.
# None: what is listed is only what the caller may see.
INSIDE: dict[tuple[str, str], tuple[str, dict[str, Any], str, str, str | None]] = {
    ("POST", "/nodes/{node}/qemu"): (QEMU, {"vmid": 140}, "/vms/140", "VM.Allocate", ""),
    ("POST", "/nodes/{node}/vzdump"): (
        "/nodes/node1/vzdump",
        {"vmid": 131, "storage": "local"},
        "/storage/local",
        "Datastore.AllocateSpace",
        "/storage/local, Datastore.AllocateSpace",
    ),
    ("DELETE", "/nodes/{node}/storage/{storage}/prunebackups"): (
        "/nodes/node1/storage/local/prunebackups",
        {},
        "/storage/local",
        "Datastore.Allocate",
        "/storage/local, Datastore.Allocate",
    ),
    ("GET", "/nodes/{node}/vzdump/defaults"): (
        "/nodes/node1/vzdump/defaults",
        {},
        "/storage/local",
        "Datastore.Audit",
        "/storage/local, Datastore.Audit|Datastore.AllocateSpace",
    ),
    ("GET", "/nodes/{node}/storage/{storage}/content/{volume}"): (
        f"{CONTENT}/local:iso/a.iso",
        {},
        "/storage/local",
        "Datastore.Audit",
        "/storage/local, Datastore.AllocateSpace|Datastore.Audit",
    ),
    ("PUT", "/nodes/{node}/storage/{storage}/content/{volume}"): (
        f"{CONTENT}/local:iso/a.iso",
        {},
        "/storage/local",
        "Datastore.AllocateSpace",
        "/storage/local, Datastore.AllocateSpace|Datastore.Audit",
    ),
    ("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}"): (
        f"{CONTENT}/local:iso/a.iso",
        {},
        "/storage/local",
        "Datastore.Allocate",
        "/storage/local, Datastore.Allocate",
    ),
    ("GET", f"{NODE_TASK}/status"): (
        "/nodes/node1/tasks/UPID/status",
        {},
        "/nodes/node1",
        "Sys.Audit",
        "/nodes/node1, Sys.Audit",
    ),
    ("GET", f"{NODE_TASK}/log"): (
        "/nodes/node1/tasks/UPID/log",
        {},
        "/nodes/node1",
        "Sys.Audit",
        "/nodes/node1, Sys.Audit",
    ),
    ("DELETE", NODE_TASK): ("/nodes/node1/tasks/UPID", {}, "/nodes/node1", "Sys.Modify", "/nodes/node1, Sys.Modify"),
    ("GET", "/access/permissions"): (
        "/access/permissions",
        {"userid": "root@pam"},
        "/access",
        "Sys.Audit",
        "/access, Sys.Audit",
    ),
    ("GET", "/access/users"): ("/access/users", {}, "/access/groups", "User.Modify", None),
    ("GET", "/access/groups"): ("/access/groups", {}, "/access/groups", "Group.Allocate", None),
    ("GET", "/access/acl"): ("/access/acl", {}, "/access", "Sys.Audit", None),
    ("GET", "/pools"): ("/pools", {}, "/pool/ours", "Pool.Audit", None),
    ("GET", "/cluster/resources"): ("/cluster/resources", {}, "/vms/131", "VM.Audit", None),
    ("GET", "/cluster/options"): ("/cluster/options", {}, "/", "Sys.Audit", None),
    ("GET", "/cluster/tasks"): ("/cluster/tasks", {}, "/", "Sys.Audit", None),
    ("GET", "/nodes/{node}/qemu"): (QEMU, {}, "/vms/131", "VM.Audit", None),
    ("GET", "/nodes/{node}/tasks"): ("/nodes/node1/tasks", {}, "/nodes/node1", "Sys.Audit", None),
    ("GET", "/nodes/{node}/storage"): ("/nodes/node1/storage", {}, "/storage/rbd", "Datastore.Audit", None),
    ("GET", "/storage"): ("/storage", {}, "/storage/rbd", "Datastore.Audit", None),
}
# What tells everybody the same: of a fresh cluster or node, that there is nothing; and what is named here.
_READINGS = (ceph_readings, cluster_readings, machine_readings, node_readings)
FRESH = {(route.method, route.path) for area in _READINGS for route in area.ROUTES}
OPEN = {
    ("GET", "/access/tfa"),
    ("GET", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}"),
    ("GET", "/access"),
    ("GET", "/access/roles"),
    ("GET", "/access/roles/{roleid}"),
    ("GET", "/cluster/nextid"),
    ("GET", "/nodes"),
    ("GET", "/nodes/{node}"),
    ("GET", "/nodes/{node}/network"),
    ("GET", "/nodes/{node}/qemu/{vmid}"),
    ("GET", "/nodes/{node}/qemu/{vmid}/agent"),
    ("GET", "/nodes/{node}/qemu/{vmid}/status"),
    ("GET", NODE_TASK),
    ("GET", "/nodes/{node}/version"),
    ("GET", "/version"),
}


@pytest.mark.parametrize("version", ["8.4", "9.2"])
def test_who_may_ask_is_as_the_schema_says(version: str) -> None:
    paths = schema(version)
    wrong = [
        (route.method, route.path, rule, official)
        for route in ROUTES
        if route.is_in(int(float(version)))
        and (rule := _plain(rule_of(route, int(float(version)))))
        != (official := _official(paths[route.path][route.method].get("permissions")))
    ]
    assert not wrong


def _plain(rule: Any) -> Any:
    return json.loads(json.dumps(rule))


def _official(permissions: dict[str, Any] | None) -> Any:
    """Return the rule of the schema, read as PVE::RPCEnvironment does: `user` first, and none means root alone."""
    if permissions is None:
        return ["user", "root@pam"]
    return ["user", permissions["user"]] if "user" in permissions else permissions["check"]


def test_what_is_open_to_all_is_named_here() -> None:
    opened = {(route.method, route.path) for route in ROUTES if route.check == ("user", "all")}
    assert opened - FRESH == OPEN | set(INSIDE) - FRESH
    assert set(INSIDE) <= opened


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Simulated]:
    """Return a cluster with a guest in a pool, a group, a file, an ended task, and somebody who may nothing."""
    simulated = Simulated(tmp_path)
    for method, path, params in (
        ("POST", "/access/users", {"userid": USER}),
        ("POST", "/access/groups", {"groupid": "ops"}),
        ("POST", "/pools", {"poolid": "ours"}),
        ("POST", QEMU, {"vmid": 131, "scsi0": "rbd:1"}),
    ):
        assert _send(simulated, "root@pam", method, path, params).status == 200
    simulated.hosts["node1"].files.mkdir("/var/lib/vz/template/iso", parents=True)
    simulated.hosts["node1"].files.write("/var/lib/vz/template/iso/a.iso", b"")
    yield simulated
    simulated.world.close()


def _send(lab: Simulated, who: str, method: str, path: str, params: dict[str, Any]) -> Answer:
    given = {name: str(value) for name, value in params.items()}
    return lab.api.call(who, method, path, given, "node1")


@pytest.mark.parametrize("route", INSIDE, ids=" ".join)
def test_the_handler_itself_looks_who_asks(lab: Simulated, route: tuple[str, str]) -> None:
    path, params, where, privilege, refusal = INSIDE[route]
    path = path.replace("UPID", next(iter(lab.world.keys("task"))))
    before = _send(lab, USER, route[0], path, params)
    assert _send(lab, "root@pam", "POST", "/access/roles", {"roleid": "Asker", "privs": privilege}).status == 200
    _send(lab, "root@pam", "PUT", "/access/acl", {"path": where, "roles": "Asker", "users": USER})
    after = _send(lab, USER, route[0], path, params)
    assert after.status == 200, after
    if refusal is None:
        assert before.status == 200
        assert before.body is not None
        assert after.body is not None
        assert len(before.body["data"]) < len(after.body["data"])
    else:
        told = f"Permission check failed ({refusal})" if refusal else "Permission check failed"
        assert (before.status, before.reason) == (403, told)
