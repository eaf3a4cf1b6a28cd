"""Own roles, ACLs and the listing of permissions (API: /access/roles, /access/acl, /access/permissions)."""

from __future__ import annotations

import re
from typing import Any

from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve.answers import Refusal, denied, failure, invalid
from lib.lab.pve.call import Call, Route, everyone, perm
from lib.lab.pve.formats import split_list
from lib.lab.pve.rights import Rights, split_token
from lib.lab.world import World

_ACL_PATH = re.compile(
    r"/|/access|/access/groups(/[\w.-]+)?|/access/realm(/[\w.-]+)?|/nodes(/[\w.-]+)?|/pool(/[\w.-]+){0,3}"
    r"|/sdn|/sdn/(zones|controllers|dns|ipams|fabrics)(/[\w.-]+){0,3}|/storage(/[\w.-]+)?|/vms(/[1-9][0-9]{2,})?"
    r"|/mapping(/(notifications|dir|pci|usb|hwrng)(/[\w.-]+)?)?"
)
# Who owns one of these may hand on what he has himself, without Permissions.Modify.
_OWNERS = {"storage": "Datastore.Allocate", "vms": "VM.Allocate", "pool": "Pool.Allocate"}


def acl_key(path: str, kind: str, ugid: str, role: str) -> str:
    """Return the world's key of one ACL."""
    return f"{path}|{kind}|{ugid}|{role}"


def forget_acls(world: World, *, ugid: str = "", path: str = "", role: str = "") -> None:
    """Remove the ACLs of an identity that goes away, on a path that goes away, or with a role that goes away."""
    for key, acl in world.all("acl").items():
        if (ugid and acl["ugid"] == ugid) or (path and acl["path"] == path) or (role and acl["roleid"] == role):
            world.delete("acl", key)


# -------------------------------------------------------------------- roles


def _privileges(call: Call) -> list[str]:
    wanted = split_list(call.get("privs", ""))
    for name in wanted:
        if name not in call.rights.known():
            raise invalid(privs=f"invalid format - invalid privilege '{name}'\n")
    return sorted(set(wanted))


def list_roles(call: Call) -> list[dict[str, Any]]:
    """GET /access/roles."""
    return [
        {"roleid": name, "privs": ",".join(sorted(privileges)), "special": int(Rights.is_special(name))}
        for name, privileges in call.rights.roles().items()
    ]


def get_role(call: Call) -> dict[str, int]:
    """GET /access/roles/{roleid}."""
    roles = call.rights.roles()
    if call["roleid"] not in roles:
        raise failure(f"role '{call['roleid']}' does not exist")
    return dict.fromkeys(sorted(roles[call["roleid"]]), 1)


def create_role(call: Call) -> None:
    """POST /access/roles."""
    role = call["roleid"]
    if role.lower().startswith("pve"):
        raise invalid(roleid="cannot use role ID starting with the (case-insensitive) 'PVE' namespace")
    privileges = _privileges(call)
    if role in call.rights.roles():
        raise failure(f"create role failed: role '{role}' already exists")
    call.world.put("role", role, {"privs": privileges, "special": 0})


def update_role(call: Call) -> None:
    """PUT /access/roles/{roleid}."""
    role = call["roleid"]
    privileges = _privileges(call)
    if Rights.is_special(role):
        raise failure(f"update role failed: auto-generated role '{role}' cannot be modified")
    found = call.world.get("role", role)
    if found is None:
        raise failure(f"update role failed: role '{role}' does not exist")
    if call.get("append"):
        privileges = sorted({*found["privs"], *privileges})
    call.world.put("role", role, found | {"privs": privileges})


def delete_role(call: Call) -> None:
    """DELETE /access/roles/{roleid}."""
    role = call["roleid"]
    if Rights.is_special(role):
        raise failure(f"auto-generated role '{role}' cannot be deleted")
    if not call.world.delete("role", role):
        raise failure(f"delete role failed: role '{role}' does not exist")
    forget_acls(call.world, role=role)


# --------------------------------------------------------------------- ACLs


def list_acls(call: Call) -> list[dict[str, Any]]:
    """GET /access/acl: what the caller may modify (an auditor sees all)."""
    auditor = call.may("/access", "Sys.Audit")
    return [
        acl
        for acl in call.world.all("acl").values()
        if auditor or call.is_root or call.may(acl["path"], "Permissions.Modify")
    ]


def _may_modify(call: Call) -> None:
    path = _normal(str(call.get("path", "")))
    if call.may(path, "Permissions.Modify"):
        return
    owner = _OWNERS.get(path.strip("/").split("/")[0])
    if owner is None or path.count("/") < 2 or not call.may(path, owner):
        raise denied(path, "Permissions.Modify")


def _normal(path: str) -> str:
    return re.sub(r"/+", "/", path).rstrip("/") or "/"


def update_acl(call: Call) -> None:
    """PUT /access/acl: grant, or take away with `delete`."""
    if not any(name in call.params for name in ("users", "groups", "tokens")):
        need = "either 'users', 'groups' or 'tokens' is required."
        raise invalid(users=need, groups=need, tokens=need)
    path = _normal(call["path"])
    if not _ACL_PATH.fullmatch(path):
        raise invalid(path=f"invalid ACL path '{call['path']}'")
    for role in split_list(call["roles"]):
        if role not in call.rights.roles():
            raise failure(f"ACL update failed: role '{role}' does not exist")
        for kind, ugid in _subjects(call):
            key = acl_key(path, kind, ugid, role)
            if call.get("delete"):
                call.world.delete("acl", key)
                continue
            acl = {"path": path, "type": kind, "ugid": ugid, "roleid": role, "propagate": call.get("propagate", 1)}
            call.world.put("acl", key, acl)


def _subjects(call: Call) -> list[tuple[str, str]]:
    deleting = call.get("delete")
    found = []
    for group in split_list(call.get("groups", "")):
        if not deleting and call.world.get("group", group) is None:
            raise failure(f"ACL update failed: group '{group}' does not exist")
        found.append(("group", group))
    for user in split_list(call.get("users", "")):
        if not deleting and call.world.get("user", user) is None:
            raise failure(f"ACL update failed: user '{user}' does not exist")
        found.append(("user", user))
    for token in split_list(call.get("tokens", "")):
        if not deleting and call.world.get("token", token) is None:
            user, name = split_token(token)
            raise failure(f"ACL update failed: no such token '{name}' for user '{user}'")
        found.append(("token", token))
    return found


# -------------------------------------------------------------- permissions


def permissions(call: Call) -> dict[str, dict[str, int]]:
    """GET /access/permissions: one's own, or (for an auditor) another identity's."""
    identity = call.get("userid", call.identity)
    if identity != call.identity and not call.may("/access", "Sys.Audit"):
        own_token = split_token(identity)[0] == call.identity
        if not own_token:
            raise Refusal(403, "Permission check failed (/access, Sys.Audit)")
    if "path" not in call.params:
        return call.rights.effective(identity)
    path = _normal(call["path"])
    if not _ACL_PATH.fullmatch(path):
        raise invalid(path=f"invalid ACL path '{call['path']}'")
    return {path: call.rights.permissions(identity, path)}


def index(call: Call) -> list[dict[str, str]]:
    """GET /access: the names below it."""
    names = ("users", "groups", "roles", "acl", "domains", "openid", "tfa", "ticket", "password", "permissions")
    return [{"subdir": name} for name in names]


_MODIFY = perm("/access", "Sys.Modify")
ROUTES = (
    Route("GET", "/access", index, everyone, by=SCHEMA),
    Route("GET", "/access/roles", list_roles, everyone, by=RECORDED),
    Route("POST", "/access/roles", create_role, _MODIFY, "roleid:roleid privs?:priv-list", by=RECORDED),
    Route("GET", "/access/roles/{roleid}", get_role, everyone, "roleid:roleid", by=RECORDED),
    Route(
        "PUT",
        "/access/roles/{roleid}",
        update_role,
        _MODIFY,
        "roleid:roleid append?:bool!privs privs?:priv-list",
        by=RECORDED,
    ),
    Route("DELETE", "/access/roles/{roleid}", delete_role, _MODIFY, "roleid:roleid", by=SCHEMA),
    Route("GET", "/access/acl", list_acls, everyone, by=RECORDED),
    Route(
        "PUT",
        "/access/acl",
        update_acl,
        _may_modify,
        "path:str roles:roleid-list delete?:bool groups?:groupid-list propagate?:bool tokens?:full-tokenid-list"
        " users?:userid-list",
        by=RECORDED,
    ),
    Route("GET", "/access/permissions", permissions, everyone, "path?:str userid?:identity", by=RECORDED),
)
