"""Own the table of qm, pveum and pvesm: which request each subcommand makes, and how its answer is shown.

As in PVE::CLI::qm, PVE::CLI::pveum and PVE::CLI::pvesm, a subcommand is a request to the REST API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from lib.lab.programs import proxmox_text as text


class Entry(msgspec.Struct, frozen=True):
    """One subcommand: the request it makes, the operands it takes, and how the answer is shown."""

    method: str
    path: str
    operands: tuple[str, ...] = ()
    show: Callable[[Any], str] | None = None
    formats: bool = False


VM = "/nodes/{node}/qemu/{vmid}"
STATUS, SNAPSHOT = f"{VM}/status", f"{VM}/snapshot"
USER, TOKEN = "/access/users/{userid}", "/access/users/{userid}/token/{tokenid}"
GROUP, ROLE, POOL, REALM = "/access/groups/{groupid}", "/access/roles/{roleid}", "/pools", "/access/domains/{realm}"
CONTENT = "/nodes/{node}/storage/{storage}/content"
_RESIZE = Entry("PUT", f"{VM}/resize", ("vmid", "disk", "size"))
_MOVE = Entry("POST", f"{VM}/move_disk", ("vmid", "disk", "storage"))
_UNLINK = Entry("PUT", f"{VM}/unlink", ("vmid",))
QM = {
    "list": Entry("GET", "/nodes/{node}/qemu", (), text.guests),
    "create": Entry("POST", "/nodes/{node}/qemu", ("vmid",)),
    "config": Entry("GET", f"{VM}/config", ("vmid",), text.config),
    "pending": Entry("GET", f"{VM}/pending", ("vmid",), text.pending),
    "status": Entry("GET", f"{STATUS}/current", ("vmid",), text.status),
    "set": Entry("PUT", f"{VM}/config", ("vmid",)),
    "clone": Entry("POST", f"{VM}/clone", ("vmid", "newid")),
    "destroy": Entry("DELETE", VM, ("vmid",)),
    "template": Entry("POST", f"{VM}/template", ("vmid",)),
    **{verb: Entry("POST", f"{STATUS}/{verb}", ("vmid",)) for verb in ("start", "stop", "shutdown", "reboot", "reset")},
    **{verb: Entry("POST", f"{STATUS}/{verb}", ("vmid",)) for verb in ("suspend", "resume")},
    "migrate": Entry("POST", f"{VM}/migrate", ("vmid", "target")),
    **dict.fromkeys(("disk resize", "resize"), _RESIZE),
    **dict.fromkeys(("disk move", "move-disk", "move_disk"), _MOVE),
    **dict.fromkeys(("disk unlink", "unlink"), _UNLINK),
    "snapshot": Entry("POST", SNAPSHOT, ("vmid", "snapname")),
    "listsnapshot": Entry("GET", SNAPSHOT, ("vmid",), text.snapshots),
    "delsnapshot": Entry("DELETE", f"{SNAPSHOT}/{{snapname}}", ("vmid", "snapname")),
    "rollback": Entry("POST", f"{SNAPSHOT}/{{snapname}}/rollback", ("vmid", "snapname")),
    "cloudinit dump": Entry("GET", f"{VM}/cloudinit/dump", ("vmid", "type"), text.as_it_is),
    "cloudinit update": Entry("PUT", f"{VM}/cloudinit", ("vmid",)),
}
PVEUM = {
    "user list": Entry("GET", "/access/users", (), text.as_json, formats=True),
    "user add": Entry("POST", "/access/users", ("userid",)),
    "user modify": Entry("PUT", USER, ("userid",)),
    "user delete": Entry("DELETE", USER, ("userid",)),
    "user permissions": Entry("GET", "/access/permissions", ("userid",), text.as_json, formats=True),
    "user token add": Entry("POST", TOKEN, ("userid", "tokenid"), text.as_json, formats=True),
    "user token modify": Entry("PUT", TOKEN, ("userid", "tokenid"), text.as_json, formats=True),
    "user token remove": Entry("DELETE", TOKEN, ("userid", "tokenid")),
    "user token delete": Entry("DELETE", TOKEN, ("userid", "tokenid")),
    "user token list": Entry("GET", "/access/users/{userid}/token", ("userid",), text.as_json, formats=True),
    "group list": Entry("GET", "/access/groups", (), text.as_json, formats=True),
    "group add": Entry("POST", "/access/groups", ("groupid",)),
    "group modify": Entry("PUT", GROUP, ("groupid",)),
    "group delete": Entry("DELETE", GROUP, ("groupid",)),
    "role list": Entry("GET", "/access/roles", (), text.as_json, formats=True),
    "role add": Entry("POST", "/access/roles", ("roleid",)),
    "role modify": Entry("PUT", ROLE, ("roleid",)),
    "role delete": Entry("DELETE", ROLE, ("roleid",)),
    "acl list": Entry("GET", "/access/acl", (), text.as_json, formats=True),
    "acl modify": Entry("PUT", "/access/acl", ("path",)),
    "acl delete": Entry("PUT", "/access/acl", ("path",)),
    "realm list": Entry("GET", "/access/domains", (), text.as_json, formats=True),
    "realm add": Entry("POST", "/access/domains", ("realm",)),
    "realm modify": Entry("PUT", REALM, ("realm",)),
    "realm delete": Entry("DELETE", REALM, ("realm",)),
    "realm sync": Entry("POST", f"{REALM}/sync", ("realm",)),
    "pool list": Entry("GET", POOL, (), text.as_json, formats=True),
    "pool add": Entry("POST", POOL, ("poolid",)),
    "pool modify": Entry("PUT", POOL, ("poolid",)),
    "pool delete": Entry("DELETE", POOL, ("poolid",)),
    "passwd": Entry("PUT", "/access/password", ("userid",)),
}
# Names from before subcommands had two words.
PVEUM |= {f"{kind}{short}": PVEUM[f"{kind} {verb}"] for kind in ("user", "group", "role") for short, verb in (
    ("add", "add"), ("mod", "modify"), ("del", "delete"))}  # fmt: skip
PVEUM |= {"aclmod": PVEUM["acl modify"], "acldel": PVEUM["acl delete"]}
PVESM = {
    "status": Entry("GET", "/nodes/{node}/storage", (), text.storages),
    "list": Entry("GET", CONTENT, ("storage",), text.volumes),
    "add": Entry("POST", "/storage", ("type", "storage")),
    "set": Entry("PUT", "/storage/{storage}", ("storage",)),
    "remove": Entry("DELETE", "/storage/{storage}", ("storage",)),
    "alloc": Entry("POST", CONTENT, ("storage", "vmid", "filename", "size"), text.allocated),
    "free": Entry("DELETE", f"{CONTENT}/{{volume}}", ("volume",)),
}
TABLES = {"qm": QM, "pveum": PVEUM, "pvesm": PVESM}
