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


def test_what_only_the_work_looks_at_shows_in_its_task(host: Host) -> None:
    told = "invalid bootorder: device 'scsi9' does not exist'"
    assert host.task("POST", f"{GUEST}/config", boot="order=scsi9") == told
    waited = host.refused("POST", f"{GUEST}/config", boot="order=scsi9", background_delay=5)
    assert waited == f"failed to update VM 100: {told}"
    assert host.data("POST", f"{GUEST}/config", cores=2, background_delay=5) is None
    assert config(host)["cores"] == 2


FORMAT = "invalid format - "
KEY = "ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAAIIkKlyTRKUIEgHIHfptK1QBdyjjjZvlAONXTfTAXdBbD"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"sshkeys": "garbage"}, "SSH public key validation error"),
        ({"sshkeys": f"{KEY}%0Assh-rsa%20AAAA"}, "SSH public key validation error"),
        ({"cpu": "z80"}, {"cpu": f"{FORMAT}Built-in cputype 'z80' is not defined (missing 'custom-' prefix?)\n"}),
        ({"cpu": "custom-mine"}, {"cpu": f"{FORMAT}Custom cputype 'mine' not found\n"}),
        ({"cpu": "hidden=1"}, {"cpu": f"{FORMAT}CPU is missing cputype\n"}),
        (
            {"cpu": "host,phys-bits=7"},
            {
                "cpu": f"{FORMAT}format error\ncpu.phys-bits: {FORMAT}value must be an integer between 8 and 64 or"
                " 'host'\n"
            },
        ),
        (
            {"scsi1": "local:1,import-from=local:import/x.qcow2"},
            {"scsi1": "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>"},
        ),
        (
            {"efidisk0": "local:0,import-from=local:import/x.raw"},
            {"efidisk0": "need to specify 'efitype' when using 'import-from'"},
        ),
        ({"scsi1": "local:0,import-from=/x.raw"}, "can't find file '/x.raw'"),
        (
            {"scsi1": "local:0,import-from=local:iso/x.iso"},
            {"scsi1": "local:iso/x.iso has wrong type 'iso' - needs to be 'images' or 'import'"},
        ),
        ({"scsi1": "local:nosuch"}, "unable to parse directory volume name 'nosuch'"),
        ({"scsi1": "local:import/x.raw"}, {"scsi1": "content type needs to be 'images' or 'iso'"}),
        ({"scsi1": "local:iso/x.iso"}, {"scsi1": "explicit 'media=cdrom' is required for iso images"}),
        ({"ide0": "local:iso/x.iso,media=cdrom"}, "volume 'local:iso/x.iso' does not exist"),
        ({"scsi1": "nosuch:1"}, "storage 'nosuch' does not exist"),
        ({"scsi1": "off:1"}, "storage 'off' is disabled"),
    ],
)
def test_a_device_is_refused(host: Host, given: dict[str, Any], told: Any) -> None:
    host.data("POST", "/storage", storage="off", type="dir", path="/mnt/off", content="images", disable=1)
    before = config(host)
    assert host.refused("PUT", f"{GUEST}/config", **given) == told
    assert config(host) == before


def test_a_guest_has_one_cloud_init_drive(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", ide0="local:cloudinit", sshkeys=KEY)
    twice = host.refused("PUT", f"{GUEST}/config", ide1="local:cloudinit")
    assert twice == "ide1 - cloud-init drive is already attached at 'ide0'"
    again = host.refused("PUT", f"{GUEST}/config", ide0="local:cloudinit")
    assert again == "disk image '/var/lib/vz/images/100/vm-100-cloudinit.qcow2' already exists"
    two = host.task("POST", f"{NODE}/qemu", vmid=101, ide0="local:cloudinit", ide1="made:cloudinit")
    assert two == "unable to create VM 101 - ide1 - cloud-init drive is already attached at 'ide0'"


def test_what_is_kept_is_not_always_what_was_given(host: Host) -> None:
    given = {"vmgenid": 1, "cpuunits": 20000, "ostype": "win11", "cdrom": "none", "tags": "b;a;b", "net0": "e1000"}
    host.data("PUT", f"{GUEST}/config", **given)
    kept = config(host)
    assert len(kept["vmgenid"]) == 36
    assert (kept["cpuunits"], kept["ide2"], kept["tags"]) == (10000, "none,media=cdrom", "a;b")
    assert kept["machine"].startswith("pc-i440fx-")
    assert kept["net0"].startswith("e1000=")


def test_a_password_is_shown_as_stars(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", cipassword="secret")
    assert {"key": "cipassword", "value": "**********"} in host.data("GET", f"{GUEST}/pending")


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
    for user in ("admin@pve",):
        host.data("POST", "/access/users", userid=user)
        host.data("PUT", "/access/acl", path="/", roles="Administrator", users=user)
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
    assert ("scsi0" in config(host), config(host)["boot"]) == (False, "order=")
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


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"boot": "order=net0;scsi0"}, None),
        ({"boot": "order=foo"}, "boot.order: invalid format - invalid boot device 'foo'\n"),
        ({"boot": "order=efidisk0"}, "boot.order: invalid format - invalid boot device 'efidisk0'\n"),
        ({"hostpci0": "0000:01:00.0;01:00"}, None),
        ({"hostpci0": "xx"}, "hostpci0.host: value does not match the regex pattern\n"),
        ({"hostpci0": "01:00,vendor-id=12"}, "hostpci0.vendor-id: value does not match the regex pattern\n"),
        ({"smbios1": "serial=QQ==,base64=1"}, None),
        ({"smbios1": "uuid=1"}, "smbios1.uuid: value does not match the regex pattern\n"),
        ({"scsi1": "/dev/nosuch"}, "volume /dev/nosuch does not exist"),
    ],
)
def test_what_the_schema_has_only_a_name_for_is_read_as_qemu_server_does(host: Host, given: Any, told: Any) -> None:
    host.task("POST", f"{NODE}/qemu", vmid=990, scsi0="local:1", net0="virtio,bridge=vmbr0")
    answer = host.send("PUT", f"{NODE}/qemu/990/config", **given)
    errors = ((answer.body or {}).get("errors") or {}).get(next(iter(given)))
    assert answer.status == (200 if told is None else 400 if errors else 500)
    assert told is None or told == (errors or answer.reason).removeprefix("invalid format - format error\n")


def test_tags_are_kept_sorted_and_small_and_some_are_not_for_everybody(host: Host) -> None:
    def tags() -> Any:
        return host.data("GET", f"{NODE}/qemu/990/config")["tags"]

    host.task("POST", f"{NODE}/qemu", vmid=990, tags="b,A,B")
    assert tags() == "a;b"
    host.data("PUT", "/cluster/options", **{"tag-style": "case-sensitive=1,ordering=config"})
    host.data("PUT", f"{NODE}/qemu/990/config", tags="b;A;B;b")
    assert tags() == "b;A;B"
    host.data("PUT", "/cluster/options", **{"registered-tags": "gold", "user-tag-access": "user-allow=existing"})
    host.data("POST", "/access/users", userid="tom@pve")
    host.data("PUT", "/access/acl", path="/vms/990", users="tom@pve", roles="PVEVMAdmin")
    for given, refused in (("b", ""), ("b;gold", "gold"), ("b;new", "new"), ("A;b", "A")):
        answer = host.api.call("tom@pve", "PUT", f"{NODE}/qemu/990/config", {"tags": given}, "pve")
        told = f"Permission check failed (/, Sys.Modify for modifying tag '{refused}')"
        assert (answer.status, answer.reason) == ((403, told) if refused else (200, "OK"))


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
