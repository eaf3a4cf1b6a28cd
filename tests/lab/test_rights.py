"""Who may do what in the simulated cluster: users, tokens, paths, pools, and the two versions' privileges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.lab.pve.answers import Answer
from lib.lab.pve.http import respond
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

    def role(self, name: str, *privileges: str) -> None:
        self.root("POST", "/access/roles", roleid=name, privs=",".join(privileges))

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


def test_a_refusal_names_the_first_privilege_that_lacks(cluster: Cluster) -> None:
    answer = cluster.send(USER, "GET", "/nodes/node1/query-url-metadata", url="http://x/")
    assert answer.reason == "Permission check failed"  # one of two would do
    cluster.root("POST", "/nodes/node1/qemu", vmid=131)
    answer = cluster.send(USER, "PUT", "/nodes/node1/qemu/131/config", cores=1)
    assert answer.reason.startswith("Permission check failed (/vms/131, VM.Config.Disk|VM.Config.CDROM|")


def test_both_the_tokens_and_its_users_rights_must_propagate(cluster: Cluster) -> None:
    cluster.grant("/vms", "PVETemplateUser", propagate=0)
    cluster.grant("/vms", "PVETemplateUser", TOKEN)
    shown = cluster.root("GET", "/access/permissions", userid=TOKEN)
    assert shown == {"/vms": {"VM.Audit": 0, "VM.Clone": 0}}


def test_a_storage_may_be_in_two_pools(cluster: Cluster) -> None:
    for pool, role in (("one", "PVEPoolUser"), ("two", "PVEDatastoreUser")):
        cluster.root("POST", "/pools", poolid=pool)
        cluster.root("PUT", "/pools", poolid=pool, storage="rbd")
        cluster.grant(f"/pool/{pool}", role)
    assert cluster.held(USER, "/storage/rbd") == {"Pool.Audit", "Datastore.Audit", "Datastore.AllocateSpace"}
    cluster.grant("/pool/one", "NoAccess")
    assert cluster.held(USER, "/storage/rbd") == set()


def test_what_a_pool_gives_does_not_propagate(cluster: Cluster) -> None:
    cluster.root("POST", "/pools", poolid="ours")
    cluster.root("POST", "/nodes/node1/qemu", vmid=131, pool="ours")
    cluster.grant("/pool/ours", "PVETemplateUser")
    assert cluster.root("GET", "/access/permissions", userid=USER)["/vms/131"] == {"VM.Audit": 0, "VM.Clone": 0}


def test_the_listing_shows_every_step_of_an_acls_path(cluster: Cluster) -> None:
    cluster.grant("/sdn", "PVESDNUser")
    cluster.grant("/sdn/zones/localnetwork/vmbr0", "NoAccess")
    shown = cluster.root("GET", "/access/permissions", userid=USER)
    assert set(shown) == {"/sdn", "/sdn/zones", "/sdn/zones/localnetwork"}


def test_a_disabled_or_expired_user_and_his_tokens_are_not_let_in(cluster: Cluster) -> None:
    value = cluster.root("PUT", f"/access/users/{USER}/token/build-a", regenerate=1)["value"]

    def status(method: str = "GET", path: str = "/version") -> int:
        headers = {"Authorization": f"PVEAPIToken={TOKEN}={value}"}
        return respond(cluster.lab.api, "node1", method, path, headers, {}, {})[1].status

    assert status() == 200
    for what, path in (("user", f"/access/users/{USER}"), ("token", f"/access/users/{USER}/token/build-a")):
        for off in ({"enable": 0}, {"expire": 1}) if what == "user" else ({"expire": 1},):
            cluster.root("PUT", path, **off)
            assert status() == 401
            assert status("POST", "/pools") == 401
            cluster.root("PUT", path, **{name: int(name == "enable") for name in off})
            assert status() == 200


def test_an_owner_hands_on_what_he_has_and_no_more(cluster: Cluster) -> None:
    cluster.role("Owner", "VM.Allocate", "VM.Audit")
    cluster.role("More", "VM.Audit", "VM.Clone")
    cluster.role("Less", "VM.Audit")
    cluster.root("POST", "/access/users", userid="friend@pve")
    cluster.grant("/vms", "Owner")

    def hand_on(path: str, role: str) -> str:
        answer = cluster.send(USER, "PUT", "/access/acl", path=path, roles=role, users="friend@pve")
        return str((answer.body or {}).get("message") or "OK").rstrip("\n")

    assert hand_on("/vms/131", "Less") == "OK"
    assert hand_on("/vms", "Less") == "Permission check failed (/vms, Permissions.Modify)"
    assert hand_on("/storage/rbd", "Less") == (
        "Permission check failed (/storage/rbd, Permissions.Modify|Datastore.Allocate)"
    )
    refused = "ACL update failed: 400 Parameter verification failed.\nrole: Cannot add role "
    assert hand_on("/vms/131", "More") == f"{refused}'More' - requires 'Permissions.Modify' or superset of privileges."
    assert hand_on("/vms/131", "NoAccess") == f"{refused}'NoAccess' - requires 'Permissions.Modify'"


def test_a_pool_takes_in_only_what_one_may_hand_on(cluster: Cluster) -> None:
    cluster.root("POST", "/pools", poolid="ours")
    cluster.role("PoolOwner", "Pool.Allocate")
    cluster.grant("/pool/ours", "PoolOwner")
    answer = cluster.send(USER, "PUT", "/pools", poolid="ours", storage="rbd")
    assert answer.status == 500
    refusal = "403 Permission check failed (/storage/rbd, Permissions.Modify|Datastore.Allocate)"
    assert answer.reason == f"update pools failed: {refusal}"


def test_whom_one_may_manage_follows_from_groups(cluster: Cluster) -> None:
    cluster.root("POST", "/access/groups", groupid="ops")
    cluster.root("POST", "/access/users", userid="theirs@pve", groups="ops")
    cluster.root("POST", "/access/users", userid="other@pve")
    cluster.role("Manager", "User.Modify")
    cluster.grant("/access/groups/ops", "Manager")
    cluster.grant("/access/realm", "PVEUserAdmin")

    def refusal(method: str, path: str, **params: Any) -> str:
        return cluster.send(USER, method, path, **params).reason

    assert refusal("GET", "/access/users/theirs@pve") == "OK"
    assert refusal("GET", "/access/users/other@pve") == "Permission check failed"
    assert refusal("GET", "/access/users/nobody@pve") == "no such user ('nobody@pve')"
    assert refusal("POST", "/access/users/theirs@pve/token/tok") == "OK"
    assert refusal("POST", "/access/users/other@pve/token/tok") == "Permission check failed"
    assert refusal("POST", "/access/users", userid="new@pve") == "Permission check failed (/access/groups, User.Modify)"
    assert refusal("POST", "/access/users", userid="new@pve", groups="ops") == "OK"
    listed = cluster.send(USER, "GET", "/access/users").body
    assert listed is not None
    assert {row["userid"] for row in listed["data"]} == {USER, "theirs@pve", "new@pve"}


def test_whose_password_one_may_change(cluster: Cluster) -> None:
    cluster.root("POST", "/access/users", userid="other@pve")
    cluster.root("POST", "/access/users", userid="host@pam")

    def change(userid: str, **given: str) -> str:
        answer = cluster.send(USER, "PUT", "/access/password", userid=userid, password="long-enough", **given)
        return next(iter((answer.body or {}).get("errors", {}).values()), answer.reason)

    confirmed = {"confirmation-password": "long-enough"}
    assert change(USER) == "password is required to modify user"
    assert change(USER, **confirmed) == "no password set"
    cluster.root("PUT", "/access/password", userid=USER, password="long-enough")
    assert change(USER, **{"confirmation-password": "wrong"}) == "invalid credentials"
    assert change(USER, **confirmed) == "OK"
    # A rule that is one of several has no words of its own; one that is made of several has.
    assert change("other@pve") == "Permission check failed (/access/realm/pve, Realm.AllocateUser)"
    cluster.grant("/access", "PVEUserAdmin")
    assert change("other@pve", **confirmed) == "OK"
    for userid in ("host@pam", "root@pam"):  # root's affair, whatever the role
        assert change(userid, **confirmed) == "Permission check failed"


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


def test_bridges_are_shown_to_who_may_use_them_or_a_vlan_of_theirs(cluster: Cluster) -> None:
    def shown(identity: str) -> set[str]:
        return {each["iface"] for each in (cluster.send(identity, "GET", "/nodes/node1/network").body or {})["data"]}

    assert shown(USER) == shown("root@pam") - {"vmbr0"} != shown("root@pam")
    cluster.grant("/sdn/zones/localnetwork/vmbr0/7", "PVESDNUser")
    assert shown(USER) == shown("root@pam")
    cluster.grant("/sdn/zones/localnetwork/vmbr0/7", "PVESDNUser", delete=1)
    cluster.grant("/sdn/zones/localnetwork", "PVEAuditor")
    assert shown(USER) == shown("root@pam")
    assert "vmbr0" not in shown(TOKEN)


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
