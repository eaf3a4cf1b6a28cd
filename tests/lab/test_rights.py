"""Who may do what in the simulated cluster: users, tokens, paths, pools, and the two versions' privileges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.lab.pve.answers import Answer
from tests.lab.simulated import Simulated

USER, TOKEN = "packer@pve", "packer@pve!build-a"


class Cluster:
    """A bare cluster with a user and a privilege-separated token."""

    def __init__(self, lab: Simulated) -> None:
        self.lab = lab
        self.root("POST", "/access/users", userid=USER)
        self.root("POST", f"/access/users/{USER}/token/build-a")

    def send(self, identity: str, method: str, where: str, /, **params: Any) -> Answer:
        named = {name.replace("_", "-"): str(value) for name, value in params.items()}
        return self.lab.api.call(identity, method, where, named, "node1")

    def root(self, method: str, where: str, /, **params: Any) -> Any:
        answer = self.send("root@pam", method, where, **params)
        assert answer.status == 200, answer
        return answer.body["data"] if answer.body else None

    def grant(self, path: str, role: str, to: str = USER, **extra: Any) -> None:
        kind = "tokens" if "!" in to else "users"
        self.root("PUT", "/access/acl", path=path, roles=role, **{kind: to}, **extra)

    def held(self, identity: str, path: str) -> set[str]:
        answer = self.send("root@pam", "GET", "/access/permissions", userid=identity, path=path)
        assert answer.body is not None, answer
        return set(answer.body["data"][path])


@pytest.fixture
def cluster(simulated: Simulated) -> Cluster:
    return Cluster(simulated)


def test_token_holds_only_what_its_user_holds_too(cluster: Cluster) -> None:
    cluster.grant("/vms", "PVEVMAdmin", TOKEN)
    assert cluster.held(TOKEN, "/vms") == set()
    cluster.grant("/vms", "PVEVMUser")
    assert "VM.PowerMgmt" in cluster.held(TOKEN, "/vms")
    assert "VM.Allocate" not in cluster.held(TOKEN, "/vms")


def test_token_without_separation_is_its_user(cluster: Cluster) -> None:
    cluster.grant("/vms", "PVEVMUser")
    assert cluster.held(TOKEN, "/vms") == set()
    cluster.root("PUT", f"/access/users/{USER}/token/build-a", privsep=0)
    assert cluster.held(TOKEN, "/vms") == cluster.held(USER, "/vms") != set()


def test_rights_pass_down_unless_told_not_to(cluster: Cluster) -> None:
    cluster.grant("/vms", "PVEVMUser", propagate=0)
    assert cluster.held(USER, "/vms")
    assert not cluster.held(USER, "/vms/131")
    cluster.grant("/vms", "PVEVMUser", propagate=1)
    assert cluster.held(USER, "/vms/131")


def test_a_longer_path_replaces_what_was_inherited(cluster: Cluster) -> None:
    cluster.grant("/", "PVEAdmin")
    cluster.grant("/vms/131", "PVETemplateUser")
    assert cluster.held(USER, "/vms/131") == {"VM.Audit", "VM.Clone"}
    cluster.grant("/vms/131", "NoAccess")
    assert cluster.held(USER, "/vms/131") == set()


def test_a_pool_gives_rights_on_what_is_in_it(cluster: Cluster) -> None:
    cluster.root("POST", "/pools", poolid="ours")
    cluster.grant("/pool/ours", "PVEAdmin")
    assert cluster.held(USER, "/vms/131") == cluster.held(USER, "/storage/rbd") == set()
    cluster.root("POST", "/nodes/node1/qemu", vmid=131, pool="ours")
    cluster.root("PUT", "/pools", poolid="ours", storage="rbd")
    assert "VM.Config.Disk" in cluster.held(USER, "/vms/131")
    assert "Datastore.AllocateSpace" in cluster.held(USER, "/storage/rbd")
    cluster.root("PUT", "/pools", poolid="ours", vms=131, delete=1)
    assert cluster.held(USER, "/vms/131") == set()


def test_a_group_counts_where_the_user_has_nothing_of_his_own(cluster: Cluster) -> None:
    cluster.root("POST", "/access/groups", groupid="ops")
    cluster.root("PUT", f"/access/users/{USER}", groups="ops")
    cluster.root("PUT", "/access/acl", path="/vms", roles="PVEVMUser", groups="ops")
    assert "VM.PowerMgmt" in cluster.held(USER, "/vms")
    cluster.grant("/vms", "PVETemplateUser")
    assert "VM.PowerMgmt" not in cluster.held(USER, "/vms")


def test_a_clone_needs_guest_target_storage_and_bridge(cluster: Cluster) -> None:
    cluster.root("PUT", f"/access/users/{USER}/token/build-a", privsep=0)
    cluster.root("POST", "/pools", poolid="ours")
    cluster.root("POST", "/nodes/node1/qemu", vmid=9002, pool="ours", scsi0="rbd:1", net0="virtio,bridge=vmbr0")
    clone = {"newid": 9001, "full": 1, "pool": "ours"}
    needed = [
        ("/pool/ours", "PVEVMAdmin", "Permission check failed (/vms/9002, VM.Clone)"),
        ("/storage/rbd", "PVEDatastoreUser", "Permission check failed (/storage/rbd, Datastore.AllocateSpace)"),
        ("/sdn/zones/localnetwork/vmbr0", "PVESDNUser", "(/sdn/zones/localnetwork/vmbr0, SDN.Use)"),
    ]
    for path, role, refusal in needed:
        answer = cluster.send(TOKEN, "POST", "/nodes/node1/qemu/9002/clone", **clone)
        assert answer.status == 403
        assert refusal in answer.reason
        cluster.grant(path, role)
    assert cluster.send(TOKEN, "POST", "/nodes/node1/qemu/9002/clone", **clone).status == 200
    assert cluster.lab.world.get("guest", "9001") is not None


def test_destroying_a_guest_takes_its_acls_along(cluster: Cluster) -> None:
    cluster.root("POST", "/nodes/node1/qemu", vmid=131)
    cluster.grant("/vms/131", "PVEVMUser")
    cluster.root("DELETE", "/nodes/node1/qemu/131")
    assert cluster.root("GET", "/access/acl") == []


def test_deleting_a_token_takes_its_acls_along(cluster: Cluster) -> None:
    cluster.grant("/vms", "PVEVMUser", TOKEN)
    cluster.root("DELETE", f"/access/users/{USER}/token/build-a")
    cluster.root("POST", f"/access/users/{USER}/token/build-a")
    assert cluster.root("GET", "/access/acl") == []


def test_a_token_cannot_set_what_is_for_root_alone(cluster: Cluster) -> None:
    cluster.root("POST", "/access/users/root@pam/token/all", privsep=0)
    answer = cluster.send("root@pam!all", "POST", "/nodes/node1/qemu", vmid=131, args="-S")
    assert (answer.status, answer.reason) == (500, "only root can set 'args' config")


def test_start_order_needs_the_whole_cluster(cluster: Cluster) -> None:
    cluster.grant("/vms", "PVEVMAdmin")
    answer = cluster.send(USER, "POST", "/nodes/node1/qemu", vmid=131, startup="order=1")
    assert answer.reason == "Permission check failed (/, Sys.Modify)"


def test_the_privileges_of_8(tmp_path: Path) -> None:
    old = Cluster(Simulated(tmp_path, "8.4"))
    known = set(old.root("GET", "/access/roles/Administrator"))
    assert "VM.Monitor" in known
    assert not any("GuestAgent" in name for name in known)
    assert "VM.Replicate" not in known
    refused = old.send("root@pam", "POST", "/access/roles", roleid="R", privs="VM.GuestAgent.Audit")
    assert refused.status == 400
    assert refused.body is not None
    assert refused.body["errors"] == {"privs": "invalid format - invalid privilege 'VM.GuestAgent.Audit'\n"}
    refused = old.send("root@pam", "PUT", f"/access/users/{USER}/token/build-a", regenerate=1)
    assert refused.status == 400
    assert refused.body is not None
    assert set(refused.body["errors"]) == {"regenerate"}
    old.lab.world.close()
