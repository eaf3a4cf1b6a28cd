"""Own users and groups (API: /access/users, /access/groups)."""

from __future__ import annotations

import hashlib
from typing import Any

from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve.access import forget_acls
from lib.lab.pve.answers import failure
from lib.lab.pve.call import Call, Route, Rule, both, everyone, perm
from lib.lab.pve.checks import found_user
from lib.lab.pve.formats import split_list
from lib.lab.pve.realms import realms
from lib.lab.pve.rights import ROOT
from lib.lab.world import Document, World

DETAILS = ("comment", "email", "firstname", "lastname", "keys", "enable", "expire")
# In the file behind it a user is a line of fields: what stands before a filled one is there too, empty.
_AFTER_EMAIL = ("comment", "keys")


def digest(secret: str) -> str:
    """Return what the world keeps of a password or a token's value."""
    return hashlib.sha256(secret.encode()).hexdigest()


# ------------------------------------------------------------------- rules

of_realm: Rule = ("userid-param", "Realm.AllocateUser")
oneself: Rule = ("userid-param", "self")


def over_user(*privileges: str, groups: str = "") -> Rule:
    """Require a privilege over the user; `groups` says that the request may name groups to "create" or "update"."""
    return ("userid-group", [*privileges], *(("groups_param", groups) if groups else ()))


# -------------------------------------------------------------------- users


def _shown(user: Document) -> dict[str, Any]:
    shown: dict[str, Any] = {"enable": user.get("enable", 1), "expire": user.get("expire", 0)}
    shown |= {key: user[key] for key in ("comment", "email", "firstname", "lastname", "keys") if user.get(key)}
    if any(user.get(key) for key in _AFTER_EMAIL):
        shown.setdefault("email", "")
    return shown


def shown_token(token: Document) -> dict[str, Any]:
    """Return what is told of a token: all but its value."""
    return {key: token[key] for key in ("expire", "privsep", "comment") if key != "comment" or token.get(key)}


def _tokens_of(world: World, userid: str) -> dict[str, dict[str, Any]]:
    return {
        key.partition("!")[2]: shown_token(token)
        for key, token in world.all("token").items()
        if key.partition("!")[0] == userid
    }


def _sees(call: Call, user: Document) -> bool:
    paths = ["/access/groups", *(f"/access/groups/{group}" for group in user.get("groups", []))]
    return any(call.may(path, "User.Modify", "Sys.Audit", any_of=True) for path in paths)


def list_users(call: Call) -> list[dict[str, Any]]:
    """GET /access/users: whom the caller may see."""
    found = []
    for userid, user in call.world.all("user").items():
        if userid != call.identity and not _sees(call, user):
            continue
        if call.get("enabled") is not None and bool(user.get("enable", 1)) != bool(call["enabled"]):
            continue
        entry = {"userid": userid} | _shown(user)
        realm = userid.rpartition("@")[2]
        if realm in (known := realms(call.world)):
            entry["realm-type"] = known[realm]["type"]
        if call.get("full"):
            tokens = [{"tokenid": name} | token for name, token in _tokens_of(call.world, userid).items()]
            entry |= {"groups": ",".join(user.get("groups", [])), "tokens": tokens or None}
        found.append(entry)
    return found


def get_user(call: Call) -> dict[str, Any]:
    """GET /access/users/{userid}."""
    user = found_user(call)
    return _shown(user) | {"groups": user.get("groups", []), "tokens": _tokens_of(call.world, call["userid"]) or None}


def _changed(call: Call, user: Document, prefix: str) -> Document:
    for name in DETAILS:
        if name in call.params:
            user[name] = call[name]
    if "groups" in call.params:
        wanted = split_list(call["groups"])
        for group in wanted:
            if call.world.get("group", group) is None:
                raise failure(f"{prefix}: no such group '{group}'")
        user["groups"] = sorted({*user["groups"], *wanted}) if call.get("append") else wanted
    return user


def need_password_realm(call: Call, userid: str, prefix: str = "") -> None:
    """Refuse a password that its realm cannot keep: root@pam is the one account that the hosts have."""
    realm = userid.rpartition("@")[2]
    kind = realms(call.world).get(realm, {}).get("type")
    if kind is None:
        raise failure(f"{prefix}auth domain '{realm}' does not exist")
    if kind == "pam" and userid != ROOT:
        raise failure(f"{prefix}change password failed: exit code 6")
    if kind in ("ldap", "ad", "openid"):
        raise failure(f"{prefix}can't set password on auth type '{kind}'")


def create_user(call: Call) -> None:
    """POST /access/users."""
    userid = call["userid"]
    if call.world.get("user", userid) is not None:
        raise failure(f"create user failed: user '{userid}' already exists")
    if "password" in call.params:
        need_password_realm(call, userid, "create user failed: ")
    user = _changed(call, {"enable": 1, "expire": 0, "groups": []}, "create user failed")
    if "password" in call.params:
        user["password_sha256"] = digest(call["password"])
    call.world.put("user", userid, user)


def update_user(call: Call) -> None:
    """PUT /access/users/{userid}."""
    user = found_user(call, "update user failed: ")
    call.world.put("user", call["userid"], _changed(call, user, "update user failed"))


def delete_user(call: Call) -> None:
    """DELETE /access/users/{userid}: also one that does not exist."""
    userid = call["userid"]
    for token in call.world.keys("token"):
        if token.partition("!")[0] == userid:
            call.world.delete("token", token)
            forget_acls(call.world, ugid=token)
    forget_acls(call.world, ugid=userid)
    call.world.delete("user", userid)
    if userid == ROOT:  # is always there
        call.world.put("user", ROOT, {"enable": 1, "expire": 0})


# ------------------------------------------------------------------- groups


def list_groups(call: Call) -> list[dict[str, Any]]:
    """GET /access/groups."""
    found = []
    for group, document in call.world.all("group").items():
        path = f"/access/groups/{group}"
        if call.may(path, "User.Modify", "Sys.Audit", "Group.Allocate", any_of=True):
            members = ",".join(sorted(_members(call.world, group)))
            found.append({"groupid": group, "users": members} | _comment(document))
    return found


def _members(world: World, group: str) -> list[str]:
    return [userid for userid, user in world.all("user").items() if group in user.get("groups", [])]


def _comment(document: Document) -> dict[str, str]:
    return {"comment": document["comment"]} if "comment" in document else {}


def _found_group(call: Call, prefix: str = "") -> Document:
    group = call.world.get("group", call["groupid"])
    if group is None:
        raise failure(f"{prefix}group '{call['groupid']}' does not exist")
    return group


def get_group(call: Call) -> dict[str, Any]:
    """GET /access/groups/{groupid}."""
    group = _found_group(call)
    return {"members": _members(call.world, call["groupid"])} | _comment(group)


def create_group(call: Call) -> None:
    """POST /access/groups."""
    if call.world.get("group", call["groupid"]) is not None:
        raise failure(f"create group failed: group '{call['groupid']}' already exists")
    call.world.put("group", call["groupid"], {"comment": call["comment"]} if call.get("comment") else {})


def update_group(call: Call) -> None:
    """PUT /access/groups/{groupid}."""
    group = _found_group(call, "update group failed: ")
    call.world.put("group", call["groupid"], group | ({"comment": call["comment"]} if "comment" in call.params else {}))


def delete_group(call: Call) -> None:
    """DELETE /access/groups/{groupid}."""
    _found_group(call, "delete group failed: ")
    for userid in _members(call.world, call["groupid"]):
        user = call.world.get("user", userid) or {}
        call.world.put("user", userid, user | {"groups": [name for name in user["groups"] if name != call["groupid"]]})
    forget_acls(call.world, ugid=call["groupid"])
    call.world.delete("group", call["groupid"])


_USER = """userid:userid<..64> comment?:str<..2048> email?:email-opt<..254> enable?:bool expire?:int[0..]
firstname?:str<..1024> groups?:groupid-list keys?:totp-keys lastname?:str<..1024>"""
_GROUPS = perm("/access/groups", "Group.Allocate")
_GROUP = "groupid:groupid comment?:str"
_AUDIT_USER = over_user("User.Modify", "Sys.Audit")
ROUTES = (
    Route("GET", "/access/users", list_users, everyone, "enabled?:bool full?:bool", by=RECORDED),
    Route(
        "POST",
        "/access/users",
        create_user,
        both(of_realm, over_user("User.Modify", groups="create")),
        _USER + " password?:str<8..64>",
        by=RECORDED,
    ),
    Route("GET", "/access/users/{userid}", get_user, _AUDIT_USER, "userid:userid<..64>", by=RECORDED),
    Route(
        "PUT",
        "/access/users/{userid}",
        update_user,
        over_user("User.Modify", groups="update"),
        _USER + " append?:bool!groups",
        by=RECORDED,
    ),
    Route(
        "DELETE",
        "/access/users/{userid}",
        delete_user,
        both(of_realm, over_user("User.Modify")),
        "userid:userid<..64>",
        by=RECORDED,
    ),
    Route("GET", "/access/groups", list_groups, everyone, by=SCHEMA),
    Route("POST", "/access/groups", create_group, _GROUPS, _GROUP, by=SCHEMA),
    Route(
        "GET",
        "/access/groups/{groupid}",
        get_group,
        perm("/access/groups", "Sys.Audit", "Group.Allocate", any_of=True),
        "groupid:groupid",
        by=SCHEMA,
    ),
    Route("PUT", "/access/groups/{groupid}", update_group, _GROUPS, _GROUP, by=SCHEMA),
    Route("DELETE", "/access/groups/{groupid}", delete_group, _GROUPS, "groupid:groupid", by=SCHEMA),
)
