"""Own which privileges Packer and the administrator need, and how one asks what an identity lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from lib.clients.cluster_lock import POOL
from lib.clients.pve import Pve
from lib.clients.waiting import together
from lib.config.model import Cluster
from lib.errors import StepError
from lib.facts import access as facts

AGENT = frozenset({"VM.Monitor", "VM.GuestAgent.Audit"})  # before and since PVE 9
STORAGE = frozenset({"Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"})
Needs = Mapping[str, frozenset[str]]
NEARER = "(`pveum acl list` shows what is on a path already: a nearer entry replaces what is inherited)"
CONFIGURE = frozenset(
    f"VM.Config.{what}" for what in ("CDROM", "Cloudinit", "CPU", "Disk", "HWType", "Memory", "Network", "Options")
)


GUEST = CONFIGURE | {"VM.Allocate", "VM.Audit", "VM.Clone", "VM.PowerMgmt"}


def packer(cluster: Cluster) -> Needs:
    """Return by path what a build needs; a PVE version knows one of the two of AGENT.

    The guests' rights are on the pool: an ACL on /vms/ID would vanish with a replaced template.
    """
    return {
        f"/pool/{cluster.proxmox.pool}": GUEST | AGENT,
        f"/storage/{cluster.proxmox.storage}": STORAGE,
        f"/storage/{cluster.tools_storage.storage}": STORAGE,
        f"/sdn/zones/localnetwork/{cluster.proxmox.bridge}": frozenset({"SDN.Use"}),
        "/nodes": frozenset({"Sys.Audit"}),
    }


def administrator(cluster: Cluster, backup: str = "") -> Needs:
    """Return by path what the requests of the foundation need.

    `backup` is the storage that a template is backed up to before it is destroyed, or an empty text.
    """
    proxmox, base, realm = cluster.proxmox, cluster.images.base, cluster.packer.user.rpartition("@")[2]
    wanted: dict[str, set[str]] = {
        "/": {"Sys.Audit", "Sys.Modify"},  # with both, Proxmox lets fetch from a URL
        "/nodes": {"Sys.Audit"},
        "/access": {"Sys.Audit", "Sys.Modify"},
        "/access/groups": {"User.Modify"},
        f"/access/realm/{realm}": {"Realm.AllocateUser"},
        f"/pool/{POOL}": {"Pool.Allocate", "Pool.Audit"},
        f"/pool/{proxmox.pool}": {"Pool.Allocate", "Pool.Audit"},
        "/storage": {"Datastore.Allocate"},
        # Without Datastore.Allocate the disks of others, and so linked clones, would not be seen.
        f"/storage/{proxmox.storage}": {"Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.Audit"},
        f"/storage/{cluster.tools_storage.storage}": {"Datastore.AllocateTemplate", "Datastore.Audit"},
        f"/sdn/zones/localnetwork/{proxmox.bridge}": {"SDN.Use"},
        "/vms": {"VM.Audit"},  # of foreign guests too
        f"/vms/{base.vmid}": {"VM.Allocate", "VM.Audit", *CONFIGURE},
    }
    for path in packer(cluster):
        wanted.setdefault(path, set()).add("Permissions.Modify")
    if backup:
        wanted[f"/vms/{base.vmid}"].add("VM.Backup")
        wanted.setdefault(f"/storage/{backup}", set()).update(("Datastore.AllocateSpace", "Datastore.Audit"))
    return {path: frozenset(privileges) for path, privileges in wanted.items()}


def lasting(path: str) -> str:
    """Return where an ACL for that path stays: with a guest or a pool, the ACLs on its own path go."""
    if path.startswith("/vms/"):
        return "/vms"
    return "/pool" if path == f"/pool/{POOL}" else path


def lacks(pve: Pve, needs: Needs, exact: bool = True) -> dict[str, list[str]]:
    """Return by path what the identity lacks, asked as itself (API: /access/permissions).

    The one listing leaves out paths on which nothing is held at all, as if these inherited;
    `exact` asks for each of those.
    """
    shown = pve.get("/access/permissions")
    absent = [path for path in needs if exact and path not in shown]
    for answer in together(*(partial(pve.get, "/access/permissions", path=path) for path in absent)):
        shown = {**shown, **answer}
    return facts.missing(shown, needs)


def prove_administrator(pve: Pve, needs: Needs, exact: bool) -> None:
    """Refuse where the administrator may not do all that follows.

    Raises:
        StepError: names each privilege that lacks, its path, and the command that gives it.
    """
    if pve.identity == "root@pam":
        return
    lacking = lacks(pve, needs, exact)
    if lacking:
        fixes = dict.fromkeys(facts.grant(lasting(path), pve.identity, "Administrator") for path in lacking)
        raise StepError(f"administrator {pve.identity}", told(lacking), "\n".join([*fixes, NEARER]))


def told(lacking: Mapping[str, Iterable[str]]) -> str:
    """Say what lacks where."""
    return "; ".join(f"lacks {', '.join(names)} on {path}" for path, names in lacking.items())
