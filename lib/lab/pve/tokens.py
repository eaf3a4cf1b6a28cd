"""Own API tokens, tickets and passwords (API: /access/users/{userid}/token, /access/ticket, /access/password).

The values of tokens and passwords are given out or taken in once; the world keeps digests.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import uuid
from typing import Any

from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve.access import forget_acls
from lib.lab.pve.answers import Refusal, denied, failure, invalid
from lib.lab.pve.call import Call, Route, anybody, both, either
from lib.lab.pve.checks import found_user, normal
from lib.lab.pve.formats import split_list
from lib.lab.pve.rights import ROOT
from lib.lab.pve.users import digest, need_password_realm, of_realm, oneself, over_user, shown_token
from lib.lab.world import Document

TICKET_SECONDS = 7200
UNSEEN = "unseen"  # stands for the value of a token that was made before a replayed recording began
# What the web interface may show: area → the privileges that count there (PVE::RPCEnvironment, compute_api_permission).
_CAPABILITIES = {
    "access": r"(User|Group)\.|Permissions\.Modify",
    "dc": r"Sys\.Audit|Sys\.Modify|SDN\.",
    "mapping": r"Mapping\.|Permissions\.Modify",
    "nodes": r"Sys\.|Permissions\.Modify",
    "sdn": r"SDN\.|Permissions\.Modify",
    "storage": r"Datastore\.|Permissions\.Modify",
    "vms": r"VM\.|Permissions\.Modify",
}
_CAPABLE_ON = ("/", "/nodes", "/access/groups", "/vms", "/storage", "/sdn", "/mapping")


# ------------------------------------------------------------------- tokens


def _found_token(call: Call) -> Document:
    found_user(call)
    token = call.world.get("token", _full(call))
    if token is None:
        raise failure(f"no such token '{call['tokenid']}' for user '{call['userid']}'")
    return token


def _full(call: Call) -> str:
    return f"{call['userid']}!{call['tokenid']}"


def list_tokens(call: Call) -> list[dict[str, Any]]:
    """GET /access/users/{userid}/token."""
    found_user(call)
    stem = f"{call['userid']}!"
    tokens = call.world.all("token").items()
    return [{"tokenid": key.removeprefix(stem)} | shown_token(token) for key, token in tokens if key.startswith(stem)]


def get_token(call: Call) -> dict[str, Any]:
    """GET /access/users/{userid}/token/{tokenid}."""
    return shown_token(_found_token(call))


def create_token(call: Call) -> dict[str, Any]:
    """POST /access/users/{userid}/token/{tokenid}: the one time that the value is shown."""
    found_user(call)
    if call.world.get("token", _full(call)) is not None:
        raise invalid(tokenid="Token already exists.")
    value = str(uuid.uuid4())
    token = {"privsep": call.get("privsep", 1), "expire": call.get("expire", 0), "comment": call.get("comment", "")}
    call.world.put("token", _full(call), token | {"secret_sha256": digest(value)})
    return {"full-tokenid": _full(call), "info": {"privsep": 1} | _as_given(call), "value": value}


def _as_given(call: Call) -> dict[str, str]:
    """Return what was given of a token's details: an answer echoes them as they came, as text."""
    given = {name: str(call[name]) for name in ("privsep", "expire", "comment") if name in call.params}
    return {name: text for name, text in given.items() if text or name != "comment"}


def update_token(call: Call) -> dict[str, Any]:
    """PUT /access/users/{userid}/token/{tokenid}; `regenerate` came with 9.1."""
    token = _found_token(call)
    for name in ("privsep", "expire", "comment"):
        if name in call.params and (call[name] or name != "comment"):  # an empty one changes nothing
            token[name] = call[name]
    for name in split_list(call.get("delete", "")):
        token[name] = {"privsep": 1, "expire": 0, "comment": ""}.get(name)
    answer: dict[str, Any] = {}
    if call.get("regenerate"):
        value = str(uuid.uuid4())
        token["secret_sha256"] = digest(value)
        answer = {"full-tokenid": _full(call), "value": value}
    call.world.put("token", _full(call), token)
    return shown_token(token) | _as_given(call) | answer


def delete_token(call: Call) -> None:
    """DELETE /access/users/{userid}/token/{tokenid}: its ACLs go with it."""
    _found_token(call)
    call.world.delete("token", _full(call))
    forget_acls(call.world, ugid=_full(call))


# ------------------------------------------------------------------ tickets


def _signature(key: bytes, text: str) -> str:
    return base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode().rstrip("=")


def ticket(key: bytes, userid: str, now: float) -> str:
    """Return a ticket in the real form: `PVE:user@realm:TIME::signature`."""
    plain = f"PVE:{userid}:{int(now):08X}"
    return f"{plain}::{_signature(key, plain)}"


def csrf_token(key: bytes, userid: str, now: float) -> str:
    """Return the token that a writing request has to bring beside its ticket."""
    stamp = f"{int(now):08X}"
    return f"{stamp}:{_signature(key, f'{stamp}:{userid}')}"


def ticket_user(key: bytes, text: str, now: float) -> str | None:
    """Return whose ticket it is, or None where it is forged or too old."""
    plain, _, signature = text.partition("::")
    parts = plain.split(":")
    if len(parts) != 3 or not hmac.compare_digest(signature.encode(), _signature(key, plain).encode()):
        return None
    age = now - int(parts[2], 16)
    return parts[1] if -300 < age < TICKET_SECONDS else None


def csrf_is_valid(key: bytes, userid: str, text: str) -> bool:
    """Tell whether the CSRF token was given to this user."""
    stamp, _, signature = text.partition(":")
    return hmac.compare_digest(signature.encode(), _signature(key, f"{stamp}:{userid}").encode())


def create_ticket(call: Call) -> dict[str, Any]:
    """POST /access/ticket: log in with a password, or renew with a ticket in its place."""
    realm = f"@{call['realm']}" if call.get("realm") else ""
    userid = call["username"] + realm
    user = call.world.get("user", userid)
    known = (user or {}).get("password_sha256", "")
    right = hmac.compare_digest(known.encode(), digest(call["password"]).encode())
    looks = bool(call.get("path") and call.get("privs"))  # no ticket is made then
    owner = ticket_user(call.ticket_key, call["password"], call.now)
    renewed = owner is not None and owner in (userid, *(() if looks else (ROOT,)))  # root may for others, too
    expire = (user or {}).get("expire", 0)
    if user is None or not user.get("enable", 1) or (expire and expire < call.now) or not (right or renewed):
        raise Refusal(401, "authentication failure")
    found: dict[str, Any] = {"username": userid, "cap": _capabilities(call, userid)}
    if not looks:
        found["ticket"] = ticket(call.ticket_key, userid, call.now)
        found["CSRFPreventionToken"] = csrf_token(call.ticket_key, userid, call.now)
    elif not call.rights.may(userid, normal(call["path"]), split_list(call["privs"])):
        raise Refusal(401, "authentication failure")
    if len(call.world.keys("node")) > 1 and call.rights.may(userid, "/", ("Sys.Audit",)):
        found["clustername"] = call.world.lab.get("cluster_name", "lab")
    return found


def _capabilities(call: Call, userid: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {area: {} for area in _CAPABILITIES}
    for path in dict.fromkeys([*_CAPABLE_ON, *(acl["path"] for acl in call.world.all("acl").values())]):
        area = path.split("/")[1] or "dc"
        for name in sorted(call.rights.permissions(userid, path)):
            for each in ("vms", "storage") if area == "pool" else (area,):
                if each in _CAPABILITIES and re.match(_CAPABILITIES[each], name):
                    found[each][name] = 1
    return found


def no_ticket(call: Call) -> None:
    """GET /access/ticket: exists for the web interface, says nothing."""


def change_password(call: Call) -> None:
    """PUT /access/password: root's own and those of the hosts' accounts are for root alone, or for oneself."""
    user = found_user(call)
    if not call.is_root:
        _reauthenticate(call)
    need_password_realm(call, call["userid"])
    call.world.put("user", call["userid"], user | {"password_sha256": digest(call["password"])})


def _reauthenticate(call: Call) -> None:
    """Let others than root confirm with their own password; an account of the hosts only its owner changes."""
    if call["userid"] == ROOT:
        raise denied()
    if "confirmation-password" not in call.params:
        raise invalid(confirmation_password="password is required to modify user")
    known = (call.world.get("user", call.identity) or {}).get("password_sha256")
    if known is None:
        raise failure("no password set")
    if not hmac.compare_digest(known.encode(), digest(call["confirmation-password"]).encode()):
        raise failure("invalid credentials")
    if call["userid"] != call.identity and call["userid"].endswith("@pam"):
        raise denied()


_PATH = "/access/users/{userid}/token"
_ID = "userid:userid<..64> tokenid:token-subid"
_OWN = either(oneself, over_user("User.Modify"))
ROUTES = (
    Route("GET", _PATH, list_tokens, _OWN, "userid:userid<..64>", by=RECORDED),
    Route("GET", _PATH + "/{tokenid}", get_token, _OWN, _ID, by=RECORDED),
    Route(
        "POST",
        _PATH + "/{tokenid}",
        create_token,
        _OWN,
        _ID + " comment?:str expire?:int[0..] privsep?:bool",
        by=RECORDED,
    ),
    Route(
        "PUT",
        _PATH + "/{tokenid}",
        update_token,
        _OWN,
        _ID + " comment?:str delete?:configid-list@9 expire?:int[0..] privsep?:bool regenerate?:bool@9",
        by=RECORDED,
    ),
    Route("DELETE", _PATH + "/{tokenid}", delete_token, _OWN, _ID, by=SCHEMA),
    Route("GET", "/access/ticket", no_ticket, anybody, by=SCHEMA),
    Route(
        "POST",
        "/access/ticket",
        create_ticket,
        anybody,
        "password:str username:str<..64> new-format?:bool otp?:str path?:str<..64>!privs privs?:priv-list<..64>!path"
        " realm?:realm<..32> tfa-challenge?:str",
        tokens_allowed=False,
        by=SCHEMA,
    ),
    Route(
        "PUT",
        "/access/password",
        change_password,
        either(oneself, both(of_realm, over_user("User.Modify"))),
        "password:str<8..64> userid:userid<..64> confirmation-password?:str<5..64>",
        tokens_allowed=False,
        by=SCHEMA,
    ),
)
