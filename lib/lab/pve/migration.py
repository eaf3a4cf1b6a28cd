"""Own moving guests between nodes (API: …/qemu/{vmid}/migrate), and that high availability looks after none of them.

Only guests on shared storages move: what it takes to copy a disk from node to node is not simulated.
"""

from __future__ import annotations

import re
from typing import Any

from lib.lab.provenance import SCHEMA, belief
from lib.lab.pve import guest_disks, guest_state, storage_state
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import AT_GUEST, OF_GUEST, Call, Route, on_guest, perm
from lib.lab.pve.guest_options import is_drive
from lib.lab.pve.guests import present
from lib.lab.pve.rights import major
from lib.lab.pve.tasks import TaskFailed
from lib.lab.world import Document, World

_MOVES = belief("guests on shared storages move, and others are refused in these words")
_NO_HA = belief("high availability looks after no guest")
SECONDS = 20.0


def ha_resource(call: Call) -> None:
    """GET /cluster/ha/resources/{sid}."""
    sid = call["sid"]
    raise failure(f"no such resource '{sid if ':' in sid else f'vm:{sid}'}'")


def migrate(call: Call) -> str:
    """POST …/migrate: a running guest moves only if `online` says that it may."""
    target = call["target"]
    if target == call.node:
        raise invalid(target="target is local node.")
    if call.world.get("node", target) is None:
        raise failure(f"no such cluster node '{target}'")
    call.root_only("force", "migration_type", "migration_network")
    guest = call.guest()
    guest_state.need_unlocked(guest)
    if guest["status"] == "running" and not call.get("online"):
        raise failure("can't migrate running VM without --online")
    for volid in _volumes(guest):
        storage_state.need_on(call.world, volid.partition(":")[0], call.node)
        storage_state.need_on(call.world, volid.partition(":")[0], target)
    return call.start("qmigrate", call["vmid"], SECONDS, target=target)


def _volumes(guest: Document) -> list[str]:
    volumes = (guest_disks.volume_of(value) for option, value in guest["config"].items() if is_drive(option))
    return [volid for volid in volumes if volid]


def preconditions(call: Call) -> dict[str, Any]:
    """GET …/migrate: to which nodes the guest may move, and what it has here alone."""
    guest = call.guest()
    guest_state.need_unlocked(guest)
    config = guest["config"]
    sections = {name: storage_state.section_of(call.world, name) for name in _storages(guest)}
    lacking: dict[str, list[str]] = {}
    others = [node for node in call.world.keys("node") if node != call.node]
    for node in others:
        missing = [
            name for name, each in sections.items() if each.get("disable") or not storage_state.is_on(each, node)
        ]
        lacking |= {node: missing} if missing else {}
    found = {
        "running": int(guest["status"] == "running"),
        "allowed_nodes": [node for node in others if node not in lacking],
        "not_allowed_nodes": {node: {"unavailable_storages": missing} for node, missing in lacking.items()},
        "local_disks": [
            _local_disk(option, value)
            for option, value in config.items()
            if (is_drive(option) or option.startswith("unused"))
            and guest_disks.volume_of(value)
            and not storage_state.is_shared(sections[guest_disks.volume_of(value).partition(":")[0]])
        ],
        "local_resources": sorted(option for option, value in config.items() if _is_local(option, str(value))),
        "mapped-resources": [],
        "mapped-resource-info": {},
    }
    return found | ({"has-dbus-vmstate": 1} if major(call.world) >= 9 else {})


def _storages(guest: Document) -> list[str]:
    held = (option for option in guest["config"] if is_drive(option) or option.startswith("unused"))
    volumes = {guest_disks.volume_of(guest["config"][option]) for option in held}
    return sorted({volid.partition(":")[0] for volid in volumes if volid})


def _local_disk(option: str, value: Any) -> Document:
    unused = option.startswith("unused")
    drive = {"file": str(value)} if unused else guest_disks.parse(option, value)
    found: Document = {"volid": drive["file"], "cdrom": int(guest_disks.is_cdrom(drive)), "is_unused": int(unused)}
    found |= {"is_attached": int(not unused), "is_vmstate": 0, "is_tpmstate": int(option == "tpmstate0")}
    found |= {"replicate": int(drive.get("replicate", 1)), "shared": int(drive.get("shared", 0))}
    found |= {"size": guest_state.parse_size(drive["size"])} if "size" in drive else {}
    return found if unused else found | {"drivename": option}


def _is_local(option: str, value: str) -> bool:
    """Tell whether a device is one of the host itself, which is not on another."""
    if value == "socket" or "mapping=" in value or value.startswith("spice"):
        return False
    return option == "ivshmem" or bool(re.fullmatch(r"(usb|hostpci|serial|parallel)\d+", option))


def _end_migrate(world: World, task: Document) -> None:
    guest = present(world, task)
    for volid in _volumes(guest):
        if not storage_state.is_shared(storage_state.section_of(world, volid.partition(":")[0])):
            task["log"].append(f"can't migrate local disk '{volid}'")
            raise TaskFailed("migration aborted")
    world.put("guest", task["id"], guest | {"node": task["args"]["target"]})
    task["log"].append("migration finished successfully")


_MIGRATE = """node:node vmid:vmid target:node bwlimit?:int[0..] force?:bool migration_network?:CIDR
migration_type?:(secure|insecure) online?:bool targetstorage?:storage-pair-list with-conntrack-state?:bool@9
with-local-disks?:bool"""
_MIGRATES = on_guest("VM.Migrate")
_SID = "sid:ha-resource-or-vm-id"
ROUTES = (
    Route("GET", f"{AT_GUEST}/migrate", preconditions, _MIGRATES, f"{OF_GUEST} target?:node", by=SCHEMA),
    Route("POST", f"{AT_GUEST}/migrate", migrate, _MIGRATES, _MIGRATE, by=_MOVES),
    Route("GET", "/cluster/ha/resources/{sid}", ha_resource, perm("/", "Sys.Audit"), _SID, by=_NO_HA),
)
WORKS = {"qmigrate": _end_migrate}
