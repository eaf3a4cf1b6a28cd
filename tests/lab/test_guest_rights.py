"""Which privileges it takes to make, change, clone and back up a guest, and where the refusal shows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.simulated import Simulated
from tests.lab.test_rights import TOKEN, USER, Cluster

GUEST = "/nodes/node1/qemu/131"
BRIDGE = "/sdn/zones/localnetwork/vmbr0"


@pytest.fixture
def cluster(simulated: Simulated) -> Cluster:
    made = Cluster(simulated)
    made.root("POST", "/nodes/node1/qemu", vmid=131, scsi0="rbd:1", ide2="rbd:cloudinit", tags="old")
    return made


def told(cluster: Cluster, method: str, path: str, /, **params: Any) -> str:
    """Ask as the user; return the refusal, or how the task that was started ended."""
    answer = cluster.send(USER, method, path, **params)
    if answer.status != 200 or answer.upid is None:
        return answer.reason
    return str((cluster.lab.world.get("task", answer.upid) or {})["exitstatus"])


def denied(path: str, privilege: str) -> str:
    return f"Permission check failed ({path}, {privilege})"


@pytest.mark.parametrize(
    ("option", "value", "privilege"),
    [
        ("cores", "2", "VM.Config.CPU"),
        ("numa0", "cpus=0", "VM.Config.CPU"),
        ("balloon", "512", "VM.Config.Memory"),
        ("scsihw", "virtio-scsi-pci", "VM.Config.HWType"),
        ("smbios1", "serial=1", "VM.Config.HWType"),
        ("agent", "1", "VM.Config.Options"),
        ("description", "x", "VM.Config.Options"),
        ("boot", "order=scsi0", "VM.Config.Disk"),
        ("net0", "virtio", "VM.Config.Network"),
        ("freeze", "1", "VM.PowerMgmt"),
        ("ciuser", "u", "VM.Config.Cloudinit|VM.Config.Network"),
        ("ipconfig0", "ip=dhcp", "VM.Config.Cloudinit|VM.Config.Network"),
    ],
)
def test_an_option_needs_its_privilege(cluster: Cluster, option: str, value: str, privilege: str) -> None:
    allocate = "Pool.Audit" if "PowerMgmt" in privilege else "VM.PowerMgmt"
    cluster.role("Maker", "VM.Allocate", allocate)
    cluster.grant("/vms", "Maker")
    new = {"vmid": 140, option.replace("-", "_"): value}
    assert told(cluster, "POST", "/nodes/node1/qemu", **new) == denied("/vms/140", privilege)
    cluster.role("Setter", privilege.split("|", maxsplit=1)[0])
    cluster.grant("/vms", "Setter")
    assert told(cluster, "POST", "/nodes/node1/qemu", **new) == "OK"
    assert told(cluster, "DELETE", "/nodes/node1/qemu/140") == "OK"


@pytest.mark.parametrize(
    ("option", "value", "refusal"),
    [
        ("args", "-S", "only root can set 'args' config"),
        ("affinity", "0", "only root can set 'affinity' config"),
        ("hookscript", "local:snippets/h.pl", "only root can set 'hookscript' config"),
        ("hostpci0", "0000:01:00.0", "only root can set 'hostpci0' config for non-mapped devices"),
        ("usb0", "host=1234:5678", "only root can set 'usb0' config for real devices"),
        ("serial0", "/dev/ttyS0", "only root can set 'serial0' config for real devices"),
        ("scsi0", "/dev/sda", "Only root can pass arbitrary filesystem paths."),
        ("rng0", "/dev/hwrng", denied("/mapping/hwrng", "Mapping.Use")),
        ("usb0", "mapping=stick", denied("/mapping/usb/stick", "Mapping.Use")),
        ("virtiofs0", "share", denied("/mapping/dir/share", "Mapping.Use")),
        ("startup", "order=1", denied("/", "Sys.Modify")),
        ("ide2", "cdrom,media=cdrom", denied("/", "Sys.Console")),
        ("net0", "virtio,bridge=vmbr0", denied(BRIDGE, "SDN.Use")),
        ("net0", "virtio,bridge=vmbr0,tag=7", denied(f"{BRIDGE}/7", "SDN.Use")),
        ("scsi0", "rbd:1", denied("/storage/rbd", "Datastore.AllocateSpace")),
        ("ide2", "local:iso/a.iso,media=cdrom", denied("/storage/local", "Datastore.AllocateSpace|Datastore.Audit")),
        ("scsi0", "rbd:vm-131-disk-0", denied("/storage/rbd", "Datastore.Audit")),
    ],
)
def test_what_every_right_on_guests_does_not_give(cluster: Cluster, option: str, value: str, refusal: str) -> None:
    cluster.grant("/vms", "PVEVMAdmin")
    assert told(cluster, "POST", "/nodes/node1/qemu", vmid=140, **{option: value}) == refusal


def test_a_socket_and_a_screen_are_no_real_devices(cluster: Cluster) -> None:
    cluster.grant("/vms", "PVEVMAdmin")
    assert told(cluster, "POST", "/nodes/node1/qemu", vmid=140, serial0="socket", usb0="spice") == "OK"


def test_an_import_needs_rights_on_its_source(cluster: Cluster) -> None:
    cluster.root("POST", "/storage", storage="images", type="dir", path="/srv", content="import")
    cluster.role("Maker", "VM.Allocate")
    cluster.grant("/vms", "Maker")
    cluster.grant("/storage/rbd", "PVEDatastoreUser")
    disk = "rbd:0,import-from={}"
    for source, refusal in (
        ("images:import/x.qcow2", denied("/storage/images", "Datastore.AllocateSpace|Datastore.Audit")),
        ("rbd:vm-131-disk-0", denied("/vms/131", "VM.Clone")),
        ("local:iso/x.iso", "Parameter verification failed."),
        ("/tmp/x.qcow2", "Only root can pass arbitrary filesystem paths."),
    ):
        given = disk.format(source)
        assert told(cluster, "POST", "/nodes/node1/qemu", vmid=140, scsi0=given) == refusal
    cluster.grant("/storage/images", "PVEDatastoreUser")
    missing = "unable to create VM 140 - failed to stat '/srv/import/x.qcow2'"
    assert told(cluster, "POST", "/nodes/node1/qemu", vmid=140, scsi0=disk.format("images:import/x.qcow2")) == missing


def test_a_drive_is_looked_at_only_inside_the_task(cluster: Cluster) -> None:
    cluster.role("Setter", "VM.Config.CPU")
    cluster.grant("/vms", "Setter")
    cluster.grant("/storage/rbd", "PVEDatastoreUser")
    refusal = denied("/vms/131", "VM.Config.Disk")
    assert told(cluster, "PUT", f"{GUEST}/config", scsi1="rbd:1") == refusal
    assert told(cluster, "POST", f"{GUEST}/config", scsi1="rbd:1") == f"403 {refusal}"
    assert told(cluster, "PUT", f"{GUEST}/config", delete="scsi0") == refusal
    assert told(cluster, "PUT", f"{GUEST}/config", delete="ide2") == denied("/vms/131", "VM.Config.Cloudinit")
    assert told(cluster, "PUT", f"{GUEST}/config", ide2="none,media=cdrom") == denied("/vms/131", "VM.Config.Cloudinit")
    assert told(cluster, "PUT", f"{GUEST}/config", ide3="none,media=cdrom") == denied("/vms/131", "VM.Config.CDROM")
    assert told(cluster, "POST", f"{GUEST}/config", tags="new") == f"403 {denied('/vms/131', 'VM.Config.Options')}"


def test_tags_of_a_new_guest_are_not_covered_by_its_pool(cluster: Cluster) -> None:
    cluster.root("POST", "/pools", poolid="ours")
    cluster.grant("/pool/ours", "PVEVMAdmin")
    assert told(cluster, "POST", "/nodes/node1/qemu", vmid=140, pool="ours", name="n") == "OK"
    refusal = f"unable to create VM 141 - 403 {denied('/vms/141', 'VM.Config.Options')}"
    assert told(cluster, "POST", "/nodes/node1/qemu", vmid=141, pool="ours", tags="a") == refusal
    assert cluster.lab.world.get("guest", "141") is None
    assert told(cluster, "PUT", "/nodes/node1/qemu/140/config", tags="a") == "OK"


def test_the_bridge_that_is_left_counts_too(cluster: Cluster) -> None:
    cluster.root("PUT", f"{GUEST}/config", net0="virtio,bridge=vmbr0")
    cluster.grant("/vms", "PVEVMAdmin")
    for change in ({"net0": "virtio"}, {"delete": "net0"}):
        assert told(cluster, "PUT", f"{GUEST}/config", **change) == denied(BRIDGE, "SDN.Use")
    cluster.grant(BRIDGE, "PVESDNUser")
    assert told(cluster, "PUT", f"{GUEST}/config", delete="net0") == "OK"


def test_skiplock_is_for_root(cluster: Cluster) -> None:
    cluster.grant("/vms", "PVEVMAdmin")
    answer = cluster.send(USER, "PUT", f"{GUEST}/config", cores=2, skiplock=1)
    assert answer.status == 400
    assert answer.body is not None
    assert answer.body["errors"] == {"skiplock": "Only root may use this option."}


def test_a_clone_without_space_for_its_disk_is_refused_and_its_discs_do_not_count(cluster: Cluster) -> None:
    cluster.role("Cloner", "VM.Clone", "VM.Allocate")
    cluster.grant("/vms", "Cloner")
    refusal = denied("/storage/rbd", "Datastore.AllocateSpace")
    assert told(cluster, "POST", f"{GUEST}/clone", newid=140) == refusal
    cluster.root("PUT", f"{GUEST}/config", delete="scsi0")
    cluster.root("PUT", f"{GUEST}/config", delete="unused0")
    assert told(cluster, "POST", f"{GUEST}/clone", newid=140) == "OK"


def test_a_clone_into_a_pool_needs_rights_on_it(cluster: Cluster) -> None:
    cluster.root("POST", "/pools", poolid="ours")
    cluster.role("Cloner", "VM.Clone")
    cluster.grant("/vms/131", "Cloner")
    cluster.grant("/storage/rbd", "PVEDatastoreUser")
    assert told(cluster, "POST", f"{GUEST}/clone", newid=140, pool="ours") == "Permission check failed"
    cluster.role("Into", "VM.Allocate")
    cluster.grant("/pool/ours", "Into")
    assert told(cluster, "POST", f"{GUEST}/clone", newid=140) == "Permission check failed"
    assert told(cluster, "POST", f"{GUEST}/clone", newid=140, pool="ours") == "OK"


def test_a_backup_is_refused_only_inside_the_task(cluster: Cluster) -> None:
    cluster.grant("/storage/local", "PVEDatastoreUser")
    backup = {"vmid": 131, "storage": "local"}
    assert told(cluster, "POST", "/nodes/node1/vzdump", **backup) == f"403 {denied('/vms/131', 'VM.Backup')}"
    cluster.grant("/vms", "PVEVMUser")
    assert told(cluster, "POST", "/nodes/node1/vzdump", **backup) == "OK"
    assert told(cluster, "POST", "/nodes/node1/vzdump", vmid=131, script="/x") == "Parameter verification failed."


def test_a_token_sees_its_own_tasks_and_its_user_those_of_his_tokens(cluster: Cluster) -> None:
    cluster.root("PUT", f"/access/users/{USER}/token/build-a", privsep=0)
    cluster.root("POST", f"/access/users/{USER}/token/build-b", privsep=0)
    cluster.grant("/vms", "PVEVMAdmin")
    answer = cluster.send(TOKEN, "POST", "/nodes/node1/qemu", vmid=140)
    path = f"/nodes/node1/tasks/{answer.upid}/status"
    seen = {who: cluster.send(who, "GET", path).status for who in (TOKEN, USER, f"{USER}!build-b", "root@pam")}
    assert seen == {TOKEN: 200, USER: 200, f"{USER}!build-b": 403, "root@pam": 200}
