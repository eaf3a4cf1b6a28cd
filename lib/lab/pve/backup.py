"""Own backups of guests (API: /nodes/{node}/vzdump): a backup volume on a directory storage."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from lib.lab.files import Files
from lib.lab.provenance import SCHEMA
from lib.lab.pve import storage_state
from lib.lab.pve.answers import Refusal, failure, invalid
from lib.lab.pve.call import Call, Route, everyone
from lib.lab.pve.formats import split_list
from lib.lab.pve.rights import major
from lib.lab.pve.tasks import TaskFailed, caller
from lib.lab.world import Document, World

_ROOT_ONLY = ("maxfiles", "prune-backups", "tmpdir", "dumpdir", "script", "bwlimit", "ionice")
# What a backup is made with where nobody says otherwise; the rest hangs on the storage.
_DEFAULTS: dict[str, Any] = {
    "all": 0, "bwlimit": 0, "compress": "0", "fleecing": "0", "ionice": 7, "lockwait": 180,
    "mailnotification": "always", "mode": "snapshot", "notification-mode": "auto",
    "performance": "max-workers=16,pbs-entries-max=1048576", "pigz": 0, "prune-backups": "keep-all=1", "quiet": 0,
    "remove": 1, "stdexcludes": 1, "stop": 0, "stopwait": 10, "zstd": 1,
}  # fmt: skip
_SUFFIXES = {"0": "", "1": ".lzo", "gzip": ".gz", "lzo": ".lzo", "zstd": ".zst"}


def verify(given: dict[str, Any]) -> None:
    """Refuse a choice of guests that contradicts itself, or none; to leave some out means all others."""
    for name in ("all", "exclude", "pool"):
        if given.get(name) and given.get("vmid"):
            raise invalid(**{name: "option conflicts with option 'vmid'"})
    if "prune-backups" in given and "maxfiles" in given:
        raise invalid(prune_backups="option conflicts with option 'maxfiles'")
    if "exclude" in given and not given.get("pool"):
        given["all"] = 1
    if not any(given.get(name) for name in ("all", "stop", "pool", "vmid")):
        raise invalid(vmid="property is missing")


def vzdump(call: Call) -> str:
    """POST /nodes/{node}/vzdump."""
    if call.get("stdout"):
        raise invalid(stdout="option is only allowed on the command line interface.")
    for name in _ROOT_ONLY:
        if name in call.params and not call.is_root:
            raise invalid(**{name: "Only root may set this option."})
    verify(call.params)
    vmids = [vmid for vmid in _chosen(call) if call.world.peek("guest", vmid) is None or _is_here(call, vmid)]
    if not vmids and not call.get("all"):  # those that are meant are on other nodes
        return "OK"
    storage = call.get("storage", "local")
    if "storage" in call.params:
        call.need(f"/storage/{storage}", "Datastore.AllocateSpace")
    subject = vmids[0] if len(vmids) == 1 else ""
    args = {"vmids": vmids, "storage": storage, "suffix": _SUFFIXES[call.get("compress", "0")]}
    args["all"] = call.get("all", 0)
    return call.start("vzdump", subject, 40.0 * len(vmids), **args)


def _chosen(call: Call) -> list[str]:
    """Return the guests that are meant, wherever they are."""
    guests = call.world.all("guest")
    if call.get("pool"):
        if call.world.get("pool", call["pool"]) is None:
            raise failure(f"pool '{call['pool']}' does not exist")
        return [vmid for vmid, guest in guests.items() if guest.get("pool") == call["pool"]]
    if call.get("all"):
        return [vmid for vmid in guests if vmid not in split_list(str(call.get("exclude", "")))]
    return list(dict.fromkeys(split_list(str(call.get("vmid", "")))))


def _is_here(call: Call, vmid: str) -> bool:
    return bool((call.world.peek("guest", vmid) or {}).get("node") == call.node)


def defaults(call: Call) -> dict[str, Any]:
    """GET /nodes/{node}/vzdump/defaults: some of them only for who may look at the node."""
    storage = call.get("storage", "local")
    call.need(f"/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)
    try:
        folder = _folder(call.world, call.node, storage)
    except TaskFailed as problem:
        raise failure(str(problem).partition(": ")[2]) from None
    found = _DEFAULTS | {"storage": storage, "dumpdir": folder}
    section = storage_state.section_of(call.world, storage)
    found |= {name: section[name] for name in ("prune-backups",) if name in section}
    if major(call.world) < 9:
        found["notification-policy"] = "always"
    hidden = () if call.may(f"/nodes/{call.node}", "Sys.Audit") else ("dumpdir", "ionice")
    return {name: value for name, value in found.items() if name not in hidden}


def _allowed(world: World, task: Document) -> list[str]:
    """Return the guests that may be backed up; of all of a node the others are left out, a named one is refused."""
    who, args = caller(world, task), task["args"]
    if args["all"]:
        return [vmid for vmid in args["vmids"] if who.may(f"/vms/{vmid}", "VM.Backup")]
    for vmid in args["vmids"]:
        if world.peek("guest", vmid) is not None:
            who.need(f"/vms/{vmid}", "VM.Backup")
    return list(args["vmids"])


def _folder(world: World, node: str, storage: str) -> str:
    """Return the folder for backups on a storage."""
    try:
        section = storage_state.need_on(world, storage, node)
        if "backup" not in storage_state.contents(section):
            raise failure(f"can't use storage '{storage}' for backups - wrong content type")
    except Refusal as refusal:
        raise TaskFailed(f"could not get storage information for '{storage}': {refusal.told}") from None
    return storage_state.folder(section, "backup")


def _end_vzdump(world: World, task: Document) -> None:
    args = task["args"]
    files, folder = Files(world, task["node"]), _folder(world, task["node"], args["storage"])
    stamp = time.strftime("%Y_%m_%d-%H_%M_%S", time.gmtime(task["starttime"]))
    for vmid in _allowed(world, task):
        guest = world.get("guest", vmid)
        if guest is None or guest["node"] != task["node"]:
            task["log"].append(f"ERROR: Backup of VM {vmid} failed - unable to find VM '{vmid}'")
            raise TaskFailed("job errors")
        path = f"{folder}/vzdump-qemu-{vmid}-{stamp}.vma{args['suffix']}"
        files.mkdir(folder, parents=True)
        try:
            files.put_synthetic(path, 900 << 20, hashlib.sha256(path.encode()).hexdigest(), {"guest": guest["config"]})
        except OSError as error:
            task["log"].append(f"ERROR: Backup of VM {vmid} failed - {error.strerror}")
            raise TaskFailed("job errors") from None
        task["log"] += [f"INFO: Starting Backup of VM {vmid} (qemu)", f"INFO: creating vzdump archive '{path}'"]
        task["log"].append(f"INFO: Finished Backup of VM {vmid} (00:00:40)")
    task["log"].append("INFO: Backup job finished successfully")


OPTIONS = """all?:bool bwlimit?:int[0..] compress?:(0|1|gzip|lzo|zstd) dumpdir?:str exclude?:vmid-list
exclude-path?:list fleecing?:{backup-fleecing} ionice?:int[0..8] lockwait?:int[0..]
mailnotification?:(always|failure) mailto?:email-or-username-list maxfiles?:int[1..]@8
notification-policy?:(always|failure|never)@8 notification-target?:configid@8 mode?:(snapshot|suspend|stop)
notes-template?:str<..1024>!storage notification-mode?:(auto|legacy-sendmail|notification-system)
pbs-change-detection-mode?:(legacy|data|metadata) performance?:{backup-performance} pigz?:int pool?:str
protected?:bool!storage prune-backups?:{prune-backups} quiet?:bool remove?:bool script?:str stdexcludes?:bool
stop?:bool stopwait?:int[0..] storage?:storage-id tmpdir?:str vmid?:vmid-list zstd?:int"""
_VZDUMP = f"{OPTIONS} node?:node job-id?:job-id<..50> stdout?:bool"
ROUTES = (
    Route("POST", "/nodes/{node}/vzdump", vzdump, everyone, _VZDUMP, by=SCHEMA),
    Route("GET", "/nodes/{node}/vzdump/defaults", defaults, everyone, "node:node storage?:storage-id", by=SCHEMA),
)
WORKS = {"vzdump": _end_vzdump}
