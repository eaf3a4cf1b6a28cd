"""What a guest's configuration is refused, and how it is kept: the words and the order of qemu-server.

Read in src/PVE/API2/Qemu.pm; what a recording has of it is in test_recordings.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.host import GUEST, NODE, Host

AT_ONCE = "at the same time"


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
    before = host.config()
    assert host.refused("PUT", f"{GUEST}/config", **given) == told
    assert host.config() == before


def test_what_is_not_set_can_be_deleted_all_the_same(host: Host) -> None:
    before = host.config()
    host.data("PUT", f"{GUEST}/config", delete="description")
    assert host.config() == before


def test_a_deleted_disk_leaves_the_boot_order_and_stays_as_an_unused_one(host: Host) -> None:
    host.data("PUT", f"{GUEST}/unlink", idlist="scsi0")
    assert host.config()["boot"] == " "
    assert host.config()["unused0"] == "local:100/vm-100-disk-0.qcow2"
    host.data("PUT", f"{GUEST}/unlink", idlist="unused0", force=1)
    assert "unused0" not in host.config()


def test_a_new_cd_drive_is_bootable(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", ide0="none,media=cdrom")
    assert host.config()["boot"] == "order=scsi0;ide0"


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
    assert host.config()["cores"] == 2


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
    before = host.config()
    assert host.refused("PUT", f"{GUEST}/config", **given) == told
    assert host.config() == before


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
    kept = host.config()
    assert len(kept["vmgenid"]) == 36
    assert (kept["cpuunits"], kept["ide2"], kept["tags"]) == (10000, "none,media=cdrom", "a;b")
    assert kept["machine"].startswith("pc-i440fx-")
    assert kept["net0"].startswith("e1000=")


def test_a_password_is_shown_as_stars(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", cipassword="secret")
    assert {"key": "cipassword", "value": "**********"} in host.data("GET", f"{GUEST}/pending")


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


ONLY_SNIPPETS = "unable to use volume local:import/x.qcow2 - content type needs to be 'snippets'"
NO_SCRIPT = {"hookscript": "script 'local:snippets/x.sh' does not exist\n"}


@pytest.mark.parametrize(
    ("method", "given", "told"),
    [
        ("POST", {"cicustom": "user=local:import/x.qcow2"}, ONLY_SNIPPETS),
        ("PUT", {"cicustom": "user=local:import/x.qcow2"}, ONLY_SNIPPETS),
        ("POST", {"cicustom": "user=nosuch:snippets/x.yaml"}, "storage 'nosuch' does not exist"),
        (
            "PUT",
            {"unused0": "local:iso/x.iso"},
            "unable to use volume local:iso/x.iso - content type needs to be 'images'",
        ),
        (
            "POST",
            {"archive": "local:iso/x.iso"},
            "unable to use volume local:iso/x.iso - content type needs to be 'backup'",
        ),
        ("POST", {"archive": "local:iso/x.iso", "scsi0": "no:1"}, {"scsi0": "option conflicts with option 'archive'"}),
        (
            "PUT",
            {"hookscript": "local:iso/x.iso"},
            {"hookscript": "'local:iso/x.iso' is not in the snippets directory\n"},
        ),
        ("PUT", {"hookscript": "local:snippets/x.sh"}, NO_SCRIPT),
    ],
)
def test_a_volume_is_of_the_kind_that_is_asked_for(host: Host, method: str, given: dict[str, Any], told: Any) -> None:
    path, of = (GUEST + "/config", {}) if method == "PUT" else (f"{NODE}/qemu", {"vmid": 990})
    assert host.refused(method, path, **of, **given) == told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"start": "1"}, "(/vms/990, VM.PowerMgmt)"),
        ({"ha-managed": "1"}, "(/, Sys.Console)"),
        ({"vmstatestorage": "local"}, "(/storage/local, Datastore.AllocateSpace)"),
    ],
)
def test_what_a_new_guest_shall_do_needs_rights(host: Host, given: dict[str, str], told: str) -> None:
    host.data("POST", "/access/users", userid="a@pve")
    host.data("POST", "/access/roles", roleid="Some", privs="VM.Allocate,VM.Config.Disk")
    host.data("PUT", "/access/acl", path="/vms", roles="Some", users="a@pve")
    answer = host.api.call("a@pve", "POST", f"{NODE}/qemu", {"vmid": "990"} | given, "pve")
    assert (answer.status, answer.reason) == (403, f"Permission check failed {told}")


def test_a_disk_of_a_snapshot_is_not_destroyed(host: Host) -> None:
    used = "unable to delete 'local:100/vm-100-disk-0.qcow2' - volume is still in use (snapshot?)"
    host.task("POST", f"{GUEST}/snapshot", snapname="one")
    forced = host.refused("PUT", f"{GUEST}/unlink", idlist="scsi0", force=1)
    assert forced == {"scsi0": f"unable to apply pending change scsi0 : {used}\n"}
    host.data("PUT", f"{GUEST}/config", delete="scsi0")
    assert host.refused("PUT", f"{GUEST}/config", delete="unused0") == used
    assert host.task("DELETE", f"{GUEST}/snapshot/one") == "OK"
    host.data("PUT", f"{GUEST}/config", delete="unused0")
    assert "unused0" not in host.config()


@pytest.mark.parametrize("new", [True, False])
def test_what_is_kept_is_read_back_from_a_file(host: Host, new: bool) -> None:
    """check_type, parse_vm_config and write_vm_config of src/PVE/QemuServer.pm."""
    given = {"description": "two\nlines\n\n", "cpulimit": "1.5", "tags": "", "ciuser": "", "cpuunits": 50}
    path, vmid = (f"{NODE}/qemu", {"vmid": 990}) if new else (f"{GUEST}/config", {})
    host.data("POST" if new else "PUT", path, **vmid, **given)
    path = f"{NODE}/qemu/990" if new else GUEST
    kept = host.data("GET", f"{path}/config")
    assert {name: kept[name] for name in given} == {
        "description": "two\nlines",
        "cpulimit": "1.5",
        "tags": " ",
        "ciuser": " ",
        "cpuunits": 50,
    }
    host.data("PUT", f"{path}/config", description="")
    assert "description" not in host.data("GET", f"{path}/config")


DISK = "local:100/vm-100-disk-0.qcow2"
OTHER_FORMAT = "'format=raw' option different from storage format 'qcow2'"
FLAGS = """VM-specific CPU flags must be a subset of: aes, amd-no-ssb, amd-ssbd, hv-evmcs, hv-tlbflush, ibpb, md-clear,
 nested-virt, pcid, pdpe1gb, spec-ctrl, ssbd, virt-ssbd""".replace("\n", "")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"virtio0": "none,media=cdrom"}, {"virtio0": "unable to parse drive options"}),
        ({"ide3": "none,media=cdrom,format=raw"}, {"ide3": "unable to parse drive options"}),
        ({"scsi1": "local:1,mbps=1,mbps_rd=1"}, {"scsi1": "unable to parse drive options"}),
        ({"scsi1": "local:1,mbps_max=1"}, {"scsi1": "unable to parse drive options"}),
        ({"scsi1": "/root/x.raw"}, {"scsi1": "unable to associate path '/root/x.raw' to any storage"}),
        ({"scsi1": f"{DISK},format=raw"}, f"drive 'scsi1' - volume '{DISK}' - {OTHER_FORMAT}"),
        ({"machine": "pc,viommu=intel"}, "to use Intel vIOMMU please set the machine type to q35"),
        ({"machine": "q35,aw-bits=48"}, "cannot set aw-bits if no vIOMMU is configured"),
        ({"cpu": "host,flags=+bogus"}, {"cpu": f"invalid format - {FLAGS}\n"}),
    ],
)
def test_what_does_not_go_together_is_refused(host: Host, given: dict[str, Any], told: Any) -> None:
    before = host.config()
    assert host.refused("PUT", f"{GUEST}/config", **given) == told
    assert host.config() == before


def test_the_log_of_an_update_tells_what_was_asked(host: Host) -> None:
    upid = host.data("POST", f"{GUEST}/config", memory=1024, cipassword="secret", delete="description")
    first = host.data("GET", f"{NODE}/tasks/{upid}/log")[0]["t"]
    assert first == "update VM 100: -cipassword <hidden> -delete description -memory 1024"


def test_how_drives_are_kept(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", ide3="none", ide0="local:cloudinit,format=raw")
    assert host.config()["ide3"] == "none,media=cdrom"
    assert host.config()["ide0"] == "local:100/vm-100-cloudinit.raw,media=cdrom"


@pytest.mark.parametrize(
    ("boot", "size"), [("order=net0", 0), ("order=net0;ide2;scsi0", 1 << 30), ("c", 0), ("cdn", 0)]
)
def test_a_guest_s_size_is_that_of_the_disk_it_boots_from(host: Host, boot: str, size: int) -> None:
    host.data("PUT", f"{GUEST}/config", boot=boot)
    assert host.data("GET", f"{NODE}/qemu")[0]["maxdisk"] == size
