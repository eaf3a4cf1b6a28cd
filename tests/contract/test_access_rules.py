"""Users, groups, realms, pools, tokens and tickets: refusals in the words of pve-access-control and pve-manager.

Read in src/PVE/API2/{User,Group,Domains,ACL,AccessControl}.pm, src/PVE/AccessControl.pm, src/PVE/RPCEnvironment.pm
(pve-access-control) and PVE/API2/Pool.pm (pve-manager); what a recording has of it is in test_recordings.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from lib.lab.pve.http import respond
from lib.lab.pve.users import digest
from tests.contract.host import NODE, Host


@pytest.fixture
def host() -> Host:
    return Host()


# --------------------------------------------------------------- not let in


def asked(host: Host, authorization: str = "", ticket: str = "", path: str = "/version") -> tuple[int, str, Any]:
    cookies = {"PVEAuthCookie": ticket} if ticket else {}
    headers = {"Authorization": authorization} if authorization else {}
    answer = respond(host.api, "pve", "GET", path, headers, cookies, {})[1]
    return answer.status, answer.reason, answer.body


TOLD_BEFORE_9 = [
    ("PVEAPIToken=garbage", "no tokenid specified"),
    ("PVEAPIToken=nobody@pve!none=1", "no such user ('nobody@pve')"),
    ("PVEAPIToken=root@pam!none=1", "no such token 'none' for user 'root@pam'"),
    ("PVEAPIToken=root@pam!old=right", "token 'old' access expired"),
    ("PVEAPIToken=off@pve!tk=right", "user 'off@pve' is disabled"),
    ("PVEAPIToken=root@pam!good=wrong", "invalid token value!"),
]


@pytest.mark.parametrize(("authorization", "told"), TOLD_BEFORE_9)
@pytest.mark.parametrize("pve", ["8.4", "9.2"])
def test_a_token_that_is_not_let_in(pve: str, authorization: str, told: str) -> None:
    """Before 9 the reason was told (PVE::AccessControl, verify_token); 9.2 is recorded to tell none."""
    host = Host(pve)
    host.world.put("user", "off@pve", {"enable": 0, "expire": 0})
    for name, expire in (("root@pam!old", 1), ("root@pam!good", 0), ("off@pve!tk", 0)):
        host.world.put("token", name, {"privsep": 1, "expire": expire, "secret_sha256": digest("right")})
    expected = told if pve == "8.4" else "Authentication failed!"
    assert asked(host, authorization) == (401, expected, None)
    assert asked(host, "PVEAPIToken=root@pam!good=right")[0] == 200


def test_a_ticket_that_is_not_let_in(host: Host) -> None:
    assert asked(host) == (401, "No ticket", None)
    assert asked(host, ticket="PVE:root@pam:00000000::x") == (401, "permission denied - invalid PVE ticket", None)


def test_asking_for_the_realms_needs_no_ticket_and_forgives_a_wrong_one(host: Host) -> None:
    assert asked(host, path="/access/domains")[0] == 200
    assert asked(host, "PVEAPIToken=garbage", path="/access/domains")[0] == 200


def test_logging_in(host: Host) -> None:
    host.data("POST", "/access/users", userid="a@pve", password="long enough")
    given = {"username": "a@pve", "password": "long enough"}
    assert host.data("POST", "/access/ticket", **given)["cap"]["vms"] == {}
    assert host.refused("POST", "/access/ticket", **given | {"password": "wrong"}) == "authentication failure"
    asked_for = {"path": "/vms", "privs": "VM.Audit"}
    assert host.refused("POST", "/access/ticket", **given, **asked_for) == "authentication failure"
    host.data("PUT", "/access/acl", path="/vms", roles="PVEAuditor", users="a@pve")
    seen = host.data("POST", "/access/ticket", **given, **asked_for)
    assert (set(seen), seen["cap"]["vms"]) == ({"username", "cap"}, {"VM.Audit": 1, "VM.GuestAgent.Audit": 1})


def test_what_a_ticket_s_owner_may_see_is_told_by_area(host: Host) -> None:
    host.data("POST", "/access/users", userid="a@pve", password="long enough")
    host.data("POST", "/pools", poolid="p")
    host.data("PUT", "/access/acl", path="/pool/p", roles="PVEDatastoreUser,PVEVMAdmin", users="a@pve")
    cap = host.data("POST", "/access/ticket", username="a@pve", password="long enough")["cap"]
    assert sorted(cap["storage"]) == ["Datastore.AllocateSpace", "Datastore.Audit"]
    assert "VM.Allocate" in cap["vms"]
    assert cap["access"] == cap["dc"] == cap["nodes"] == {}


# ------------------------------------------------------------ users, groups


def test_users_and_their_groups(host: Host) -> None:
    assert host.refused("PUT", "/access/users/a@pve") == "update user failed: no such user ('a@pve')"
    told = host.refused("POST", "/access/users", userid="a@pve", groups="g")
    assert told == "create user failed: no such group 'g'"
    host.data("POST", "/access/groups", groupid="g")
    assert host.refused("POST", "/access/groups", groupid="g") == "create group failed: group 'g' already exists"
    host.data("POST", "/access/users", userid="a@pve", groups="g")
    assert host.data("GET", "/access/groups") == [{"groupid": "g", "users": "a@pve"}]
    host.data("PUT", "/access/groups/g", comment="ours")
    assert host.data("GET", "/access/groups/g") == {"comment": "ours", "members": ["a@pve"]}
    told = host.refused("PUT", "/access/users/a@pve", groups="other")
    assert told == "update user failed: no such group 'other'"
    host.data("DELETE", "/access/groups/g")
    assert host.data("GET", "/access/users/a@pve")["groups"] == []
    assert host.refused("GET", "/access/groups/g") == "group 'g' does not exist"
    assert host.refused("PUT", "/access/groups/g") == "update group failed: group 'g' does not exist"
    assert host.refused("DELETE", "/access/groups/g") == "delete group failed: group 'g' does not exist"


def test_the_first_privilege_that_is_missing_is_named(host: Host) -> None:
    """PVE::RPCEnvironment, check and check_any."""
    for user in ("a@pve", "b@pve"):
        host.data("POST", "/access/users", userid=user)

    def told(method: str, path: str, /, **params: str) -> str:
        return host.api.call("a@pve", method, path, params, "pve").reason

    assert told("DELETE", "/access/users/b@pve") == "Permission check failed (/access/realm/pve, Realm.AllocateUser)"
    assert told("PUT", "/access/users/b@pve") == "Permission check failed (/access/groups, User.Modify)"
    assert told("GET", "/access/users/b@pve") == "Permission check failed"
    assert told("PUT", "/access/users/b@pve", groups="g") == "Permission check failed (/access/groups/g, User.Modify)"
    assert told("GET", "/access/users/nobody@pve") == "no such user ('nobody@pve')"
    assert told("GET", "/cluster/backup-info") == "Permission check failed (user != root@pam)"
    either = "Permission check failed (/storage/local, Datastore.Audit|Datastore.AllocateSpace)"
    assert told("GET", f"{NODE}/storage/local/status") == either
    modify = "Permission check failed (/vms/100, Permissions.Modify|VM.Allocate)"
    assert told("PUT", "/access/acl", path="/vms/100", roles="PVEAuditor", users="b@pve") == modify


def test_rights_are_taken_away_only_from_what_there_is(host: Host) -> None:
    gone = {"path": "/vms", "roles": "PVEAuditor", "delete": 1}
    assert host.refused("PUT", "/access/acl", **gone, users="x@pve") == "ACL update failed: user 'x@pve' does not exist"
    assert host.refused("PUT", "/access/acl", **gone, groups="g") == "ACL update failed: group 'g' does not exist"
    token = host.refused("PUT", "/access/acl", **gone, tokens="root@pam!tk")
    assert token == "ACL update failed: no such token 'tk' for user 'root@pam'"


# ------------------------------------------------------------------- realms


def test_realms(host: Host) -> None:
    assert [each["realm"] for each in host.data("GET", "/access/domains")] == ["pam", "pve"]
    given = {"realm": "dir", "type": "ldap", "server1": "ldap.example.com", "base_dn": "dc=example"}
    missing = "add auth server failed: missing value for required option 'user_attr'"
    assert host.refused("POST", "/access/domains", **given) == missing
    unexpected = "add auth server failed: unexpected property 'client-id'"
    assert host.refused("POST", "/access/domains", **given, user_attr="uid", client__id="x") == unexpected
    host.data("POST", "/access/domains", **given, user_attr="uid", default=1)
    again = "add auth server failed: domain 'dir' already exists"
    assert host.refused("POST", "/access/domains", **given, user_attr="uid") == again
    builtin = "add auth server failed: unable to create builtin type 'pve'"
    assert host.refused("POST", "/access/domains", realm="mine", type="pve") == builtin
    assert host.refused("PUT", "/access/domains/dir") == "update auth server failed: no options specified"
    host.data("PUT", "/access/domains/dir", comment="ours", delete="default")
    read = host.data("GET", "/access/domains/dir")
    assert (read["comment"], "default" in read, read["server1"]) == ("ours", False, "ldap.example.com")
    host.data("DELETE", "/access/domains/dir")
    assert host.refused("GET", "/access/domains/dir") == "domain 'dir' does not exist"
    gone = "delete auth server failed: authentication domain 'dir' does not exist"
    assert host.refused("DELETE", "/access/domains/dir") == gone
    assert host.refused("POST", "/access/domains/dir/sync") == {"realm": "Realm does not exist."}
    only = "Cannot sync realm type 'pam'! Only LDAP/AD realms can be synced."
    assert host.refused("POST", "/access/domains/pam/sync") == only
    assert host.data("GET", "/access/domains/pam")["plugin"] == "PVE::Auth::PAM"


# -------------------------------------------------------------------- pools


def test_pools(host: Host) -> None:
    host.data("POST", "/pools", poolid="p", comment="ours")
    assert host.refused("POST", "/pools", poolid="p") == "create pool failed: pool 'p' already exists"
    host.task("POST", f"{NODE}/qemu", vmid=100)
    host.data("PUT", "/pools/p", vms="100", storage="local")
    failed = "update pools failed: "
    assert host.refused("PUT", "/pools/p", vms="100") == f"{failed}VM 100 is already a pool member"
    assert host.refused("PUT", "/pools/p", storage="local") == f"{failed}Storage 'local' is already a pool member"
    assert host.refused("PUT", "/pools/p", vms="101", delete=1) == f"{failed}VM 101 is not a pool member"
    assert host.refused("PUT", "/pools/q", comment="x") == f"{failed}pool 'q' does not exist"
    host.data("PUT", "/pools/p", vms="101")
    assert host.refused("PUT", "/pools/p", vms="101") == f"{failed}VM 101 is already a pool member"
    members = host.data("GET", "/pools/p")["members"]
    assert [each["id"] for each in members] == ["qemu/100", "storage/pve/local"]
    not_empty = "delete pool failed: pool 'p' is not empty (contains VM 100)"
    assert host.refused("DELETE", "/pools/p") == not_empty
    assert {"id": "/pool/p", "pool": "p", "type": "pool"} in host.data("GET", "/cluster/resources")
    host.data("PUT", "/pools/p", vms="100,101", storage="local", delete=1)
    host.data("DELETE", "/pools/p")
    assert host.refused("GET", "/pools/p") == "pool 'p' does not exist"


# ----------------------------------------------------------- second factors


def test_nobody_has_a_second_factor(host: Host) -> None:
    assert host.data("GET", "/access/tfa") == []
    assert host.data("GET", "/access/tfa/root@pam") == []
    assert host.data("GET", "/access/users/root@pam/tfa", multiple=1) == {"types": []}
    assert host.refused("GET", "/access/users/nobody@pve/tfa") == "no such user ('nobody@pve')"
