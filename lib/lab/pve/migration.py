"""Own moving guests between nodes (API: …/qemu/{vmid}/migrate), and that high availability looks after none of them.

Only guests on shared storages move: what it takes to copy a disk from node to node is not simulated.
"""

from __future__ import annotations

from lib.lab.provenance import belief
from lib.lab.pve import guest_disks, guest_state, storage_state
from lib.lab.pve.answers import failure, invalid
from lib.lab.pve.call import AT_GUEST, Call, Route, on_guest, perm
from lib.lab.pve.guest_options import is_drive
from lib.lab.pve.guests import present
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
    guest, target = call.guest(), call["target"]
    if target == call.node:
        raise invalid(target="target is local node.")
    if call.world.get("node", target) is None:
        raise failure(f"no such cluster node '{target}'")
    guest_state.need_unlocked(guest)
    if guest["status"] == "running" and not call.get("online"):
        raise invalid(online="Can't migrate running VM without --online")
    for volid in _volumes(guest):
        storage_state.need_on(call.world, volid.partition(":")[0], target)
    return call.start("qmigrate", call["vmid"], SECONDS, target=target)


def _volumes(guest: Document) -> list[str]:
    volumes = (guest_disks.volume_of(value) for option, value in guest["config"].items() if is_drive(option))
    return [volid for volid in volumes if volid]


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
_SID = "sid:ha-resource-or-vm-id"
ROUTES = (
    Route("POST", f"{AT_GUEST}/migrate", migrate, on_guest("VM.Migrate"), _MIGRATE, by=_MOVES),
    Route("GET", "/cluster/ha/resources/{sid}", ha_resource, perm("/", "Sys.Audit"), _SID, by=_NO_HA),
)
WORKS = {"qmigrate": _end_migrate}
