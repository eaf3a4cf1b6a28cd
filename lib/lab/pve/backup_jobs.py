"""Own scheduled backups (API: /cluster/backup) and who is in none of them (API: /cluster/backup-info).

Nothing runs at its time here. The complaints are those of PVE::API2::Backup (pve-manager).
"""

from __future__ import annotations

import secrets
from typing import Any

from lib.lab.provenance import INDEX, SCHEMA, belief
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.backup import OPTIONS
from lib.lab.pve.call import Call, Route, perm, root_alone
from lib.lab.pve.formats import split_list
from lib.lab.pve.readings import names, reading
from lib.lab.world import Document, World

_READS = belief("a backup job reads as it was set")
_SELECTIONS = ("vmid", "all", "pool")


def _shown(name: str, job: Document) -> dict[str, Any]:
    return {"id": name, "type": "vzdump"} | job


def list_jobs(call: Call) -> list[dict[str, Any]]:
    """GET /cluster/backup."""
    return [_shown(name, job) for name, job in call.world.all("backup-job").items()]


def _found(call: Call) -> Document:
    job = call.world.get("backup-job", call["id"])
    if job is None:
        raise invalid(id=f"No such job '{call['id']}'")
    return job


def get_job(call: Call) -> dict[str, Any]:
    """GET /cluster/backup/{id}."""
    return _shown(call["id"], _found(call))


def create_job(call: Call) -> None:
    """POST /cluster/backup."""
    given = dict(call.params)
    name = given.pop("id", f"backup-{secrets.token_hex(4)}-{secrets.token_hex(2)}")
    if "schedule" not in given and "starttime" not in given:
        raise invalid(schedule="property is missing and it is not optional")
    if call.world.get("backup-job", name) is not None:
        raise failure(f"Job '{name}' already exists")
    if not any(given.get(key) for key in _SELECTIONS):
        given["all"] = 1
    call.world.put("backup-job", name, {"enabled": 1} | given)


def update_job(call: Call) -> None:
    """PUT /cluster/backup/{id}."""
    job = _found(call)
    for name in split_list(call.get("delete", "")):
        job.pop(name, None)
    job |= {key: value for key, value in call.params.items() if key not in ("id", "delete")}
    call.world.put("backup-job", call["id"], job)


def delete_job(call: Call) -> None:
    """DELETE /cluster/backup/{id}."""
    _found(call)
    call.world.delete("backup-job", call["id"])


def forget(world: World, vmid: str) -> None:
    """Take a guest that was purged out of every job; one that was for this guest alone goes with it."""
    for name, job in world.all("backup-job").items():
        selection = "vmid" if "vmid" in job else "exclude"
        left = ",".join(one for one in split_list(str(job.pop(selection, ""))) if one != vmid)
        if left:
            job[selection] = left
        if left or selection == "exclude":
            world.put("backup-job", name, job)
        else:
            world.delete("backup-job", name)


def _covers(world: World, job: Document, vmid: str) -> bool:
    if job.get("pool"):
        return bool((world.get("guest", vmid) or {}).get("pool") == job["pool"])
    if job.get("all"):
        return vmid not in split_list(str(job.get("exclude", "")))
    return vmid in split_list(str(job.get("vmid", "")))


def not_backed_up(call: Call) -> list[dict[str, Any]]:
    """GET /cluster/backup-info/not-backed-up: guests that no job covers."""
    jobs = list(call.world.all("backup-job").values())
    return [
        {"name": guest["config"].get("name", f"VM {vmid}"), "type": "qemu", "vmid": int(vmid)}
        for vmid, guest in call.world.all("guest").items()
        if call.may(f"/vms/{vmid}", "VM.Audit") and not any(_covers(call.world, job, vmid) for job in jobs)
    ]


_JOB = f"""{OPTIONS} comment?:str<..512> dow?:day-of-week-list!starttime enabled?:bool node?:node
repeat-missed?:bool schedule?:calendar-event<..128> starttime?:day-time"""
_AUDIT, _MODIFY = perm("/", "Sys.Audit"), perm("/", "Sys.Modify")
_ID = "id:job-id<..50>"
ROUTES = (
    Route("GET", "/cluster/backup", list_jobs, _AUDIT, by=SCHEMA),
    Route("POST", "/cluster/backup", create_job, _MODIFY, f"id?:configid {_JOB}", by=SCHEMA),
    Route("GET", "/cluster/backup/{id}", get_job, _AUDIT, _ID, by=_READS),
    Route("PUT", "/cluster/backup/{id}", update_job, _MODIFY, f"{_ID} {_JOB} delete?:configid-list", by=SCHEMA),
    Route("DELETE", "/cluster/backup/{id}", delete_job, _MODIFY, _ID, by=SCHEMA),
    reading("/cluster/backup-info", names("subdir", "not-backed-up"), INDEX, root_alone),
    Route("GET", "/cluster/backup-info/not-backed-up", not_backed_up, _AUDIT, by=SCHEMA),
)
