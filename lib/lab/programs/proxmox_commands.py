"""Own the table of qm, pveum and pvesm: which request each subcommand makes, and how its answer is shown.

As in PVE::CLI::qm, PVE::CLI::pveum and PVE::CLI::pvesm, a subcommand is a request to the REST API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lib.lab.programs import proxmox_own as own
from lib.lab.programs import proxmox_text as text
from lib.lab.programs.host import Host, Output


class Entry(msgspec.Struct, frozen=True):
    """One subcommand: the request it makes, the operands it takes, and how the answer is shown.

    `formats` is set where the caller may choose how; `ends` where it ends as its task did, and not well in any case.
    What is no request has `run`, and declares its parameters.
    """

    method: str = ""
    path: str = ""
    operands: tuple[str, ...] = ()
    show: Callable[[Any], str] | None = None
    formats: bool = False
    ends: bool = False
    declaration: str = ""
    run: Callable[[Host, Mapping[str, Any]], Output] | None = None


VM = "/nodes/{node}/qemu/{vmid}"
STATUS, SNAPSHOT = f"{VM}/status", f"{VM}/snapshot"
USER, TOKEN = "/access/users/{userid}", "/access/users/{userid}/token/{tokenid}"
GROUP, ROLE, POOL, REALM = "/access/groups/{groupid}", "/access/roles/{roleid}", "/pools", "/access/domains/{realm}"
CONTENT = "/nodes/{node}/storage/{storage}/content"
_POWER = ("start", "stop", "shutdown", "reboot", "reset", "suspend", "resume")
QM = {
    "list": Entry("GET", "/nodes/{node}/qemu", (), text.guests),
    "create": Entry("POST", "/nodes/{node}/qemu", ("vmid",), ends=True),
    "config": Entry("GET", f"{VM}/config", ("vmid",), text.config),
    "pending": Entry("GET", f"{VM}/pending", ("vmid",), text.pending),
    "status": Entry(operands=("vmid",), declaration="vmid:vmid verbose?:bool", run=own.status),
    "unlock": Entry(operands=("vmid",), declaration="vmid:vmid", run=own.unlock),
    "set": Entry("PUT", f"{VM}/config", ("vmid",)),
    "clone": Entry("POST", f"{VM}/clone", ("vmid", "newid"), ends=True),
    "destroy": Entry("DELETE", VM, ("vmid",), ends=True),
    "template": Entry("POST", f"{VM}/template", ("vmid",)),
    **{verb: Entry("POST", f"{STATUS}/{verb}", ("vmid",), ends=True) for verb in _POWER},
    "migrate": Entry("POST", f"{VM}/migrate", ("vmid", "target"), ends=True),
    "disk resize": Entry("PUT", f"{VM}/resize", ("vmid", "disk", "size")),
    "disk move": Entry("POST", f"{VM}/move_disk", ("vmid", "disk", "storage"), ends=True),
    "disk import": Entry(operands=("vmid", "source", "storage"), declaration=own.IMPORT, run=own.import_disk),
    "disk unlink": Entry("PUT", f"{VM}/unlink", ("vmid",)),
    "snapshot": Entry("POST", SNAPSHOT, ("vmid", "snapname"), ends=True),
    "listsnapshot": Entry("GET", SNAPSHOT, ("vmid",), text.snapshots),
    "delsnapshot": Entry("DELETE", f"{SNAPSHOT}/{{snapname}}", ("vmid", "snapname"), ends=True),
    "rollback": Entry("POST", f"{SNAPSHOT}/{{snapname}}/rollback", ("vmid", "snapname"), ends=True),
    "cloudinit dump": Entry("GET", f"{VM}/cloudinit/dump", ("vmid", "type"), text.as_it_is),
    "cloudinit pending": Entry("GET", f"{VM}/cloudinit", ("vmid",), text.pending),
    "guest cmd": Entry("POST", f"{VM}/agent", ("vmid", "command"), text.from_agent),
    "cloudinit update": Entry("PUT", f"{VM}/cloudinit", ("vmid",)),
}
PVEUM = {
    "user list": Entry("GET", "/access/users", (), formats=True),
    "user add": Entry("POST", "/access/users", ("userid",)),
    "user modify": Entry("PUT", USER, ("userid",)),
    "user delete": Entry("DELETE", USER, ("userid",)),
    "user permissions": Entry("GET", "/access/permissions", ("userid",), text.permissions, formats=True),
    "user token add": Entry("POST", TOKEN, ("userid", "tokenid"), formats=True),
    "user token modify": Entry("PUT", TOKEN, ("userid", "tokenid"), formats=True),
    "user token delete": Entry("DELETE", TOKEN, ("userid", "tokenid"), formats=True),
    "user token remove": Entry("DELETE", TOKEN, ("userid", "tokenid"), formats=True),
    "user tfa unlock": Entry("PUT", f"{USER}/unlock-tfa", ("userid",)),
    "user token list": Entry("GET", "/access/users/{userid}/token", ("userid",), formats=True),
    "user token permissions": Entry(
        "GET",
        "/access/permissions",
        ("userid", "tokenid"),
        text.permissions,
        formats=True,
        declaration="userid:userid<..64> tokenid:token-subid path?:acl-path",
    ),
    "group list": Entry("GET", "/access/groups", (), formats=True),
    "group add": Entry("POST", "/access/groups", ("groupid",)),
    "group modify": Entry("PUT", GROUP, ("groupid",)),
    "group delete": Entry("DELETE", GROUP, ("groupid",)),
    "role list": Entry("GET", "/access/roles", (), formats=True),
    "role add": Entry("POST", "/access/roles", ("roleid",)),
    "role modify": Entry("PUT", ROLE, ("roleid",)),
    "role delete": Entry("DELETE", ROLE, ("roleid",)),
    "acl list": Entry("GET", "/access/acl", (), formats=True),
    "acl modify": Entry("PUT", "/access/acl", ("path",)),
    "acl delete": Entry("PUT", "/access/acl", ("path",)),
    "realm list": Entry("GET", "/access/domains", (), formats=True),
    "realm add": Entry("POST", "/access/domains", ("realm",)),
    "realm modify": Entry("PUT", REALM, ("realm",)),
    "realm delete": Entry("DELETE", REALM, ("realm",)),
    "realm sync": Entry("POST", f"{REALM}/sync", ("realm",)),
    "pool list": Entry("GET", POOL, (), formats=True),
    "pool add": Entry("POST", POOL, ("poolid",)),
    "pool modify": Entry("PUT", POOL, ("poolid",)),
    "pool delete": Entry("DELETE", POOL, ("poolid",)),
    "passwd": Entry("PUT", "/access/password", ("userid",)),
}
PVESM = {
    "status": Entry("GET", "/nodes/{node}/storage", (), text.storages),
    "list": Entry("GET", CONTENT, ("storage",), text.volumes),
    "add": Entry("POST", "/storage", ("type", "storage")),
    "set": Entry("PUT", "/storage/{storage}", ("storage",)),
    "remove": Entry("DELETE", "/storage/{storage}", ("storage",)),
    "alloc": Entry("POST", CONTENT, ("storage", "vmid", "filename", "size"), text.allocated),
    "free": Entry("DELETE", f"{CONTENT}/{{volume}}", ("volume",)),
    "path": Entry(operands=("volume",), declaration="volume:volume-id", run=own.path),
}
# Names from before subcommands had two words.
ALIASES: dict[str, dict[str, str]] = {
    "qm": {"move-disk": "disk move", "move_disk": "disk move", "resize": "disk resize", "unlink": "disk unlink"}
    | {"importdisk": "disk import", "agent": "guest cmd"},
    "pveum": {f"{kind}{short}": f"{kind} {verb}" for kind in ("user", "group", "role", "acl") for short, verb in (
        ("add", "add"), ("mod", "modify"), ("del", "delete")) if (kind, short) != ("acl", "add")},
    "pvesm": {},
}  # fmt: skip
TABLES = {"qm": QM, "pveum": PVEUM, "pvesm": PVESM}
