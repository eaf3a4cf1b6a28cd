"""How a guest lives: power, clones, snapshots, disks that move, its agent; in the words and the order of qemu-server.

Read in src/PVE/API2/Qemu.pm, src/PVE/QemuServer/Agent.pm (qemu-server) and src/PVE/AbstractConfig.pm
(pve-guest-common); what a recording has of it is in test_recordings.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.host import GUEST, NODE, Host


@pytest.fixture
def host() -> Host:
    return Host().with_guest()


# ---------------------------------------------------------------------- power


NOT_HERE = "unable to find configuration file for VM 999 on node 'pve'"


@pytest.mark.parametrize("verb", ["reset", "reboot", "suspend", "resume"])
def test_what_needs_a_running_guest_is_refused_at_once(host: Host, verb: str) -> None:
    assert host.refused("POST", f"{GUEST}/status/{verb}") == "VM 100 not running"
    assert host.refused("POST", f"{NODE}/qemu/999/status/{verb}") == NOT_HERE


@pytest.mark.parametrize("verb", ["stop", "shutdown"])
def test_a_guest_that_is_off_may_be_switched_off_whatever_works_on_it(host: Host, verb: str) -> None:
    assert host.task("POST", f"{NODE}/qemu/999/status/{verb}") == NOT_HERE
    host.data("PUT", f"{GUEST}/config", lock="backup")
    assert host.task("POST", f"{GUEST}/status/{verb}") == "OK"
    assert host.task("POST", f"{GUEST}/status/start") == "VM is locked (backup)"
    assert host.refused("GET", f"{NODE}/qemu/999/feature", feature="clone") == NOT_HERE


def test_starting_stopping_and_their_ends(host: Host) -> None:
    assert host.task("POST", f"{GUEST}/status/stop") == "OK"
    assert host.task("POST", f"{GUEST}/status/shutdown") == "OK"
    assert host.task("POST", f"{GUEST}/status/start") == "OK"
    assert host.task("POST", f"{GUEST}/status/start") == "VM 100 already running"
    assert host.task("POST", f"{GUEST}/status/suspend") == "OK"
    assert host.data("GET", f"{GUEST}/status/current")["qmpstatus"] == "paused"
    assert host.refused("POST", f"{GUEST}/status/shutdown") == "VM is paused - cannot shutdown"
    assert host.task("POST", f"{GUEST}/status/resume") == "OK"
    assert host.refused("DELETE", GUEST) == "VM 100 is running - destroy failed"
    missing = "Configuration file 'nodes/pve/qemu-server/999.conf' does not exist"
    assert host.task("POST", f"{NODE}/qemu/999/status/start") == missing


def test_some_options_are_root_s_alone(host: Host) -> None:
    host.data("POST", "/access/users", userid="admin@pve")
    host.data("PUT", "/access/acl", path="/", roles="Administrator", users="admin@pve")
    for path, name in (("status/start", "skiplock"), ("status/stop", "keepActive"), ("config", "skiplock")):
        answer = host.api.call(
            "admin@pve", "POST", f"{GUEST}/{path}", {name: "1", **({"cores": "1"} if path == "config" else {})}, "pve"
        )
        assert (answer.body or {})["errors"] == {name: "Only root may use this option."}


# --------------------------------------------------------------------- clones


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"pool": "p"}, "Permission check failed (pool 'p' does not exist)"),
        ({"target": "other"}, "no such cluster node 'other'"),
        ({"storage": "nosuch"}, "storage 'nosuch' does not exist"),
        ({"storage": "isos"}, {"storage": "storage 'isos' does not support vm images"}),
        ({"snapname": "one"}, "snapshot 'one' does not exist"),
        ({"full": 0, "storage": "made"}, "parameter 'storage' not allowed for linked clones"),
        ({"full": 0, "format": "raw"}, "parameter 'format' not allowed for linked clones"),
        ({"newid": 100, "full": 0}, "unable to create VM 100: config file already exists"),
        ({"full": 0}, "Linked clone feature is not supported for 'local:100/vm-100-disk-0.qcow2' (scsi0)"),
    ],
)
def test_a_clone_is_refused(host: Host, given: dict[str, Any], told: Any) -> None:
    """clone_vm of PVE::API2::Qemu, in its order."""
    host.data("POST", "/storage", storage="isos", type="dir", path="/mnt/isos", content="iso")
    assert host.refused("POST", f"{GUEST}/clone", **{"newid": 101} | given) == told


def test_a_snapshot_is_cloned_as_it_was(host: Host) -> None:
    host.task("POST", f"{GUEST}/snapshot", snapname="one")
    host.data("PUT", f"{GUEST}/config", cores=4, delete="vmgenid")
    assert host.task("POST", f"{GUEST}/clone", newid=101, snapname="one") == "OK"
    assert host.task("POST", f"{GUEST}/clone", newid=102, description="copied") == "OK"
    first, second = (host.data("GET", f"{NODE}/qemu/{vmid}/config") for vmid in (101, 102))
    assert ("cores" in first, "vmgenid" in first, first["name"]) == (False, True, "Copy-of-VM-guest")
    assert (second["cores"], "vmgenid" in second, second["description"]) == (4, False, "copied")


# ------------------------------------------------------------------ snapshots


def test_snapshots(host: Host) -> None:
    path = f"{GUEST}/snapshot"
    assert host.refused("POST", path, snapname="current") == "unable to use snapshot name 'current' (reserved name)"
    assert host.refused("POST", path, snapname="Pending") == "unable to use snapshot name 'pending' (reserved name)"
    assert host.task("POST", path, snapname="one", description="first") == "OK"
    assert host.task("POST", path, snapname="one") == "snapshot name 'one' already used"
    assert host.config()["parent"] == "one"
    host.data("PUT", f"{path}/one/config", description="changed")
    kept = host.data("GET", f"{path}/one/config")
    assert kept["description"] == "changed"
    assert "digest" not in kept
    one, current = host.data("GET", path)
    assert (one["description"], one["vmstate"], current["parent"]) == ("changed", 0, "one")
    assert host.data("GET", f"{path}/nosuch") == [{"cmd": "rollback"}, {"cmd": "config"}]
    for verb, name in (("GET", "config"), ("PUT", "config")):
        given = {"description": "x"} if verb == "PUT" else {}
        assert host.refused(verb, f"{path}/nosuch/{name}", **given) == "snapshot 'nosuch' does not exist"
    assert host.task("POST", f"{path}/nosuch/rollback") == "snapshot 'nosuch' does not exist"
    assert host.task("DELETE", f"{path}/nosuch") == "snapshot 'nosuch' does not exist"
    host.data("PUT", f"{GUEST}/config", cores=4, description="mine")
    assert host.task("POST", f"{path}/one/rollback") == "OK"
    assert ("cores" in host.config(), host.config()["description"]) == (False, "mine")
    assert host.refused("POST", f"{GUEST}/template") == "unable to create template, because VM contains snapshots"
    assert host.task("DELETE", f"{path}/one") == "OK"
    assert "parent" not in host.config()


def test_going_back_keeps_the_disks_that_came_since(host: Host) -> None:
    host.task("POST", f"{GUEST}/snapshot", snapname="one")
    host.data("PUT", f"{GUEST}/config", delete="scsi0", scsi1="local:2,format=qcow2")
    assert host.config()["unused0"] == "local:100/vm-100-disk-0.qcow2"
    assert host.task("POST", f"{GUEST}/snapshot/one/rollback") == "OK"
    config = host.config()
    assert (config["scsi0"], "scsi1" in config) == ("local:100/vm-100-disk-0.qcow2,size=1G", False)
    assert {value for name, value in config.items() if name.startswith("unused")} == {"local:100/vm-100-disk-1.qcow2"}


def test_a_raw_file_keeps_no_snapshots(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", scsi1="local:1")
    assert host.task("POST", f"{GUEST}/snapshot", snapname="one") == "snapshot feature is not available"
    assert host.data("GET", f"{GUEST}/feature", feature="snapshot")["hasFeature"] == 0
    assert host.task("POST", f"{GUEST}/template") == "OK"
    assert host.task("POST", f"{GUEST}/snapshot", snapname="one") == "you can't take a snapshot if it's a template"


# ---------------------------------------------------------------------- disks


def test_moving_a_disk(host: Host) -> None:
    path = f"{GUEST}/move_disk"
    neither = "both 'storage' and 'target-vmid' missing, either needs to be set"
    assert host.refused("POST", path, disk="scsi0") == {"target-vmid": neither, "storage": neither}
    assert host.refused("POST", path, disk="scsi9", storage="made") == "disk 'scsi9' does not exist"
    assert host.refused("POST", path, disk="ide2", storage="made") == "you can't move a cdrom"
    assert (
        host.refused("POST", path, disk="scsi0", storage="local")
        == "you can't move to the same storage with same format"
    )
    assert host.refused("POST", path, disk="scsi0", storage="nosuch") == "storage 'nosuch' does not exist"
    assert host.task("POST", path, disk="scsi0", storage="made") == "OK"
    assert host.config()["scsi0"] == "made:100/vm-100-disk-0.qcow2,size=1G"
    assert host.config()["unused0"] == "local:100/vm-100-disk-0.qcow2"
    assert host.task("POST", path, disk="scsi0", storage="local", delete=1) == "OK"
    assert host.data("GET", f"{NODE}/storage/made/content") == []


def test_giving_a_disk_to_another_guest(host: Host) -> None:
    path = f"{GUEST}/move_disk"
    same = {"target-vmid": "must be different than source VMID to reassign disk"}
    assert host.refused("POST", path, disk="scsi0", target__vmid=100) == same
    assert host.refused("POST", path, disk="scsi0", target__vmid=101) == "could not find target VM 101"
    host.task("POST", f"{NODE}/qemu", vmid=101)
    assert host.task("POST", path, disk="scsi0", target__vmid=101, target__disk="scsi3") == "OK"
    assert ("scsi0" in host.config(), host.config()["boot"]) == (False, " ")
    assert host.data("GET", f"{NODE}/qemu/101/config")["scsi3"] == "local:101/vm-101-disk-0.qcow2,size=1G"


def test_a_disk_of_a_snapshot_stays(host: Host) -> None:
    path, there = f"{GUEST}/move_disk", {"disk": "scsi0", "storage": "made", "delete": 1}
    changed = "VM 101: detected modified configuration - file changed by other user? Try again."
    host.task("POST", f"{NODE}/qemu", vmid=101)
    assert host.refused("POST", path, disk="scsi0", target__vmid=101, target__digest="0" * 40) == changed
    host.task("POST", f"{GUEST}/snapshot", snapname="one")
    assert host.refused("POST", path, **there) == "you can't move a disk with snapshots and delete the source"
    told = host.refused("POST", path, disk="scsi0", target__vmid=101)
    assert told == "Can't move disk used by a snapshot to another VM"


def test_resizing_shows_what_is_wrong_in_the_task(host: Host) -> None:
    path = f"{GUEST}/resize"
    assert host.task("PUT", path, disk="scsi9", size="+1G") == "disk 'scsi9' does not exist"
    assert host.task("PUT", path, disk="scsi0", size="10M") == "shrinking disks is not supported"
    assert host.task("PUT", path, disk="ide2", size="+1G") == "unable to parse volume ID 'none'"
    host.data("PUT", f"{GUEST}/config", ide0="local:cloudinit")
    assert host.task("PUT", path, disk="ide0", size="+1G") == "you can't resize a cdrom"
    wrong = host.task("PUT", path, disk="scsi0", size="+1G", digest="0" * 40)
    assert wrong == "checksum mismatch (file change by other user?)"
    assert host.refused("PUT", path, disk="scsi0", size="much") == {"size": "value does not match the regex pattern"}


# ---------------------------------------------------------------------- agent


@pytest.mark.parametrize(
    ("method", "name", "given"),
    [
        ("POST", "ping", {}),
        ("GET", "get-osinfo", {}),
        ("GET", "network-get-interfaces", {}),
        ("POST", "fstrim", {}),
        ("POST", "exec", {"command": "id"}),
        ("GET", "exec-status", {"pid": 1}),
        ("GET", "file-read", {"file": "/etc/hostname"}),
        ("POST", "file-write", {"file": "/tmp/x", "content": "x"}),
        ("POST", "set-user-password", {"username": "root", "password": "secret"}),
    ],
)
def test_without_an_agent_every_command_of_it_is_refused(
    host: Host, method: str, name: str, given: dict[str, Any]
) -> None:
    path = f"{GUEST}/agent/{name}"
    assert host.refused(method, path, **given) == "No QEMU guest agent configured"
    host.data("PUT", f"{GUEST}/config", agent=1)
    assert host.refused(method, path, **given) == "VM 100 is not running"
    host.task("POST", f"{GUEST}/status/start")
    assert host.refused(method, path, **given) == "QEMU guest agent is not running"
    missing = "Configuration file 'nodes/pve/qemu-server/999.conf' does not exist"
    assert host.refused(method, f"{NODE}/qemu/999/agent/{name}", **given) == missing


def test_a_guest_is_not_started_with_more_processors_than_there_are(host: Host) -> None:
    has = (host.world.get("node", "pve") or {})["cpus"]
    host.task("POST", f"{NODE}/qemu", vmid=990, sockets=2, cores=has)
    assert host.task("POST", f"{NODE}/qemu/990/status/start") == f"MAX {has} vcpus allowed per VM on this node"
    host.task("POST", f"{NODE}/qemu", vmid=991, start=1)
    assert host.data("GET", f"{NODE}/qemu/991/status/current")["status"] == "running"
    assert {"qmcreate", "qmstart"} == {each["type"] for each in host.data("GET", f"{NODE}/tasks", vmid=991)}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"archive": "nosuch"}, "can't find file 'nosuch'"),
        ({"archive": "-"}, "pipe requires cli environment"),
        ({"archive": "local:backup/none.txt"}, "unable to parse directory volume name 'backup/none.txt'"),
        (
            {"archive": "local:backup/vzdump-qemu-1-2024_01_01-00_00_00.vma"},
            "volume 'local:backup/vzdump-qemu-1-2024_01_01-00_00_00.vma' does not exist",
        ),
    ],
)
def test_what_is_no_backup_is_not_restored(host: Host, given: Any, told: str) -> None:
    assert host.refused("POST", f"{NODE}/qemu", vmid=990, **given) == told


# ------------------------------------------------------------------ migration


def test_what_a_guest_has_on_its_node_alone(host: Host) -> None:
    path = f"{GUEST}/migrate"
    host.data("PUT", f"{GUEST}/config", serial0="socket", usb0="spice", hostpci0="0000:01:00.0")
    found = host.data("GET", path)
    assert (found["running"], found["allowed_nodes"], found["not_allowed_nodes"]) == (0, [], {})
    assert (found["local_resources"], found["has-dbus-vmstate"]) == (["hostpci0"], 1)
    (disk,) = found["local_disks"]
    assert (disk["volid"], disk["size"], disk["drivename"]) == ("local:100/vm-100-disk-0.qcow2", 1 << 30, "scsi0")
    missing = "Configuration file 'nodes/pve/qemu-server/999.conf' does not exist"
    assert host.refused("GET", f"{NODE}/qemu/999/migrate") == missing


def test_where_to_comes_before_what(host: Host) -> None:
    for vmid in (100, 999):
        path = f"{NODE}/qemu/{vmid}/migrate"
        assert host.refused("POST", path, target="pve") == {"target": "target is local node."}
        assert host.refused("POST", path, target="other") == "no such cluster node 'other'"


def test_a_guest_that_sleeps_is_woken_by_a_start(host: Host) -> None:
    for verb in ("start", "resume"):
        host.task("POST", f"{GUEST}/status/start")
        assert host.task("POST", f"{GUEST}/status/suspend", todisk=1) == "OK"
        assert host.config()["lock"] == "suspended"
        assert host.refused("POST", f"{GUEST}/status/reset") == "VM 100 not running"
        assert host.task("POST", f"{GUEST}/status/{verb}") == "OK"
        assert "lock" not in host.config()
        assert host.data("GET", f"{GUEST}/status/current")["qmpstatus"] == "running"
        host.task("POST", f"{GUEST}/status/stop")


def test_a_template_is_no_guest_to_start_whatever_works_on_it(host: Host) -> None:
    host.task("POST", f"{GUEST}/template")
    host.data("PUT", f"{GUEST}/config", lock="backup")
    assert host.task("POST", f"{GUEST}/status/start") == "you can't start a vm if it's a template"
    missing = "Configuration file 'nodes/pve/qemu-server/999.conf' does not exist"
    assert host.refused("PUT", f"{NODE}/qemu/999/sendkey", key="ret") == missing


def test_what_the_monitor_and_a_sleep_to_disk_need(host: Host) -> None:
    host.data("POST", "/access/users", userid="a@pve")
    host.data("POST", "/access/roles", roleid="Some", privs="VM.PowerMgmt,VM.Config.Disk,Sys.Audit,Sys.Modify")
    host.data("PUT", "/access/acl", path="/vms", roles="Some", users="a@pve")
    host.task("POST", f"{GUEST}/status/start")
    for path, given, needed in (
        ("monitor", {"command": "stop"}, "(/, Sys.Modify)"),
        ("status/suspend", {"todisk": "1"}, "(/storage/local, Datastore.AllocateSpace)"),
    ):
        answer = host.api.call("a@pve", "POST", f"{GUEST}/{path}", given, "pve")
        assert (answer.status, answer.reason) == (403, f"Permission check failed {needed}")


def features(host: Host, vmid: int, **given: Any) -> list[int]:
    path = f"{NODE}/qemu/{vmid}/feature"
    return [host.data("GET", path, feature=name, **given)["hasFeature"] for name in ("snapshot", "clone", "copy")]


def test_what_disks_can_do(host: Host) -> None:
    assert features(host, 100) == [1, 0, 1]
    host.task("POST", f"{GUEST}/snapshot", snapname="one")
    assert features(host, 100, snapname="one") == [1, 0, 1]
    host.task("DELETE", f"{GUEST}/snapshot/one")
    host.data("PUT", f"{GUEST}/config", ide1="local:1")
    assert host.task("POST", f"{GUEST}/template", disk="scsi0") == "OK"
    assert host.config()["template"] == 1
    assert features(host, 100) == [0, 0, 1]
    host.data("PUT", f"{GUEST}/config", delete="ide1")
    assert features(host, 100) == [0, 1, 1]
    assert host.task("POST", f"{GUEST}/clone", newid=101) == "OK"
    assert features(host, 101) == [1, 0, 1]
    linked = (
        "Linked clone feature is not supported for 'local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2' (scsi0)"
    )
    assert host.refused("POST", f"{NODE}/qemu/101/clone", newid=102, full=0) == linked
    assert host.task("POST", f"{GUEST}/move_disk", disk="scsi0", storage="made") == "OK"
    assert host.config()["scsi0"] == "made:100/base-100-disk-0.qcow2,size=1G"


def test_what_changed_is_told_before_what_is_locked(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", lock="backup")
    given = {"disk": "scsi0", "size": "+1G"}
    assert host.task("PUT", f"{GUEST}/resize", **given) == "VM is locked (backup)"
    assert host.task("PUT", f"{GUEST}/resize", digest="0" * 40, **given).startswith("checksum mismatch")
    assert host.task("PUT", f"{GUEST}/resize", skiplock=1, **given) == "OK"


def test_a_guest_that_sleeps_may_be_destroyed(host: Host) -> None:
    host.task("POST", f"{GUEST}/status/start")
    host.task("POST", f"{GUEST}/status/suspend", todisk=1)
    assert host.task("DELETE", GUEST) == "OK"
