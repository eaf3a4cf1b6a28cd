"""Own switching guests on and off (API: …/qemu/{vmid}/status)."""

from __future__ import annotations

from typing import Any

from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve import guest_state
from lib.lab.pve.call import Call, Route, everyone, perm
from lib.lab.pve.guests import present
from lib.lab.pve.tasks import TaskFailed
from lib.lab.world import Document, World

_SECONDS = {"qmstart": 3.0, "qmstop": 1.0, "qmshutdown": 15.0, "qmreboot": 20.0, "qmreset": 1.0}


def current(call: Call) -> dict[str, Any]:
    """GET …/status/current."""
    return guest_state.current(call.world, call.guest(), call.now)


def index(call: Call) -> list[dict[str, str]]:
    """GET …/status: the names below it."""
    call.guest()
    return [{"subdir": name} for name in ("current", "start", "stop", "reset", "shutdown", "reboot")]


def _begin(call: Call, kind: str) -> str:
    # Whether there is such a guest shows in the task alone.
    return call.start(kind, call["vmid"], _SECONDS[kind])


def start(call: Call) -> str:
    """POST …/status/start."""
    return _begin(call, "qmstart")


def stop(call: Call) -> str:
    """POST …/status/stop."""
    return _begin(call, "qmstop")


def shutdown(call: Call) -> str:
    """POST …/status/shutdown."""
    return _begin(call, "qmshutdown")


def reboot(call: Call) -> str:
    """POST …/status/reboot."""
    return _begin(call, "qmreboot")


def reset(call: Call) -> str:
    """POST …/status/reset."""
    return _begin(call, "qmreset")


def _end_start(world: World, task: Document) -> None:
    guest = present(world, task)
    if guest["config"].get("template"):
        raise TaskFailed("you can't start a vm if it's a template")
    if guest["status"] == "running":
        raise TaskFailed(f"VM {task['id']} already running")
    world.put("guest", task["id"], _settled(guest) | {"status": "running", "started": task["due"]})


def _settled(guest: Document) -> Document:
    """Take over what waited for the guest to be off."""
    for option, value in guest.get("pending", {}).items():
        if value is None:
            guest["config"].pop(option, None)
        else:
            guest["config"][option] = value
    return guest | {"pending": {}}


def _end_off(world: World, task: Document) -> None:
    guest = present(world, task)
    world.put("guest", task["id"], _settled(guest) | {"status": "stopped", "started": None})


def _end_reboot(world: World, task: Document) -> None:
    guest = present(world, task)
    if guest["status"] != "running":
        raise TaskFailed(f"VM {task['id']} not running")
    fresh = _settled(guest) if task["type"] == "qmreboot" else guest
    world.put("guest", task["id"], fresh | {"started": task["due"]})


_GUEST = "node:node vmid:vmid"
_PATH = "/nodes/{node}/qemu/{vmid}/status"
_POWER = perm("/vms/{vmid}", "VM.PowerMgmt")
_START = f"""{_GUEST} force-cpu?:str machine?:{{machine}} migratedfrom?:node migration_network?:str
migration_type?:(secure|insecure) nets-host-mtu?:str@9 skiplock?:bool stateuri?:str<..128> targetstorage?:str
timeout?:int[0..] with-conntrack-state?:bool@9"""
ROUTES = (
    Route("GET", _PATH, index, everyone, _GUEST, by=SCHEMA),
    Route("GET", _PATH + "/current", current, perm("/vms/{vmid}", "VM.Audit"), _GUEST, by=RECORDED),
    Route("POST", _PATH + "/start", start, _POWER, _START, by=SCHEMA),
    Route(
        "POST",
        _PATH + "/stop",
        stop,
        _POWER,
        f"{_GUEST} keepActive?:bool migratedfrom?:node overrule-shutdown?:bool skiplock?:bool timeout?:int[0..]",
        by=SCHEMA,
    ),
    Route(
        "POST",
        _PATH + "/shutdown",
        shutdown,
        _POWER,
        f"{_GUEST} forceStop?:bool keepActive?:bool skiplock?:bool timeout?:int[0..]",
        by=SCHEMA,
    ),
    Route("POST", _PATH + "/reboot", reboot, _POWER, f"{_GUEST} timeout?:int[0..]", by=SCHEMA),
    Route("POST", _PATH + "/reset", reset, _POWER, f"{_GUEST} skiplock?:bool", by=SCHEMA),
)
WORKS = {
    "qmstart": _end_start,
    "qmstop": _end_off,
    "qmshutdown": _end_off,
    "qmreboot": _end_reboot,
    "qmreset": _end_reboot,
}
