"""What guests are refused, and how they change: the words and the order of qemu-server and pve-guest-common.

Read in src/PVE/API2/Qemu.pm, src/PVE/QemuServer/Agent.pm (qemu-server) and src/PVE/AbstractConfig.pm
(pve-guest-common); what a recording has of it is in test_recordings.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.host import NODE, Host

GUEST = f"{NODE}/qemu/100"
AT_ONCE = "at the same time"


def config(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.data("GET", f"{GUEST}/config")
    return found


@pytest.fixture
def host() -> Host:
    return Host().with_guest()


# --------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "no options specified"),
        ({"delete": "nosuch"}, {"delete": "unknown option 'nosuch'"}),
        ({"revert": "nosuch"}, {"revert": "unknown option 'nosuch'"}),
        ({"delete": "cores", "cores": 2}, {"delete": f"you can't use '-cores' and -delete cores' {AT_ONCE}"}),
        (
            {"delete": "cores", "revert": "cores"},
            {"revert": "you can't use '-delete cores' and -revert cores' at the same time"},
        ),
        ({"digest": "0" * 40, "cores": 2}, "checksum mismatch (file change by other user?)"),
        ({"balloon": 1024}, "balloon value too large (must be smaller than assigned memory)"),
        ({"boot": "order=scsi9"}, "invalid bootorder: device 'scsi9' does not exist'"),
        ({"force": 1, "cores": 2}, {"delete": "missing property - 'force' requires this property"}),
    ],
)
def test_a_change_is_refused(host: Host, given: dict[str, Any], told: Any) -> None:
    before = config(host)
    assert host.refused("PUT", f"{GUEST}/config", **given) == told
    assert config(host) == before


def test_what_is_not_set_can_be_deleted_all_the_same(host: Host) -> None:
    before = config(host)
    host.data("PUT", f"{GUEST}/config", delete="description")
    assert config(host) == before


def test_a_deleted_disk_leaves_the_boot_order_and_stays_as_an_unused_one(host: Host) -> None:
    host.data("PUT", f"{GUEST}/unlink", idlist="scsi0")
    assert config(host)["boot"] == "order="
    assert config(host)["unused0"] == "local:100/vm-100-disk-0.qcow2"
    host.data("PUT", f"{GUEST}/unlink", idlist="unused0", force=1)
    assert "unused0" not in config(host)


def test_a_new_cd_drive_is_bootable(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", ide0="none,media=cdrom")
    assert config(host)["boot"] == "order=scsi0;ide0"


def test_a_protected_guest_keeps_its_disks(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", protection=1)
    assert (
        host.refused("PUT", f"{GUEST}/config", delete="scsi0") == "can't remove drive 'scsi0' - protection mode enabled"
    )
    assert host.refused("DELETE", GUEST) == "can't remove VM 100 - protection mode enabled"


def test_a_snapshot_and_the_present_are_not_asked_for_at_once(host: Host) -> None:
    both = "cannot use 'snapshot' parameter with 'current'"
    told = host.refused("GET", f"{GUEST}/config", snapshot="one", current=1)
    assert told == {"snapshot": both, "current": both}
    assert host.refused("GET", f"{GUEST}/config", snapshot="one") == "snapshot 'one' does not exist"


# ---------------------------------------------------------------------- power


@pytest.mark.parametrize("verb", ["reset", "reboot", "suspend", "resume"])
def test_what_needs_a_running_guest_is_refused_at_once(host: Host, verb: str) -> None:
    assert host.refused("POST", f"{GUEST}/status/{verb}") == "VM 100 not running"


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
    for user in ("admin@pve",):
        host.data("POST", "/access/users", userid=user)
        host.data("PUT", "/access/acl", path="/", roles="Administrator", users=user)
    for path, name in (("status/start", "skiplock"), ("status/stop", "keepActive"), ("config", "skiplock")):
        answer = host.api.call(
            "admin@pve", "POST", f"{GUEST}/{path}", {name: "1", **({"cores": "1"} if path == "config" else {})}, "pve"
        )
        assert (answer.body or {})["errors"] == {name: "Only root may use this option."}


# ------------------------------------------------------------------ snapshots


def test_snapshots(host: Host) -> None:
    path = f"{GUEST}/snapshot"
    assert host.refused("POST", path, snapname="current") == "unable to use snapshot name 'current' (reserved name)"
    assert host.refused("POST", path, snapname="Pending") == "unable to use snapshot name 'pending' (reserved name)"
    assert host.task("POST", path, snapname="one", description="first") == "OK"
    assert host.task("POST", path, snapname="one") == "snapshot name 'one' already used"
    assert config(host)["parent"] == "one"
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
    assert ("cores" in config(host), config(host)["description"]) == (False, "mine")
    assert host.refused("POST", f"{GUEST}/template") == "unable to create template, because VM contains snapshots"
    assert host.task("DELETE", f"{path}/one") == "OK"
    assert "parent" not in config(host)


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
    assert config(host)["scsi0"] == "made:100/vm-100-disk-0.qcow2,size=1G"
    assert config(host)["unused0"] == "local:100/vm-100-disk-0.qcow2"
    assert host.task("POST", path, disk="scsi0", storage="local", delete=1) == "OK"
    assert host.data("GET", f"{NODE}/storage/made/content") == []


def test_giving_a_disk_to_another_guest(host: Host) -> None:
    path = f"{GUEST}/move_disk"
    same = {"target-vmid": "must be different than source VMID to reassign disk"}
    assert host.refused("POST", path, disk="scsi0", target__vmid=100) == same
    assert host.refused("POST", path, disk="scsi0", target__vmid=101) == "could not find target VM 101"
    host.task("POST", f"{NODE}/qemu", vmid=101)
    assert host.task("POST", path, disk="scsi0", target__vmid=101, target__disk="scsi3") == "OK"
    assert "scsi0" not in config(host)
    assert host.data("GET", f"{NODE}/qemu/101/config")["scsi3"] == "local:101/vm-101-disk-0.qcow2,size=1G"


def test_resizing_shows_what_is_wrong_in_the_task(host: Host) -> None:
    path = f"{GUEST}/resize"
    assert host.task("PUT", path, disk="scsi9", size="+1G") == "disk 'scsi9' does not exist"
    assert host.task("PUT", path, disk="scsi0", size="10M") == "shrinking disks is not supported"
    assert host.task("PUT", path, disk="ide2", size="+1G") == "you can't resize a cdrom"
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
