"""Own authentication realms (API: /access/domains). Those that every Proxmox VE has are always there.

Types, required and fixed options and the complaints are those of PVE::API2::Domains and
PVE::SectionConfig (pve-access-control, pve-common). No directory server is ever asked.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from lib.lab.provenance import SCHEMA, belief
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import Call, Route, anybody, both, perm
from lib.lab.pve.formats import split_list
from lib.lab.world import Document, World

_BUILT_IN = {
    "pam": {"type": "pam", "comment": "Linux PAM standard authentication"},
    "pve": {"type": "pve", "comment": "Proxmox VE authentication server"},
}
_REQUIRED = {
    "ldap": ("server1", "base_dn", "user_attr"),
    "ad": ("server1", "domain"),
    "openid": ("issuer-url", "client-id"),
}
_OF_DIRECTORIES = """bind_dn capath cert certkey filter group_classes group_dn group_filter
group_name_attr mode port secure server1 server2 sslversion sync-defaults-options sync_attributes user_classes
verify case-sensitive"""
_OPTIONS = {
    "pam": "comment default tfa",
    "pve": "comment default tfa",
    "ldap": f"comment default tfa base_dn user_attr {_OF_DIRECTORIES}",
    "ad": f"comment default tfa domain base_dn user_attr {_OF_DIRECTORIES}",
    "openid": """comment default acr-values audiences autocreate client-id client-key groups-autocreate groups-claim
        groups-overwrite issuer-url prompt query-userinfo scopes username-claim""",
}
_FIXED = {"openid": ("username-claim",)}


def realms(world: World) -> dict[str, Document]:
    """Return the realms by name."""
    return dict(_BUILT_IN) | world.all("realm")


def digest(world: World) -> str:
    """Return the digest of the configuration of all realms."""
    return hashlib.sha1(json.dumps(world.all("realm"), sort_keys=True).encode()).hexdigest()


def _found(call: Call, told: str) -> Document:
    realm = realms(call.world).get(call["realm"])
    if realm is None:
        raise failure(told)
    return dict(realm)


def list_realms(call: Call) -> list[dict[str, Any]]:
    """GET /access/domains."""
    found = []
    for name, realm in realms(call.world).items():
        entry = {"realm": name, "type": realm["type"]}
        entry |= {key: realm[key] for key in ("comment", "default") if realm.get(key)}
        found.append(entry)
    return found


def get_realm(call: Call) -> dict[str, Any]:
    """GET /access/domains/{realm}."""
    realm = _found(call, f"domain '{call['realm']}' does not exist")
    shown = {"plugin": "PVE::Auth::PAM"} if realm["type"] == "pam" else {}
    return realm | shown | {"digest": digest(call.world)}


def _checked(kind: str, given: Document, fresh: bool, prefix: str) -> Document:
    for name in given:
        if not fresh and name in _FIXED.get(kind, ()):
            raise failure(f"{prefix}: can't change value of fixed parameter '{name}'")
        if name not in (*_OPTIONS[kind].split(), "type"):
            raise failure(f"{prefix}: unexpected property '{name}'")
    for name in _REQUIRED.get(kind, ()) if fresh else ():
        if name not in given:
            raise failure(f"{prefix}: missing value for required option '{name}'")
    return given


def create_realm(call: Call) -> None:
    """POST /access/domains."""
    name, kind, prefix = call["realm"], call["type"], "add auth server failed"
    if name in call.world.all("realm") or name in _BUILT_IN:
        raise failure(f"{prefix}: domain '{name}' already exists")
    if kind in _BUILT_IN:
        raise failure(f"{prefix}: unable to create builtin type '{kind}'")
    _put(call.world, name, _checked(kind, _given(call, kind, prefix, "realm"), True, prefix))


def _given(call: Call, kind: str, prefix: str, *beside: str) -> Document:
    """Return the options in a request. No directory is asked; a password is kept elsewhere, if at all."""
    if "check-connection" in call.params and kind not in ("ldap", "ad"):
        raise failure(f"{prefix}: 'check-connection' parameter can only be set for realms of type 'ldap' or 'ad'")
    apart = ("check-connection", "password", *beside)
    return {key: value for key, value in call.params.items() if key not in apart}


def _put(world: World, name: str, realm: Document) -> None:
    """Keep a realm; there is one default at most."""
    if realm.get("default"):
        for other, document in world.all("realm").items():
            world.put("realm", other, {key: value for key, value in document.items() if key != "default"})
    world.put("realm", name, realm)


def update_realm(call: Call) -> None:
    """PUT /access/domains/{realm}."""
    prefix = "update auth server failed"
    if call.get("digest") not in (None, digest(call.world)):
        raise failure(f"{prefix}: detected modified configuration - file changed by other user? Try again.")
    realm = _found(call, f"{prefix}: domain '{call['realm']}' does not exist")
    given = _given(call, realm["type"], prefix, "realm", "delete", "digest")
    removed = split_list(call.get("delete", ""))
    if not given and not removed and "password" not in call.params:
        raise failure(f"{prefix}: no options specified")
    kept = {key: value for key, value in realm.items() if key not in removed}
    _put(call.world, call["realm"], kept | _checked(realm["type"], given, False, prefix))


def delete_realm(call: Call) -> None:
    """DELETE /access/domains/{realm}: of a built-in one, only what was set of it goes."""
    name = call["realm"]
    _found(call, f"delete auth server failed: authentication domain '{name}' does not exist")
    call.world.delete("realm", name)


def sync(call: Call) -> str:
    """POST /access/domains/{realm}/sync: refused before any directory would be asked."""
    realm = realms(call.world).get(call["realm"])
    if realm is None:
        raise invalid(realm="Realm does not exist.")
    if realm["type"] not in ("ldap", "ad"):
        raise failure(f"Cannot sync realm type '{realm['type']}'! Only LDAP/AD realms can be synced.")
    return call.start("auth-realm-sync-test" if call.get("dry-run") else "auth-realm-sync", call["realm"], 2.0)


_SETTINGS = """acr-values?:plain-text audiences?:plain-text@9 autocreate?:bool base_dn?:str<..256>
bind_dn?:str<..256> capath?:str case-sensitive?:bool cert?:str certkey?:str check-connection?:bool
client-id?:str<..256> client-key?:str<..256> comment?:str<..4096> default?:bool domain?:job-id<..256>
filter?:str<..2048> group_classes?:ldap-simple-attr-list group_dn?:str<..256> group_filter?:str<..2048>
group_name_attr?:ldap-simple-attr<..256> groups-autocreate?:bool groups-claim?:group-claim<..256>
groups-overwrite?:bool issuer-url?:str<..256> mode?:(ldap|ldaps|ldap+starttls) password?:str port?:int[1..65535]
prompt?:login-prompt query-userinfo?:bool scopes?:str secure?:bool server1?:address<..256> server2?:address<..256>
sslversion?:(tlsv1|tlsv1_1|tlsv1_2|tlsv1_3) sync-defaults-options?:{realm-sync-options}
sync_attributes?:ldap-attributes tfa?:{tfa-config}<..128> user_attr?:ldap-name<..256>
user_classes?:ldap-simple-attr-list verify?:bool"""
_NAME = "realm:realm<..32>"
_SYNC = f"""{_NAME} dry-run?:bool enable-new?:bool full?:bool purge?:bool remove-vanished?:vanished
scope?:(users|groups|both)"""
_ALLOCATE = perm("/access/realm", "Realm.Allocate")
_SYNCS = both(perm("/access/realm/{realm}", "Realm.AllocateUser"), perm("/access/groups", "User.Modify"))
_REALM = "/access/domains/{realm}"
ROUTES = (
    Route("GET", "/access/domains", list_realms, anybody, by=SCHEMA),
    Route(
        "POST",
        "/access/domains",
        create_realm,
        _ALLOCATE,
        f"{_NAME} type:(ad|ldap|openid|pam|pve) {_SETTINGS} username-claim?:str",
        by=SCHEMA,
    ),
    Route(
        "GET",
        _REALM,
        get_realm,
        perm("/access/realm", "Realm.Allocate", "Sys.Audit", any_of=True),
        _NAME,
        by=belief("a realm reads as it was set"),
    ),
    Route(
        "PUT",
        _REALM,
        update_realm,
        _ALLOCATE,
        f"{_NAME} delete?:configid-list<..4096> digest?:str<..64> {_SETTINGS}",
        by=SCHEMA,
    ),
    Route("DELETE", _REALM, delete_realm, _ALLOCATE, _NAME, by=SCHEMA),
    Route("POST", f"{_REALM}/sync", sync, _SYNCS, _SYNC, by=SCHEMA),
)
