"""Own resource pools (API: /pools). Creating one is atomic, so that it can serve as a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from lib.lab.provenance import SCHEMA
from lib.lab.pve import cluster
from lib.lab.pve.access import forget_acls
from lib.lab.pve.answers import Refusal, failure
from lib.lab.pve.call import Call, Route, everyone, perm
from lib.lab.pve.checks import modifiers
from lib.lab.pve.formats import split_list
from lib.lab.pve.rights import ROOT
from lib.lab.world import Document


def _entry(pool: str, document: Document) -> dict[str, Any]:
    return {"poolid": pool} | {key: document[key] for key in ("comment",) if key in document}


def list_pools(call: Call) -> list[dict[str, Any]]:
    """GET /pools: those that the caller may see; one with its members if named."""
    named = call.get("poolid")
    if named is not None:
        call.need(f"/pool/{named}", "Pool.Audit")
        _found(call, named)
    return [
        _entry(pool, document) | ({"members": _members(call, pool)} if named else {})
        for pool, document in call.world.all("pool").items()
        if pool == (named or pool) and call.may(f"/pool/{pool}", "Pool.Audit")
    ]


def _found(call: Call, pool: str, prefix: str = "") -> Document:
    document = call.world.get("pool", pool)
    if document is None:
        raise failure(f"{prefix}pool '{pool}' does not exist")
    return document


def _members(call: Call, pool: str) -> list[dict[str, Any]]:
    """Return a pool's members, whoever asks: figures alone, each storage on one node (here if it can be)."""
    wanted, whole = call.get("type"), replace(call, identity=ROOT)
    members: list[dict[str, Any]] = []
    if wanted in (None, "qemu"):
        members += [entry for entry in cluster.guest_entries(whole) if entry.get("pool") == pool]
        members = [{key: entry[key] for key in entry if key not in ("pool", "tags", "lock")} for entry in members]
    if wanted in (None, "storage"):
        entries = sorted(cluster.storage_entries(whole), key=lambda entry: bool(entry["node"] != call.node))
        for name in (call.world.get("pool", pool) or {}).get("storages", []):
            members += [entry for entry in entries if entry["storage"] == name][:1]
    return members


def get_pool(call: Call) -> dict[str, Any]:
    """GET /pools/{poolid}."""
    document = _found(call, call["poolid"])
    entry = _entry(call["poolid"], document)
    del entry["poolid"]
    return entry | {"members": _members(call, call["poolid"])}


def create_pool(call: Call) -> None:
    """POST /pools."""
    pool = call["poolid"]
    if call.world.get("pool", pool) is not None:
        raise failure(f"create pool failed: pool '{pool}' already exists")
    parent = pool.rpartition("/")[0]
    if parent and call.world.get("pool", parent) is None:
        raise failure(f"create pool failed: parent '{parent}' of pool '{pool}' does not exist")
    comment = {"comment": call["comment"]} if call.get("comment") else {}
    call.world.put("pool", pool, comment | {"storages": []})


def update_pool(call: Call) -> None:
    """PUT /pools and /pools/{poolid}: comment; add or (with `delete`) remove guests and storages."""
    pool = call["poolid"]
    document = _found(call, pool, "update pools failed: ")
    if "comment" in call.params:
        document["comment"] = call["comment"]
        call.world.put("pool", pool, document)
    for vmid in split_list(call.get("vms", "")):
        _move(call, pool, vmid)
    document = _found(call, pool)
    storages = set(document.get("storages", []))
    for storage in split_list(call.get("storage", "")):
        _need_modify(call, f"/storage/{storage}")
        if call.get("delete"):
            if storage not in storages:
                raise failure(f"update pools failed: Storage '{storage}' is not a pool member")
            storages.discard(storage)
        elif storage in storages:
            raise failure(f"update pools failed: Storage '{storage}' is already a pool member")
        else:
            storages.add(storage)
    document["storages"] = sorted(storages)
    call.world.put("pool", pool, document)


def _need_modify(call: Call, path: str) -> None:
    _told(lambda: call.need(path, *modifiers(path), any_of=True))


def _told(check: Callable[[], None]) -> None:
    """Let a check refuse in the words of a change that failed."""
    try:
        check()
    except Refusal as refusal:
        raise failure(f"update pools failed: {refusal.told}") from None


def _move(call: Call, pool: str, vmid: str) -> None:
    _need_modify(call, f"/vms/{vmid}")
    guest = call.world.get("guest", vmid)
    if guest is None:
        _move_absent(call, pool, vmid)
        return
    if call.get("delete"):
        if guest.get("pool") != pool:
            raise failure(f"update pools failed: VM {vmid} is not a pool member")
        guest["pool"] = None
    else:
        if guest.get("pool") == pool:
            raise failure(f"update pools failed: VM {vmid} is already a pool member")
        if guest.get("pool") and not call.get("allow-move"):
            raise failure(
                f"update pools failed: VM {vmid} belongs already to pool '{guest['pool']}' and allow-move is not set"
            )
        if guest.get("pool"):
            _told(lambda: call.need(f"/pool/{guest['pool']}", "Pool.Allocate"))
        guest["pool"] = pool
    call.world.put("guest", vmid, guest)


def _move_absent(call: Call, pool: str, vmid: str) -> None:
    """Note a guest that there is not: a pool is asked for ids, and nobody looks whether they are taken."""
    document = _found(call, pool)
    absent = set(document.get("absent", []))
    if (vmid in absent) != bool(call.get("delete")):
        raise failure(f"update pools failed: VM {vmid} is {'already' if vmid in absent else 'not'} a pool member")
    document["absent"] = sorted(absent ^ {vmid})
    call.world.put("pool", pool, document)


def delete_pool(call: Call) -> None:
    """DELETE /pools and /pools/{poolid}: only an empty one."""
    pool = call["poolid"]
    document = _found(call, pool, "delete pool failed: ")
    for inner in call.world.keys("pool"):
        if inner.rpartition("/")[0] == pool:
            raise failure(f"delete pool failed: pool '{pool}' is not empty (contains pool '{inner}')")
    for vmid, guest in call.world.all("guest").items():
        if guest.get("pool") == pool:
            raise failure(f"delete pool failed: pool '{pool}' is not empty (contains VM {vmid})")
    for storage in document.get("storages", []):
        if call.world.get("storage", storage) is not None:
            raise failure(f"delete pool failed: pool '{pool}' is not empty (contains storage '{storage}')")
    call.world.delete("pool", pool)
    forget_acls(call.world, path=f"/pool/{pool}")


_ALLOCATE = perm("/pool/{poolid}", "Pool.Allocate")
_UPDATE = "poolid:poolid allow-move?:bool comment?:str delete?:bool storage?:storage-id-list vms?:vmid-list"
_TYPE = "type?:(qemu|lxc|storage)"
ROUTES = (
    Route("GET", "/pools", list_pools, everyone, f"poolid?:poolid {_TYPE}!poolid", by=SCHEMA),
    Route("POST", "/pools", create_pool, _ALLOCATE, "poolid:poolid comment?:str", by=SCHEMA),
    Route("PUT", "/pools", update_pool, _ALLOCATE, _UPDATE, by=SCHEMA),
    Route("DELETE", "/pools", delete_pool, _ALLOCATE, "poolid:poolid", by=SCHEMA),
    Route(
        "GET", "/pools/{poolid}", get_pool, perm("/pool/{poolid}", "Pool.Audit"), f"poolid:poolid {_TYPE}", by=SCHEMA
    ),
    Route("PUT", "/pools/{poolid}", update_pool, _ALLOCATE, _UPDATE, by=SCHEMA),
    Route("DELETE", "/pools/{poolid}", delete_pool, _ALLOCATE, "poolid:poolid", by=SCHEMA),
)
