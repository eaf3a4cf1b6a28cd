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
    ("PVEAPIToken=root@pam!good:right", "no tokenid specified"),
    ("PVEAPIToken=root@pam=1", "'root@pam' is not a valid token ID - not able to split into user and token parts"),
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
    assert asked(host, "PVEAPIToken root%40pam%21good%3Dright")[0] == 200


def test_a_ticket_that_is_not_let_in(host: Host) -> None:
    assert asked(host) == (401, "No ticket", None)
    assert asked(host, ticket="PVE:root@pam:00000000::x") == (401, "permission denied - invalid PVE ticket", None)


def test_the_ticket_of_one_who_may_no_longer_come_in(host: Host) -> None:
    """PVE::HTTPServer, auth_handler: check_user_enabled says why."""
    host.data("POST", "/access/users", userid="a@pve", password="long enough")
    ticket = host.data("POST", "/access/ticket", username="a@pve", password="long enough")["ticket"]
    host.data("PUT", "/access/users/a@pve", enable=0)
    assert asked(host, ticket=ticket) == (401, "user 'a@pve' is disabled", None)
    host.data("PUT", "/access/users/a@pve", enable=1, expire=1)
    assert asked(host, ticket=ticket) == (401, "user 'a@pve' access expired", None)
    host.data("DELETE", "/access/users/a@pve")
    assert asked(host, ticket=ticket) == (401, "no such user ('a@pve')", None)


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


def test_who_logs_in_and_what_with(host: Host) -> None:
    """create_ticket of PVE::API2::AccessControl: no realm is taken for granted; root's ticket is good for others."""
    host.data("POST", "/access/users", userid="a@pve", password="long enough")
    given = {"password": "long enough"}
    assert host.data("POST", "/access/ticket", username="a", realm="pve", **given)["username"] == "a@pve"
    host.data("PUT", "/access/password", userid="root@pam", **given)
    for named in ({"username": "root"}, {"username": "a@pve", "realm": "pve"}):
        assert host.refused("POST", "/access/ticket", **named, **given) == "authentication failure"
    of_root = host.data("POST", "/access/ticket", username="root@pam", **given)
    assert "clustername" not in of_root
    made = host.data("POST", "/access/ticket", username="a@pve", password=of_root["ticket"])
    assert asked(host, ticket=made["ticket"])[0] == 200
    looked = {"username": "root@pam", "path": "/", "privs": "Sys.Audit"}
    assert host.data("POST", "/access/ticket", **looked, password=of_root["ticket"])["username"] == "root@pam"
    refused = host.refused("POST", "/access/ticket", **looked, password=made["ticket"])
    assert refused == "authentication failure"
    host.world.put("node", "other", host.world.get("node", "pve") or {})
    assert "clustername" in host.data("POST", "/access/ticket", username="root@pam", **given)


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


@pytest.mark.parametrize(
    ("userid", "told"),
    [
        ("noatsign", "value 'noatsign' does not look like a valid user name"),
        ("a", "user name 'a' is too short"),
        (f"{'a' * 61}@pve", f"user name '{'a' * 61}@pve' is too long (65 > 64)"),
    ],
)
def test_a_name_that_is_none(host: Host, userid: str, told: str) -> None:
    """PVE::Auth::Plugin, verify_username: a rule about a user looks at it before the parameters are checked."""
    host.data("POST", "/access/users", userid="a@pve")
    assert host.refused("POST", "/access/users", userid=userid) == {"userid": f"invalid format - {told}\n"}
    for method, path, given in (
        ("POST", "/access/users", {"userid": userid}),
        ("GET", f"/access/users/{userid}", {}),
        ("GET", f"/access/users/{userid}/token", {}),
    ):
        answer = host.api.call("a@pve", method, path, given, "pve")
        assert (answer.status, answer.reason) == (500, told)


def test_what_a_token_may_not_ask_for(host: Host) -> None:
    """rest_handler of PVE::HTTPServer: a line ends within the brackets, and the reason phrase with it."""
    host.data("POST", "/access/users/root@pam/token/tk")
    answer = host.api.call("root@pam!tk", "PUT", "/access/password", {}, "pve")
    reason = "Permission check failed (URI '/access/password' not available with API token, need proper ticket."
    assert (answer.status, answer.reason) == (403, reason)
    assert (answer.body or {})["message"] == f"{reason}\n)\n"
    headers = {"Authorization": "PVEAPIToken=garbage"}
    login = respond(host.api, "pve", "POST", "/access/ticket", headers, {}, {})[1]
    assert (login.status, login.reason) == (403, reason.replace("password", "ticket"))


def test_a_path_that_is_none_is_refused_by_who_reads_it(host: Host) -> None:
    """exec_api2_perm_check of PVE::RPCEnvironment and template_replace of PVE::Tools."""
    host.data("POST", "/access/users", userid="a@pve")

    def told(method: str, path: str, **params: str) -> Any:
        answer = host.api.call("a@pve", method, path, params, "pve")
        return (answer.body or {}).get("errors") or answer.reason

    given = {"roles": "PVEAuditor", "users": "a@pve"}
    assert told("PUT", "/access/acl", **given) == "Permission check failed (/-, Permissions.Modify)"
    assert told("POST", "/pools") == "Permission check failed (/pool/-, Pool.Allocate)"
    assert told("POST", "/pools", poolid="bad pool") == "Permission check failed (, Pool.Allocate)"
    wrong = host.api.call("a@pve", "PUT", "/access/acl", given | {"path": "a b"}, "pve")
    assert (wrong.body or {})["errors"] == {"path": "invalid ACL path 'a b'"}


def test_rights_are_taken_away_only_from_what_there_is(host: Host) -> None:
    gone = {"path": "/vms", "roles": "PVEAuditor", "delete": 1}
    assert host.refused("PUT", "/access/acl", **gone, users="x@pve") == "ACL update failed: user 'x@pve' does not exist"
    assert host.refused("PUT", "/access/acl", **gone, groups="g") == "ACL update failed: group 'g' does not exist"
    token = host.refused("PUT", "/access/acl", **gone, tokens="root@pam!tk")
    assert token == "ACL update failed: no such token 'tk' for user 'root@pam'"


# -------------------------------------------------------------- roles, ACLs


def test_a_built_in_role_stays_as_it_is(host: Host) -> None:
    assert host.refused("PUT", "/access/roles/PVEAdmin") == "auto-generated role 'PVEAdmin' cannot be modified"
    assert host.refused("DELETE", "/access/roles/NoAccess") == "auto-generated role 'NoAccess' cannot be deleted"


@pytest.mark.parametrize(("pve", "known"), [("8.4", "VM.Monitor"), ("9.2", "VM.GuestAgent.Audit")])
def test_which_privileges_there_are(pve: str, known: str) -> None:
    host = Host(pve)
    host.data("POST", "/access/roles", roleid="One", privs=known)
    other = "VM.GuestAgent.Audit" if known == "VM.Monitor" else "VM.Monitor"
    told = host.refused("POST", "/access/roles", roleid="a b", privs=f"{known} {other}")
    assert told == {
        "privs": f"invalid format - invalid privilege '{other}'\n",
        "roleid": "invalid format - role name 'a b' contains invalid characters\n",
    }


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/vms/", "/vms"), ("vms//100", "/vms/100"), ("/nope", None), ("/vms/99", None), ("/a b", None), ("", None)],
)
def test_the_path_of_an_acl(host: Host, path: str, kept: str | None) -> None:
    """normalize_path and check_path of PVE::AccessControl."""
    host.data("POST", "/access/users", userid="a@pve")
    given = {"path": path, "roles": "PVEAuditor", "users": "a@pve"}
    if kept is None:
        assert host.refused("PUT", "/access/acl", **given) == {"path": f"invalid ACL path '{path}'"}
    else:
        host.data("PUT", "/access/acl", **given)
    assert [acl["path"] for acl in host.data("GET", "/access/acl")] == ([kept] if kept else [])


def test_an_acl_of_root_is_not_kept_and_one_on_any_path_may_be_taken_away(host: Host) -> None:
    host.data("PUT", "/access/acl", path="/", roles="PVEAuditor", users="root@pam")
    assert host.data("GET", "/access/acl") == []
    host.data("PUT", "/access/acl", path="/nope", roles="PVEAuditor", users="root@pam", delete=1)


def test_permissions_are_told_of_any_path(host: Host) -> None:
    host.data("POST", "/access/users", userid="a@pve")
    assert host.data("GET", "/access/permissions", userid="a@pve", path="nope/") == {"nope/": {}}
    assert host.data("GET", "/access/permissions", userid="nobody@pve") == {}


# ------------------------------------------------------------------- tokens


def test_a_token_s_details_are_echoed_as_they_came(host: Host) -> None:
    """generate_token and update_token_info of PVE::API2::User: parameters are text, what is kept are numbers."""
    path = "/access/users/root@pam/token/tk"
    assert host.data("POST", path)["info"] == {"privsep": 1}
    assert host.data("PUT", path, privsep=0, expire=5) == {"privsep": "0", "expire": "5"}
    assert host.data("GET", path) == {"privsep": 0, "expire": 5}
    host.data("PUT", path, comment="ours")
    host.data("PUT", path, comment="")
    assert host.data("GET", path) == {"privsep": 0, "expire": 5, "comment": "ours"}
    assert host.data("POST", f"{path}2", comment="", expire=7)["info"] == {"privsep": 1, "expire": "7"}


def test_a_part_of_a_path_has_no_blanks_and_else_is_checked_as_any_parameter(host: Host) -> None:
    path = "/access/users/root@pam/token"
    assert host.send("POST", f"{path}/a b").reason == f"Method 'POST {path}/a b' not implemented"
    assert host.refused("POST", f"{path}/1x") == {"tokenid": "value does not match the regex pattern"}


# ---------------------------------------------------------------- passwords


def test_a_password_is_kept_by_its_realm(host: Host) -> None:
    given = {"password": "long enough"}
    failed = "create user failed: "
    told = host.refused("POST", "/access/users", userid="a@nosuch", **given)
    assert told == f"{failed}auth domain 'nosuch' does not exist"
    told = host.refused("POST", "/access/users", userid="a@pam", **given)
    assert told == f"{failed}change password failed: exit code 6"
    host.data("POST", "/access/domains", realm="dir", type="openid", issuer__url="https://x", client__id="x")
    host.data("POST", "/access/users", userid="a@dir")
    told = host.refused("PUT", "/access/password", userid="a@dir", **given)
    assert told == "can't set password on auth type 'openid'"
    assert host.refused("PUT", "/access/password", userid="b@pve", **given) == "no such user ('b@pve')"
    assert host.refused("PUT", "/access/password", userid="b@pve", password="short") == {
        "password": "value must be at least 8 characters long"
    }


def test_root_is_always_there(host: Host) -> None:
    host.data("DELETE", "/access/users/root@pam")
    assert host.data("GET", "/access/users/root@pam")["enable"] == 1


# ------------------------------------------------------------------- realms


def test_realms(host: Host) -> None:
    assert [each["realm"] for each in host.data("GET", "/access/domains")] == ["pam", "pve"]
    given = {"realm": "dir", "type": "ldap", "server1": "ldap.example.com", "base_dn": "dc=example"}
    missing = "add auth server failed: missing value for required option 'user_attr'"
    assert host.refused("POST", "/access/domains", **given) == missing
    unexpected = "add auth server failed: unexpected property 'client-id'"
    assert host.refused("POST", "/access/domains", **given, user_attr="uid", client__id="x") == unexpected
    directory = "'check-connection' parameter can only be set for realms of type 'ldap' or 'ad'"
    connected = host.refused("POST", "/access/domains", realm="own", type="openid", check__connection=0)
    assert connected == f"add auth server failed: {directory}"
    host.data("POST", "/access/domains", **given, user_attr="uid", default=1, password="x", check__connection=0)
    assert not {"password", "check-connection"} & set(host.data("GET", "/access/domains/dir"))
    host.data("PUT", "/access/domains/dir", password="y")
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
    assert not {"pool", "tags", "lock"} & set(members[0])
    not_empty = "delete pool failed: pool 'p' is not empty (contains VM 100)"
    assert host.refused("DELETE", "/pools/p") == not_empty
    assert {"id": "/pool/p", "pool": "p", "type": "pool"} in host.data("GET", "/cluster/resources")
    host.data("PUT", "/pools/p", vms="100,101", storage="local", delete=1)
    host.data("POST", "/pools", poolid="p/q")
    assert host.refused("DELETE", "/pools/p") == "delete pool failed: pool 'p' is not empty (contains pool 'p/q')"
    host.data("PUT", "/pools", poolid="p/q", vms="100")
    moved = f"{failed}VM 100 belongs already to pool 'p/q' and allow-move is not set"
    assert host.refused("PUT", "/pools/p", vms="100") == moved
    host.data("PUT", "/pools", poolid="p", vms="100", allow__move=1)
    host.data("PUT", "/pools", poolid="p", vms="100", delete=1)
    host.data("DELETE", "/pools", poolid="p/q")
    host.data("DELETE", "/pools/p")
    assert host.refused("GET", "/pools/p") == "pool 'p' does not exist"
    missing = "create pool failed: parent 'p' of pool 'p/q' does not exist"
    assert host.refused("POST", "/pools", poolid="p/q") == missing


# ----------------------------------------------------------- second factors


def test_nobody_has_a_second_factor(host: Host) -> None:
    assert host.data("GET", "/access/tfa") == []
    assert host.data("GET", "/access/tfa/root@pam") == []
    told = "No such tfa entry 'x'"
    assert host.send("GET", "/access/tfa/root@pam/x").body == {"data": None, "message": told}
    assert host.data("GET", "/access/users/root@pam/tfa", multiple=1) == {"user": []}
    assert host.data("GET", "/access/users/nobody@pve/tfa") == {}
    assert host.refused("GET", "/access/users/a@nosuch/tfa") == "auth domain 'nosuch' does not exist"
