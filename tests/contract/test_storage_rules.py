"""What a node says of its storages, the volumes on them and its backups.

Read in src/PVE/Storage.pm, src/PVE/Storage/{Plugin,DirPlugin}.pm, src/PVE/API2/Storage/{Status,Content,PruneBackups}.pm
(pve-storage), PVE/API2/{VZDump,Backup}.pm and PVE/VZDump.pm (pve-manager).
"""

from __future__ import annotations

from typing import Any

import pytest

from lib.lab.files import Files
from tests.contract.host import NODE, Host

HERE = f"{NODE}/storage"


@pytest.fixture
def host() -> Host:
    return Host()


def names(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["storage"] for row in rows)


def test_a_storage_that_the_node_does_not_use_is_listed_as_not_enabled(host: Host) -> None:
    for name, more in (("away", {"nodes": "other"}), ("off", {"disable": 1})):
        host.data("POST", "/storage", storage=name, type="dir", path=f"/{name}", content="images", **more)
    rows = {row["storage"]: row for row in host.data("GET", HERE)}
    assert {name: (row["enabled"], row["active"], row["total"] > 0) for name, row in rows.items()} == {
        "away": (0, 0, False), "off": (0, 0, False), "local": (1, 1, True),
    }  # fmt: skip
    assert names(host.data("GET", HERE, enabled=1)) == ["away", "local"]
    assert names(host.data("GET", HERE, content="images")) == ["local"]
    assert host.data("GET", f"{HERE}/away/status")["enabled"] == 0


def test_a_storage_that_is_not_among_those_asked_for_is_none(host: Host) -> None:
    missing = {"storage": "No such storage."}
    assert host.refused("GET", f"{HERE}/nosuch/status") == missing
    assert host.refused("GET", HERE, storage="nosuch") == missing
    assert host.refused("GET", HERE, storage="local", content="backup") == missing
    assert names(host.data("GET", HERE, storage="local", content="iso")) == ["local"]


def test_for_a_move_to_another_node_shared_storages_are_listed(host: Host) -> None:
    for name, more in (("both", {"nodes": "pve,other"}), ("here", {"nodes": "pve"})):
        host.data("POST", "/storage", storage=name, type="dir", path=f"/{name}", content="images", shared=1, **more)
    assert names(host.data("GET", HERE, target="other")) == ["both"]
    assert names(host.data("GET", HERE, target="pve")) == ["both", "here", "local"]


@pytest.mark.parametrize("pve", ["8.4", "9.2"])
def test_the_formats_of_a_storage(pve: str) -> None:
    host = Host(pve)
    (row,) = host.data("GET", HERE, format=1)
    assert row["format"] == [{"qcow2": 1, "raw": 1, "subvol": 1, "vmdk": 1}, "raw"]
    assert ("formats" in row) == (pve == "9.2")
    assert "format" not in host.data("GET", HERE)[0]
    below = [each["subdir"] for each in host.data("GET", f"{HERE}/local")]
    assert "import-metadata" in below
    assert ("oci-registry-pull" in below) == (pve == "9.2")


# ------------------------------------------------------------------ volumes


def write(host: Host, *paths: str) -> None:
    files = Files(host.world, "pve")
    for path in paths:
        files.mkdir(path.rpartition("/")[0], parents=True)
        files.write(path, b"12")


def listed(host: Host, **given: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = host.data("GET", f"{HERE}/full/content", **given)
    return rows


@pytest.fixture
def full(host: Host) -> Host:
    content = "iso,vztmpl,backup,snippets,import,images"
    host.data("POST", "/storage", storage="full", type="dir", path="/full", content=content)
    return host


def test_a_volume_has_the_format_that_its_name_says(full: Host) -> None:
    for file, told in (
        ("template/cache/a.tar.xz", "txz"), ("template/cache/a.tar.zst", "tzst"), ("dump/a.tgz", "tgz"),
        ("dump/a.tar.gz", "tar.gz"), ("dump/a.vma", "vma"), ("dump/a.vma.zst", "vma.zst"),
        ("snippets/a.yaml", "snippet"),
        ("template/iso/a.img", "iso"), ("import/a.ova", "ova"),
    ):  # fmt: skip
        write(full, f"/full/{file}")
        (row,) = listed(full)
        assert (file, row["format"]) == (file, told)
        full.task("DELETE", f"{HERE}/full/content/{row['volid']}")


def test_what_a_backup_is_called_says_whose_it_is_and_when_it_was_made(full: Host) -> None:
    write(full, "/full/dump/vzdump-qemu-101-2024_01_02-03_04_05.vma.zst", "/full/dump/other.vma")
    write(full, "/full/dump/vzdump-qemu-101-2024_01_02-03_04_05.vma.zst.notes")
    other, made = listed(full)
    assert (other["subtype"], "vmid" in other) == ("unknown", False)
    assert (made["subtype"], made["vmid"], made["ctime"]) == ("qemu", 101, 1704164645)
    full.data("PUT", f"{HERE}/full/content/{made['volid']}", notes="one\ntwo")
    assert listed(full)[1]["notes"] == "one"
    assert full.task("DELETE", f"{HERE}/full/content/{made['volid']}") == "OK"
    assert Files(full.world, "pve").listdir("/full/dump") == ["other.vma"]


def test_of_a_guest_its_own_are_listed_and_what_is_nobodys_to_import(full: Host) -> None:
    write(full, "/full/template/iso/a.iso", "/full/snippets/B.yaml", "/full/import/a.ova", "/full/dump/a.vma")
    write(
        full, "/full/dump/vzdump-qemu-100-2024_01_02-03_04_05.vma", "/full/dump/vzdump-qemu-101-2024_01_02-03_04_05.vma"
    )
    full.task("POST", f"{NODE}/qemu", vmid=100, scsi0="full:1")
    assert [row["volid"].partition(":")[2] for row in listed(full, vmid=100)] == [
        "100/vm-100-disk-0.raw",
        "backup/vzdump-qemu-100-2024_01_02-03_04_05.vma",
        "import/a.ova",
        "snippets/B.yaml",
    ]


def test_a_volume_that_is_not_there(full: Host) -> None:
    disk = "full:100/vm-100-disk-7.raw"
    assert full.refused("GET", f"{HERE}/full/content/{disk}") == f"volume_size_info on '{disk}' failed - no format"
    upid = full.data("DELETE", f"{HERE}/full/content/{disk}")
    log = (full.world.get("task", upid) or {})["log"]
    assert log[:2] == ["disk image '/full/images/100/vm-100-disk-7.raw' does not exist", f"Removed volume '{disk}'"]
    linked = "full:100/base-100-disk-0.vhdx/101/vm-101-disk-0.qcow2"
    told = "unable to parse volume filename 'base-100-disk-0.vhdx'"
    assert full.refused("GET", f"{HERE}/full/content/{linked}") == told


def test_the_name_of_a_new_volume_says_its_format(full: Host) -> None:
    def refused(filename: str, **given: object) -> str | dict[str, str]:
        return full.refused("POST", f"{HERE}/full/content", vmid=100, size="1M", filename=filename, **given)

    assert refused("vm-100-disk-0.raw", format="qcow2") == {"format": "different storage formats (qcow2 != raw)"}
    assert refused("vm-100-disk-0", format="qcow2") == "unable to parse volume filename 'vm-100-disk-0'"
    told = "illegal name 'vm-100-x.subvol' - wrong extension for format ('subvol != 'raw')"
    assert refused("vm-100-x.subvol") == told


def test_an_upload_tells_what_it_copies(full: Host) -> None:
    write(full, "/var/tmp/pveupload-1")
    given = {"content": "iso", "filename": "a.iso", "tmpfilename": "/var/tmp/pveupload-1"}
    upid = full.data("POST", f"{HERE}/full/upload", **given)
    assert (full.world.get("task", upid) or {})["log"] == [
        "starting file import from: /var/tmp/pveupload-1",
        "target node: pve",
        "target file: /full/template/iso/a.iso",
        "file size is: 2",
        "command: cp -- /var/tmp/pveupload-1 /full/template/iso/a.iso",
        "finished file import successfully",
        "TASK OK",
    ]


# ------------------------------------------------------------------ backups


def test_whom_a_backup_is_of(host: Host) -> None:
    def refused(**given: object) -> str | dict[str, str]:
        return host.refused("POST", f"{NODE}/vzdump", **given)

    conflict = "option conflicts with option 'vmid'"
    assert refused() == {"vmid": "property is missing"}
    assert refused(vmid=100, all=1) == {"all": conflict}
    assert refused(vmid=100, exclude=101) == {"exclude": conflict}
    assert refused(vmid=100, pool="x") == {"pool": conflict}
    assert refused(pool="nosuch") == "pool 'nosuch' does not exist"
    assert refused(vmid=100, stdout=1) == {"stdout": "option is only allowed on the command line interface."}


def test_of_guests_on_other_nodes_there_is_nothing_to_do(full: Host) -> None:
    full.task("POST", f"{NODE}/qemu", vmid=101)
    full.world.put("guest", "101", (full.world.get("guest", "101") or {}) | {"node": "other"})
    assert full.data("POST", f"{NODE}/vzdump", vmid=101, storage="full") == "OK"


def test_what_a_backup_is_made_with(full: Host) -> None:
    found = full.data("GET", f"{NODE}/vzdump/defaults", storage="full")
    assert (found["storage"], found["dumpdir"], found["mode"]) == ("full", "/full/dump", "snapshot")
    told = "can't use storage 'local' for backups - wrong content type"
    assert full.refused("GET", f"{NODE}/vzdump/defaults") == told


def test_a_backup_job_needs_guests_and_a_time(host: Host) -> None:
    def refused(**given: object) -> str | dict[str, str]:
        return host.refused("POST", "/cluster/backup", **given)

    assert refused(all=1) == {"schedule": "neither 'starttime' nor 'schedule' were set"}
    assert refused(schedule="21:00") == "400 Parameter verification failed. vmid: property is missing"
    assert refused(schedule="21:00", pool="no") == "Permission check failed (pool 'no' does not exist)"
    host.data("POST", "/cluster/backup", id="nightly", starttime="21:00", dow="mon", all=1)
    job = host.data("GET", "/cluster/backup/nightly")
    assert (job["schedule"], "starttime" in job, job["next-run"] % 86400) == ("mon 21:00", False, 75600)
    assert refused(id="nightly", schedule="21:00", all=1) == "Job 'nightly' already exists"
    host.data("PUT", "/cluster/backup/nightly", vmid="100")
    assert "all" not in host.data("GET", "/cluster/backup/nightly")


PRUNED = f"{HERE}/full/prunebackups"


def test_which_backups_are_kept(full: Host) -> None:
    days = ["2024_01_03-02_00_00", "2024_01_03-01_00_00", "2024_01_02-01_00_00", "2024_01_01-01_00_00"]
    write(full, *(f"/full/dump/vzdump-qemu-100-{day}.vma" for day in days), "/full/dump/mine.vma")
    full.data("PUT", f"{HERE}/full/content/full:backup/vzdump-qemu-100-{days[3]}.vma", protected=1)

    def marks(**given: object) -> list[str]:
        rows = {row["volid"].partition("/")[2]: row["mark"] for row in full.data("GET", PRUNED, **given)}
        return [rows.get(f"vzdump-qemu-100-{day}.vma", "") for day in days] + [rows.get("mine.vma", "")]

    assert full.refused("GET", PRUNED) == "no prune-backups options configured for storage 'full'"
    assert marks(prune__backups="keep-last=1") == ["keep", "remove", "remove", "protected", "renamed"]
    assert marks(prune__backups="keep-daily=2") == ["keep", "remove", "keep", "protected", "renamed"]
    assert marks(prune__backups="keep-all=1") == ["keep", "keep", "keep", "protected", "renamed"]
    assert marks(prune__backups="keep-last=1", vmid=101) == [""] * 5
    assert full.task("DELETE", PRUNED, prune__backups="keep-last=1,keep-daily=1", vmid=100) == "OK"
    left = {row["volid"].rpartition("/")[2] for row in listed(full)}
    assert left == {"mine.vma", *(f"vzdump-qemu-100-{days[number]}.vma" for number in (0, 2, 3))}


def test_who_prunes_what_holds_no_backups(host: Host) -> None:
    told = "storage 'local' does not support backups"
    assert host.refused("GET", f"{HERE}/local/prunebackups") == told
    assert host.task("DELETE", f"{HERE}/local/prunebackups") == told


@pytest.mark.parametrize(("pve", "told"), [("8.4", "/mnt//made/"), ("9.2", "/mnt/made")])
def test_the_path_of_a_new_storage_is_tidied_since_9(pve: str, told: str) -> None:
    host = Host(pve)
    host.data("POST", "/storage", storage="made", type="dir", path="/mnt//made/", content="images")
    assert host.data("GET", "/storage/made")["path"] == told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"type": "iscsi", "portal": "10.0.0.9", "target": "iqn.x"}, "storage 'far' is not online"),
        (
            {"type": "zfspool", "pool": "tank/vm"},
            "could not activate storage 'far', zfs error: cannot import 'tank': no such pool available",
        ),
        (
            {"type": "pbs", "server": "10.0.0.9", "datastore": "store"},
            "far: error fetching datastores - 500 Can't connect to 10.0.0.9:8007 (Connection timed out)",
        ),
    ],
    ids=["iscsi", "zfspool", "pbs"],
)
def test_a_storage_that_is_not_to_be_had_says_why(host: Host, given: dict[str, str], told: str) -> None:
    assert host.refused("POST", "/storage", storage="far", **given) == f"create storage failed: {told}"
    host.data("POST", "/storage", storage="far", disable=1, **given)
    assert host.data("GET", "/storage/far")["type"] == given["type"]
