"""Own what a route's rule means: who may ask for it at all. How rules are written is in call.py.

A rule has the form of Proxmox VE's own API description (`permissions`), so that a test
can compare every route's with the official schema. What a handler checks beyond it is
the handler's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lib.lab.pve.answers import Refusal, denied, failure
from lib.lab.pve.call import Call, Rule, root_alone
from lib.lab.pve.formats import FORMATS, split_list
from lib.lab.world import Document

# Who owns one of these may hand on what he has himself, without Permissions.Modify.
_OWNERS = {"storage": "Datastore.Allocate", "vms": "VM.Allocate", "pool": "Pool.Allocate"}


def enforce(rule: Rule, call: Call) -> None:
    """Refuse unless the caller may; he is not root@pam, who may everything."""
    kind, *rest = rule
    if kind == "and":
        for each in rest:
            enforce(each, call)
    elif kind == "or":
        _any(rest, call)
    elif kind == "perm":
        _privileges(rest, call)
    elif kind == "perm-modify":
        path = filled(rest[0], call.params)
        if is_path(path):  # the handler refuses what is none
            call.need(path, *modifiers(path), any_of=True)
    elif kind == "userid-param":
        _user(rest[0], call)
    elif rule == root_alone:
        raise Refusal(403, "Permission check failed (user != root@pam)")
    elif kind == "userid-group":
        _group(rest[0], dict(zip(rest[1::2], rest[2::2], strict=True)), call)


def _any(rules: list[Rule], call: Call) -> None:
    """Require one of the rules; the refusal names none, but that of an `and` is its own."""
    if any(each[0] == "userid-param" for each in rules):
        _named(call)
    for each in rules:
        try:
            enforce(each, call)
        except Refusal:
            if each[0] == "and":
                raise
        else:
            return
    raise denied()


def _privileges(rest: list[Any], call: Call) -> None:
    path, privileges, *pairs = rest
    options = dict(zip(pairs[::2], pairs[1::2], strict=True))
    if "require_param" in options and options["require_param"] not in call.params:
        raise denied()
    path = filled(path, call.params)
    if not is_path(path):
        raise Refusal(403, f"Permission check failed (, {'|'.join(privileges) if 'any' in options else privileges[0]})")
    call.need(path, *privileges, any_of=bool(options.get("any")))


def modifiers(path: str) -> list[str]:
    """Return the privileges of which one lets change permissions on the path: the owner's of what lies there too."""
    area, _, name = path.strip("/").partition("/")
    return ["Permissions.Modify", *([_OWNERS[area]] if name and area in _OWNERS else [])]


def _named(call: Call) -> str:
    """Return the user that is asked about; a name that is none ends the check, before parameters are looked at."""
    userid = str(call.get("userid", ""))
    try:
        FORMATS["userid"](userid)
    except ValueError as complaint:
        raise failure(str(complaint)) from None
    return userid


def _user(what: str, call: Call) -> None:
    userid = _named(call)
    if what != "self":
        call.need(f"/access/realm/{userid.rpartition('@')[2]}", what)
        return
    found_user(call)
    if call.identity != userid:
        raise denied()


def _group(privileges: list[str], options: Mapping[str, str], call: Call) -> None:
    """Require a privilege over all users, or over a group that the user is in (and over each that is named)."""
    userid, named = str(call.get("userid", "")), options.get("groups_param")
    if named != "create":
        _named(call)
        found_user(call)
    everywhere = "/access/groups"
    if call.may(everywhere, *privileges, any_of=True):
        return
    if named:
        groups = split_list(str(call.get("groups", "")))
        for path in [f"{everywhere}/{group}" for group in groups] or [everywhere]:
            call.need(path, *privileges, any_of=True)
    if named != "create":
        theirs = (call.world.get("user", userid) or {}).get("groups", [])
        if not any(call.may(f"{everywhere}/{group}", *privileges, any_of=True) for group in theirs):
            raise denied()


def found_user(call: Call, prefix: str = "") -> Document:
    """Return the user of the path."""
    userid = call.get("userid", "")
    user = call.world.get("user", userid)
    if user is None:
        raise failure(f"{prefix}no such user ('{userid}')")
    return user


def filled(path: str, params: Mapping[str, Any]) -> str:
    """Put the parameters into a path; for one that is missing or nothing stands a dash."""

    def value(match: re.Match[str]) -> str:
        found = str(params.get(match[1], ""))
        return "-" if found in ("", "0") else found

    return normal(re.sub(r"\{([\w-]+)\}", value, path))


def normal(path: str) -> str:
    """Return an ACL path without doubled or trailing slashes."""
    return "/" + re.sub(r"/+", "/", path).strip("/")


def is_path(path: str) -> bool:
    """Tell whether a normal path has only what may be in one."""
    return re.fullmatch(r"[a-zA-Z0-9.\-_/]+", path) is not None
