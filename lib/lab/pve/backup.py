"""Own backups of guests (API: /nodes/{node}/vzdump): a backup volume on a directory storage."""

from __future__ import annotations

import hashlib
import time

from lib.lab.files import Files
from lib.lab.provenance import SCHEMA
from lib.lab.pve import storage_state
from lib.lab.pve.answers import Refusal, failure, invalid
from lib.lab.pve.call import Call, Route, everyone
from lib.lab.pve.formats import split_list
from lib.lab.pve.tasks import TaskFailed, caller
from lib.lab.world import Document, World

_ROOT_ONLY = ("prune-backups", "tmpdir", "dumpdir", "script", "bwlimit", "ionice")
_SUFFIXES = {"0": "", "1": ".lzo", "gzip": ".gz", "lzo": ".lzo", "zstd": ".zst"}


def vzdump(call: Call) -> str:
    """POST /nodes/{node}/vzdump."""
    for name in _ROOT_ONLY:
        if name in call.params and not call.is_root:
            raise invalid(**{name: "Only root may set this option."})
    vmids = split_list(call.get("vmid", ""))
    if call.get("all"):
        vmids = [vmid for vmid, guest in call.world.all("guest").items() if guest["node"] == call.node]
    if call.get("pool"):
        vmids = [vmid for vmid, guest in call.world.all("guest").items() if guest.get("pool") == call["pool"]]
    if not vmids:
        raise invalid(vmid="property is missing and it is not optional")
    storage = call.get("storage", "local")
    if "storage" in call.params:
        call.need(f"/storage/{storage}", "Datastore.AllocateSpace")
    subject = vmids[0] if len(vmids) == 1 else ""
    args = {"vmids": vmids, "storage": storage, "suffix": _SUFFIXES[call.get("compress", "0")]}
    args["all"] = call.get("all", 0)
    return call.start("vzdump", subject, 40.0 * len(vmids), **args)


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
ROUTES = (Route("POST", "/nodes/{node}/vzdump", vzdump, everyone, _VZDUMP, by=SCHEMA),)
WORKS = {"vzdump": _end_vzdump}
