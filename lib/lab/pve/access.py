"""Own roles, ACLs and the listing of permissions (API: /access/roles, /access/acl, /access/permissions)."""

from __future__ import annotations

import re
from typing import Any

from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import Call, Route, everyone, perm
from lib.lab.pve.checks import is_path, modifiers, normal
from lib.lab.pve.formats import split_list
from lib.lab.pve.readings import names, reading
from lib.lab.pve.rights import ROOT, Rights, split_token
from lib.lab.world import World

_ACL_PATH = re.compile(
    r"/|/access|/access/groups(/[\w.-]+)?|/access/realm(/[\w.-]+)?|/nodes(/[\w.-]+)?|/pool(/[\w.-]+){0,3}"
    r"|/sdn|/sdn/(zones|controllers|dns|ipams|fabrics)(/[\w.-]+){0,3}|/storage(/[\w.-]+)?|/vms(/[1-9][0-9]{2,})?"
    r"|/mapping(/(notifications|dir|pci|usb|hwrng)(/[\w.-]+)?)?"
)


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
    return sorted(set(split_list(call.get("privs", ""))))


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
        raise failure(f"auto-generated role '{role}' cannot be modified")
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
        if auditor or call.may(acl["path"], *modifiers(acl["path"]), any_of=True)
    ]


def _may_hand_on(call: Call, path: str, role: str) -> None:
    """Let those who may not modify permissions hand on what they hold themselves, and no more."""
    held = call.rights.permissions(call.identity, path)
    if "Permissions.Modify" in held:
        return
    verb = "remove" if call.get("delete") else "add"
    propagates = bool(call.get("propagate", 1)) and not call.get("delete")
    lacking = ""
    privileges = call.rights.roles()[role]
    if not privileges <= held.keys():
        lacking = " - requires 'Permissions.Modify' or superset of privileges."
    elif propagates and not all(held[name] for name in privileges):
        lacking = " with propagation - requires 'Permissions.Modify' or propagated superset of privileges."
    elif role == "NoAccess":
        lacking = " - requires 'Permissions.Modify'"
    if lacking:
        refusal = invalid(role=f"Cannot {verb} role '{role}'{lacking}")
        raise failure(f"ACL update failed: {refusal.told}")


def update_acl(call: Call) -> None:
    """PUT /access/acl: grant, or take away with `delete`."""
    if not any(call.get(name) for name in ("users", "groups", "tokens")):
        need = "either 'users', 'groups' or 'tokens' is required."
        raise invalid(users=need, groups=need, tokens=need)
    path = normal(call["path"])
    if not call["path"] or not (is_path(path) if call.get("delete") else _ACL_PATH.fullmatch(path)):
        raise invalid(path=f"invalid ACL path '{call['path']}'")
    for role in split_list(call["roles"]):
        if role not in call.rights.roles():
            raise failure(f"ACL update failed: role '{role}' does not exist")
        _may_hand_on(call, path, role)
        for kind, ugid in _subjects(call):
            key = acl_key(path, kind, ugid, role)
            if call.get("delete"):
                call.world.delete("acl", key)
                continue
            acl = {"path": path, "type": kind, "ugid": ugid, "roleid": role, "propagate": call.get("propagate", 1)}
            if ugid != ROOT:  # may everything anyway, and is not kept
                call.world.put("acl", key, acl)


def _subjects(call: Call) -> list[tuple[str, str]]:
    found = [(kind, name) for kind in ("group", "user", "token") for name in split_list(call.get(f"{kind}s", ""))]
    for kind, name in found:
        if call.world.peek(kind, name) is None:
            user, token = split_token(name)
            absent = f"no such token '{token}' for user '{user}'" if token else f"{kind} '{name}' does not exist"
            raise failure(f"ACL update failed: {absent}")
    return found


# -------------------------------------------------------------- permissions


def permissions(call: Call) -> dict[str, dict[str, int]]:
    """GET /access/permissions: one's own, or (for an auditor) another identity's."""
    identity = call.get("userid", call.identity)
    if call.identity not in (identity, split_token(identity)[0]):
        call.need("/access", "Sys.Audit")
    if "path" not in call.params:
        return call.rights.effective(identity)
    return {call["path"]: call.rights.permissions(identity, call["path"])}  # whatever that path is


_INDEX = names("subdir", "users", "groups", "roles", "acl", "domains", "openid", "tfa", "ticket", "password")
_MODIFY = perm("/access", "Sys.Modify")
ROUTES = (
    reading("/access", _INDEX, SCHEMA),
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
        ("perm-modify", "{path}"),
        "path:str roles:roleid-list delete?:bool groups?:groupid-list propagate?:bool tokens?:tokenid-list"
        " users?:userid-list",
        by=RECORDED,
    ),
    Route("GET", "/access/permissions", permissions, everyone, "path?:str userid?:identity", by=RECORDED),
)
