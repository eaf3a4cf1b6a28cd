"""Own scheduled backups (API: /cluster/backup) and who is in none of them (API: /cluster/backup-info).

Nothing runs at its time here. The complaints are those of PVE::API2::Backup (pve-manager).
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from lib.lab.provenance import INDEX, SCHEMA, belief
from lib.lab.pve.answers import Refusal, failure, invalid
from lib.lab.pve.backup import OPTIONS, verify
from lib.lab.pve.call import Call, Route, perm, root_alone
from lib.lab.pve.formats import split_list
from lib.lab.pve.readings import names, reading
from lib.lab.world import Document, World

_READS = belief("a backup job reads as it was set")
# Who is backed up, in one of three ways → what a job no longer has when it is changed to that one.
_INSTEAD = {"vmid": ("all", "exclude", "pool"), "all": ("vmid", "pool"), "pool": ("vmid", "all", "exclude")}


def _shown(call: Call, name: str, job: Document) -> dict[str, Any]:
    return {"id": name, "type": "vzdump", "next-run": _next_run(str(job.get("schedule", "")), call.now)} | job


def _next_run(schedule: str, now: float) -> int:
    """Return when a time of day comes again, in seconds since 1970; of what else a schedule may say, in an hour."""
    match = re.search(r"(\d{1,2}):(\d\d)$", schedule)
    if match is None:
        return int(now) // 3600 * 3600 + 3600
    at = int(now) // 86400 * 86400 + int(match[1]) * 3600 + int(match[2]) * 60
    return at if at > now else at + 86400


def list_jobs(call: Call) -> list[dict[str, Any]]:
    """GET /cluster/backup."""
    return [_shown(call, name, job) for name, job in call.world.all("backup-job").items()]


def _found(call: Call) -> Document:
    job = call.world.get("backup-job", call["id"])
    if job is None:
        raise invalid(id=f"No such job '{call['id']}'")
    return job


def get_job(call: Call) -> dict[str, Any]:
    """GET /cluster/backup/{id}."""
    return _shown(call, call["id"], _found(call))


def create_job(call: Call) -> None:
    """POST /cluster/backup."""
    given = dict(call.params)
    name = given.pop("id", f"backup-{secrets.token_hex(4)}-{secrets.token_hex(2)}")
    _only_root(call)
    _of_pool(call)
    if "schedule" in given and "starttime" in given:
        raise invalid(starttime="'starttime' and 'schedule' cannot both be set")
    if "schedule" not in given and "starttime" not in given:
        raise invalid(schedule="neither 'starttime' nor 'schedule' were set")
    if call.world.get("backup-job", name) is not None:
        raise failure(f"Job '{name}' already exists")
    _verify(given)
    call.world.put("backup-job", name, {"enabled": 1} | _scheduled(given))


def _only_root(call: Call) -> None:
    for option in ("tmpdir", "dumpdir", "script"):
        if option in call.params and not call.is_root:
            raise invalid(**{option: "Only root may set this option."})


def _of_pool(call: Call) -> None:
    """Refuse a pool that is not there, or whose guests the caller may not back up."""
    if pool := call.get("pool"):
        if call.world.get("pool", pool) is None:
            raise Refusal(403, f"Permission check failed (pool '{pool}' does not exist)")
        call.need(f"/pool/{pool}", "VM.Backup")


def _verify(job: Document) -> None:
    """Refuse as vzdump does; what dies while the jobs are locked is a 500."""
    try:
        verify(job)
    except Refusal as refusal:
        raise failure(refusal.told) from None


def _scheduled(job: Document) -> Document:
    """Return a job with its time as a calendar event."""
    start = job.pop("starttime", None)
    days = job.pop("dow", None)
    return job | ({"schedule": f"{days} {start}" if days else start} if start else {})


def update_job(call: Call) -> None:
    """PUT /cluster/backup/{id}."""
    _only_root(call)
    _of_pool(call)
    job = call.world.get("backup-job", call["id"])
    if job is None:
        raise failure("no such vzdump job")
    for name in split_list(call.get("delete", "")):
        job.pop(name, None)
    job |= {key: value for key, value in call.params.items() if key not in ("id", "delete")}
    chosen = next((name for name in _INSTEAD if call.get(name)), "")
    for name in _INSTEAD.get(chosen, ()):
        job.pop(name, None)
    _verify(job)
    call.world.put("backup-job", call["id"], _scheduled(job))


def delete_job(call: Call) -> None:
    """DELETE /cluster/backup/{id}."""
    if call.world.get("backup-job", call["id"]) is None:
        raise failure(invalid(id=f"No such job '{call['id']}'").told)
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
