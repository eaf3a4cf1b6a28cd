"""Own switching guests on and off (API: …/qemu/{vmid}/status)."""

from __future__ import annotations

from typing import Any

from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.pve import guest_disks, guest_state, storage_state
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import AT_GUEST, OF_GUEST, Call, Route, on_guest
from lib.lab.pve.guest_config import settled
from lib.lab.pve.guest_options import is_drive
from lib.lab.pve.guests import present
from lib.lab.pve.readings import guest_reading, names, reading
from lib.lab.pve.rights import major
from lib.lab.pve.tasks import TaskFailed
from lib.lab.world import Document, World

NO_KVM = "KVM virtualisation configured, but not available. Either disable in VM configuration or enable in BIOS."
_SECONDS = {"qmstart": 3.0, "qmstop": 1.0, "qmshutdown": 15.0, "qmreboot": 20.0, "qmreset": 1.0}
_SECONDS |= {"qmpause": 1.0, "qmsuspend": 10.0, "qmresume": 1.0}


def current(call: Call) -> dict[str, Any]:
    """GET …/status/current."""
    return guest_state.current(call.world, call.guest(), call.now)


def _begin(call: Call, kind: str) -> str:
    # Whether there is such a guest shows in the task alone.
    return call.start(
        kind, call["vmid"], _SECONDS[kind], **{name: call.get(name, 0) for name in ("skiplock", "todisk")}
    )


def _need_running(call: Call, asleep: bool = False) -> None:
    call.root_only("skiplock", "nocheck")
    guest = call.need_there(call["vmid"])
    if guest["status"] != "running" and not (asleep and guest.get("lock") == "suspended"):
        raise failure(f"VM {call['vmid']} not running")


def start(call: Call) -> str:
    """POST …/status/start."""
    call.root_only("stateuri", "skiplock", "migratedfrom", "migration_type", "migration_network", "targetstorage")
    call.root_only("force-cpu", "with-conntrack-state", "nets-host-mtu")
    if call.get("targetstorage") and not call.get("migratedfrom"):
        raise invalid(targetstorage="targetstorage can only by used with migratedfrom.")
    return _begin(call, "qmstart")


def stop(call: Call) -> str:
    """POST …/status/stop."""
    call.root_only("skiplock", "keepActive", "migratedfrom")
    return _begin(call, "qmstop")


def shutdown(call: Call) -> str:
    """POST …/status/shutdown."""
    call.root_only("skiplock", "keepActive")
    if _is_paused(call) and not call.get("forceStop"):
        raise failure("VM is paused - cannot shutdown")
    return _begin(call, "qmshutdown")


def _is_paused(call: Call) -> bool:
    return bool((call.world.get("guest", str(call["vmid"])) or {}).get("paused"))


def reboot(call: Call) -> str:
    """POST …/status/reboot."""
    if _is_paused(call):
        raise failure("VM is paused - cannot shutdown")
    _need_running(call)
    return _begin(call, "qmreboot")


def reset(call: Call) -> str:
    """POST …/status/reset."""
    _need_running(call)
    return _begin(call, "qmreset")


def suspend(call: Call) -> str:
    """POST …/status/suspend: pause, or with `todisk` hibernate."""
    _need_running(call)
    if call.get("todisk"):
        call.need(f"/vms/{call['vmid']}", "VM.Config.Disk")
        storage = call.get("statestorage") or _state_storage(call.world, call.guest()["config"])
        call.need(f"/storage/{storage}", "Datastore.AllocateSpace")
    return _begin(call, "qmsuspend" if call.get("todisk") else "qmpause")


def _state_storage(world: World, config: Document) -> str:
    """Return where the memory of a guest is kept: with its disks, on a shared storage if there is one."""
    if "vmstatestorage" in config:
        return str(config["vmstatestorage"])
    volumes = (guest_disks.volume_of(value) for option, value in config.items() if is_drive(option))
    found = sorted({volid.partition(":")[0] for volid in volumes if volid})
    shared = [name for name in found if storage_state.is_shared(storage_state.section_of(world, name))]
    return (shared or found or ["local"])[0]


def resume(call: Call) -> str:
    """POST …/status/resume."""
    _need_running(call, asleep=True)
    return _begin(call, "qmresume")


def monitor(call: Call) -> str:
    """POST …/monitor: QEMU's own commands, of which the lab knows none; what goes wrong is the answer."""
    vmid, words = call["vmid"], str(call["command"]).split()
    if major(call.world) >= 9 and words and words[0] not in ("info", "help"):
        call.need("/", "Sys.Modify")
    if call.guest()["status"] != "running":
        return f"ERROR: VM {vmid} not running\n"
    if words[:1] == ["info"] and words[1:] == ["status"]:
        return "VM status: running\r\n"
    return f"unknown command: '{words[0]}'\r\n" if words else ""


def send_key(call: Call) -> None:
    """PUT …/sendkey."""
    call.root_only("skiplock")
    if call.guest()["status"] != "running":
        raise failure(f"VM {call['vmid']} not running")


def _need_processors(world: World, guest: Document) -> None:
    """Refuse to start a guest with more processors than its node has, or such as it has not (a node's `no_kvm`)."""
    node, config = world.peek("node", guest["node"]) or {}, guest["config"]
    has = int(node.get("cpus", 0))
    if node.get("no_kvm") and config.get("kvm") != 0:
        raise TaskFailed(NO_KVM)
    if has and int(config.get("sockets", 1)) * int(config.get("cores", 1)) > has:
        raise TaskFailed(f"MAX {has} vcpus allowed per VM on this node")


def _end_start(world: World, task: Document) -> None:
    guest = guest_state.present(world, task["node"], task["id"])
    if guest["config"].get("template"):
        raise TaskFailed("you can't start a vm if it's a template")
    if guest["lock"] == "backup" and guest["status"] == "running":  # its memory is being saved: it goes on
        world.put("guest", task["id"], guest | {"paused": False})
        return
    if guest["lock"] != "suspended" and not task["args"].get("skiplock"):
        guest_state.need_unlocked(guest)
    if guest["status"] == "running":
        raise TaskFailed(f"VM {task['id']} already running")
    _need_processors(world, guest)
    woken = {"lock": ""} if guest["lock"] == "suspended" else {}
    world.put("guest", task["id"], settled(world, guest) | woken | {"status": "running", "started": task["due"]})


def _end_pause(world: World, task: Document) -> None:
    guest = present(world, task)
    if task["type"] == "qmsuspend":
        world.put("guest", task["id"], guest | {"status": "stopped", "started": None, "lock": "suspended"})
    else:
        world.put("guest", task["id"], guest | {"paused": True})


def _end_resume(world: World, task: Document) -> None:
    guest = world.get("guest", task["id"]) or {}
    woken = {"lock": "", "status": "running", "started": task["due"]} if guest.get("lock") == "suspended" else {}
    world.put("guest", task["id"], guest | {"paused": False} | woken)


def _end_off(world: World, task: Document) -> None:
    guest = world.get("guest", task["id"])
    if guest is None or guest["node"] != task["node"]:
        raise TaskFailed(f"unable to find configuration file for VM {task['id']} on node '{task['node']}'")
    if guest["status"] != "running":  # nobody looks at its lock then
        return
    guest = present(world, task)
    world.put("guest", task["id"], settled(world, guest) | {"status": "stopped", "started": None})


def _end_reboot(world: World, task: Document) -> None:
    guest = present(world, task)
    if guest["status"] != "running":
        raise TaskFailed(f"VM {task['id']} not running")
    fresh = settled(world, guest) if task["type"] == "qmreboot" else guest
    world.put("guest", task["id"], fresh | {"started": task["due"]})


_PATH = f"{AT_GUEST}/status"
_POWER = on_guest("VM.PowerMgmt")
_INDEX = names("subdir", "current", "start", "stop", "reset", "shutdown", "suspend", "reboot")
_START = f"""{OF_GUEST} force-cpu?:str machine?:{{machine}} migratedfrom?:node migration_network?:CIDR
migration_type?:(secure|insecure) nets-host-mtu?:host-mtus@9 skiplock?:bool stateuri?:str<..128>
targetstorage?:storage-pair-list timeout?:int[0..] with-conntrack-state?:bool@9"""
ROUTES = (
    reading(_PATH, guest_reading(_INDEX), SCHEMA, declaration=OF_GUEST),
    Route("GET", f"{_PATH}/current", current, on_guest("VM.Audit"), OF_GUEST, by=RECORDED),
    Route("POST", f"{_PATH}/start", start, _POWER, _START, by=SCHEMA),
    Route(
        "POST",
        f"{_PATH}/stop",
        stop,
        _POWER,
        f"{OF_GUEST} keepActive?:bool migratedfrom?:node overrule-shutdown?:bool skiplock?:bool timeout?:int[0..]",
        by=SCHEMA,
    ),
    Route(
        "POST",
        f"{_PATH}/shutdown",
        shutdown,
        _POWER,
        f"{OF_GUEST} forceStop?:bool keepActive?:bool skiplock?:bool timeout?:int[0..]",
        by=SCHEMA,
    ),
    Route("POST", f"{_PATH}/reboot", reboot, _POWER, f"{OF_GUEST} timeout?:int[0..]", by=SCHEMA),
    Route(
        "POST",
        f"{_PATH}/suspend",
        suspend,
        _POWER,
        f"{OF_GUEST} skiplock?:bool statestorage?:storage-id!todisk todisk?:bool",
        by=SCHEMA,
    ),
    Route(
        "POST",
        f"{AT_GUEST}/monitor",
        monitor,
        on_guest("Sys.Audit", "Sys.Modify", any_of=True),
        f"{OF_GUEST} command:str",
        by=SCHEMA,
        check_before_9=on_guest("VM.Monitor"),
    ),
    Route(
        "PUT",
        f"{AT_GUEST}/sendkey",
        send_key,
        on_guest("VM.Console"),
        f"{OF_GUEST} key:str skiplock?:bool",
        by=SCHEMA,
    ),
    Route("POST", f"{_PATH}/resume", resume, _POWER, f"{OF_GUEST} nocheck?:bool skiplock?:bool", by=SCHEMA),
    Route("POST", f"{_PATH}/reset", reset, _POWER, f"{OF_GUEST} skiplock?:bool", by=SCHEMA),
)
WORKS = {
    "qmstart": _end_start,
    "qmstop": _end_off,
    "qmshutdown": _end_off,
    "qmreboot": _end_reboot,
    "qmreset": _end_reboot,
    "qmpause": _end_pause,
    "qmsuspend": _end_pause,
    "qmresume": _end_resume,
}
