"""Guests of the simulated cluster: made from an image on RBD, turned into a template, cloned, changed, destroyed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lib.lab.faults import Faults
from lib.lab.files import Files
from lib.lab.pve import tasks
from lib.lab.pve.answers import Answer
from lib.lab.pve.api import Api
from lib.lab.topology import CLOUD_IMAGE_VIRTUAL
from lib.lab.world import World
from tests.lab.simulated import CLUSTER, Simulated

IMAGE = CLUSTER.images.cloud


class Cluster:
    def __init__(self, world: World) -> None:
        self.world = world
        self.now = 1_800_000_000.0
        self.api = Api(world, lambda: self.now)

    def send(self, method: str, path: str, node: str = "node1", **params: Any) -> Answer:
        named = {name.replace("_", "-"): str(value) for name, value in params.items()}
        return self.api.call("root@pam", method, path, named, node)

    def data(self, method: str, path: str, **params: Any) -> Any:
        answer = self.send(method, path, **params)
        assert answer.status == 200, answer
        assert answer.body is not None
        return answer.body["data"]

    def task(self, method: str, path: str, **params: Any) -> str:
        """Return the exit status of the task that the request starts."""
        upid = self.data(method, path, **params)
        return str((self.world.get("task", upid) or {})["exitstatus"])

    def template(self) -> None:
        fetched = {"url": IMAGE.url, "content": "import", "filename": "noble.qcow2", "checksum": IMAGE.sha256}
        fetch = "/nodes/node1/storage/local/download-url"
        assert self.task("POST", fetch, checksum_algorithm="sha256", **fetched) == "OK"
        hardware = {
            "scsi0": "rbd:0,import-from=local:import/noble.qcow2,discard=on",
            "efidisk0": "rbd:1,efitype=4m,pre-enrolled-keys=0",
            "ide2": "rbd:cloudinit",
            "net0": "virtio,bridge=vmbr0",
        }
        assert self.task("POST", "/nodes/node1/qemu", vmid=9002, name="base", **hardware) == "OK"
        assert self.task("POST", "/nodes/node1/qemu/9002/template") == "OK"


@pytest.fixture
def cluster(simulated: Simulated) -> Cluster:
    return Cluster(simulated.world)


def images(cluster: Cluster) -> set[str]:
    return {key for key in cluster.world.keys("rbd") if "rbd-iso" not in key}


def test_template_from_an_image(cluster: Cluster) -> None:
    cluster.template()
    config = cluster.data("GET", "/nodes/node1/qemu/9002/config")
    assert config["scsi0"] == "rbd:base-9002-disk-1,discard=on,size=3584M"
    assert CLOUD_IMAGE_VIRTUAL == 3584 << 20
    assert config["efidisk0"] == "rbd:base-9002-disk-0,efitype=4m,pre-enrolled-keys=0,size=528K"
    assert config["ide2"] == "rbd:vm-9002-cloudinit,media=cdrom"
    assert config["template"] == 1
    assert config["boot"] == "order=scsi0;net0"
    assert images(cluster) == {"rbd/base-9002-disk-0", "rbd/base-9002-disk-1", "rbd/vm-9002-cloudinit"}


def test_linked_clone_keeps_the_template_alive(cluster: Cluster) -> None:
    cluster.template()
    assert cluster.task("POST", "/nodes/node1/qemu/9002/clone", newid=131, full=0, target="node3") == "OK"
    config = cluster.data("GET", "/nodes/node3/qemu/131/config")
    assert config["scsi0"].startswith("rbd:base-9002-disk-1/vm-131-disk-1,")
    assert "template" not in config
    assert "still in use by linked clone" in cluster.task("DELETE", "/nodes/node1/qemu/9002")
    assert cluster.task("DELETE", "/nodes/node3/qemu/131") == "OK"
    assert cluster.task("DELETE", "/nodes/node1/qemu/9002") == "OK"
    assert images(cluster) == set()


def test_a_full_disk_is_told_in_the_task_and_leaves_nothing(cluster: Cluster) -> None:
    fetch = {"url": IMAGE.url, "content": "import", "filename": "noble.qcow2"}
    path = "/nodes/node1/storage/local/download-url"
    Faults(cluster.world).add("disk-full", "import/noble.qcow2")
    told = cluster.task("POST", path, **fetch)
    assert told == "download failed: exit code 3"
    assert cluster.task("POST", path, **fetch) == "OK"
    imported = {"vmid": 9002, "scsi0": "rbd:0,import-from=local:import/noble.qcow2"}
    Faults(cluster.world).add("disk-full", "node1 10.10.1.21 rbd/vm-9002-*")
    told = cluster.task("POST", "/nodes/node1/qemu", **imported)
    assert told.startswith("unable to create VM 9002 - copy failed: qemu-img")
    assert told.endswith("No space left on device")
    assert images(cluster) == set()
    assert cluster.task("POST", "/nodes/node1/qemu", **imported) == "OK"


def test_full_clone_outlives_the_template(cluster: Cluster) -> None:
    cluster.template()
    assert cluster.task("POST", "/nodes/node1/qemu/9002/clone", newid=9001, full=1, name="golden") == "OK"
    assert cluster.task("DELETE", "/nodes/node1/qemu/9002") == "OK"
    config = cluster.data("GET", "/nodes/node1/qemu/9001/config")
    assert (config["name"], config["scsi0"]) == ("golden", "rbd:vm-9001-disk-1,discard=on,size=3584M")


@pytest.mark.parametrize(
    ("size", "outcome", "after"),
    [("8G", "OK", "8G"), ("+512M", "OK", "4G"), ("1G", "shrinking disks is not supported", "3584M")],
)
def test_resize(cluster: Cluster, size: str, outcome: str, after: str) -> None:
    cluster.template()
    assert cluster.task("PUT", "/nodes/node1/qemu/9002/resize", disk="scsi0", size=size) == outcome
    assert cluster.data("GET", "/nodes/node1/qemu/9002/config")["scsi0"].endswith(f"size={after}")


def test_a_vmid_belongs_to_one_node(cluster: Cluster) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131)
    answer = cluster.send("POST", "/nodes/node2/qemu", vmid=131)
    assert answer.reason == "unable to create VM 131 - VM 131 already exists on node 'node1'"
    assert cluster.send("GET", "/nodes/node2/qemu/131/config").status == 500
    assert cluster.data("GET", "/cluster/nextid") == "100"


def test_rbd_holds_no_files(cluster: Cluster) -> None:
    answer = cluster.send("POST", "/storage", storage="bad", type="rbd", pool="rbd", content="images,iso")
    assert answer.reason == "storage does not support content type 'iso'"
    answer = cluster.send("POST", "/nodes/node1/qemu", vmid=131, scsi0="local:8")
    assert answer.body is not None
    assert "does not support vm images" in str(answer.body["errors"])


def test_a_storage_is_ready_on_its_own_nodes_whichever_was_asked(cluster: Cluster) -> None:
    there = {"storage": "images", "type": "dir", "path": "/srv/images", "content": "iso", "nodes": "node1"}
    assert cluster.api.call("root@pam", "POST", "/storage", there, "node2").status == 200
    assert Files(cluster.world, "node1").is_dir("/srv/images/template/iso")
    assert not Files(cluster.world, "node2").exists("/srv/images")


def test_failed_create_leaves_nothing(cluster: Cluster) -> None:
    cluster.world.put("fault", "1", {"kind": "task-fail", "match": "qmcreate 131", "times": 1, "used": 0})
    assert cluster.task("POST", "/nodes/node1/qemu", vmid=131, scsi0="rbd:8") != "OK"
    assert images(cluster) == set()
    assert cluster.world.get("guest", "131") is None


def test_options_of_a_running_guest_wait(cluster: Cluster) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131, memory=1024, start=1)
    cluster.data("PUT", "/nodes/node1/qemu/131/config", memory=2048, name="other")
    assert cluster.data("GET", "/nodes/node1/qemu/131/config", current=1)["memory"] == "1024"
    assert {"key": "memory", "value": "1024", "pending": "2048"} in cluster.data("GET", "/nodes/node1/qemu/131/pending")
    assert cluster.task("POST", "/nodes/node1/qemu/131/status/stop") == "OK"
    config = cluster.data("GET", "/nodes/node1/qemu/131/config", current=1)
    assert (config["memory"], config["name"]) == ("2048", "other")


def test_a_disk_taken_out_stays_until_it_is_removed(cluster: Cluster) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131, scsi0="rbd:8")
    cluster.data("PUT", "/nodes/node1/qemu/131/config", delete="scsi0")
    assert cluster.data("GET", "/nodes/node1/qemu/131/config")["unused0"] == "rbd:vm-131-disk-0"
    cluster.data("PUT", "/nodes/node1/qemu/131/config", delete="unused0")
    assert images(cluster) == set()


def test_a_changed_configuration_is_noticed(cluster: Cluster) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131)
    before = cluster.data("GET", "/nodes/node1/qemu/131/config")["digest"]
    cluster.data("PUT", "/nodes/node1/qemu/131/config", digest=before, cores=2)
    answer = cluster.send("PUT", "/nodes/node1/qemu/131/config", digest=before, cores=4)
    assert answer.reason == "checksum mismatch (file change by other user?)"  # PVE::API2::Qemu, update_vm_api


def test_protection_and_power_keep_a_guest(cluster: Cluster) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131, protection=1, start=1)
    assert "protection mode" in cluster.send("DELETE", "/nodes/node1/qemu/131").reason
    cluster.data("PUT", "/nodes/node1/qemu/131/config", protection=0)
    assert cluster.send("DELETE", "/nodes/node1/qemu/131").reason == "VM 131 is running - destroy failed"


@pytest.mark.parametrize("all_of_it", [False, True])
def test_what_only_bears_its_number_goes_with_a_guest_if_it_is_told_to(cluster: Cluster, all_of_it: bool) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131, scsi0="rbd:1")
    left = {"filename": "vm-131-disk-7", "size": "1G", "vmid": 131}
    cluster.data("POST", "/nodes/node1/storage/rbd/content", **left)
    cluster.data("POST", "/cluster/backup", id="both", schedule="03:00", storage="local", vmid="131,140")
    cluster.data("POST", "/cluster/backup", id="this", schedule="03:00", storage="local", vmid="131")
    cluster.data("POST", "/cluster/backup", id="not", schedule="03:00", storage="local", all=1, exclude="131")
    also = {"purge": 1, "destroy-unreferenced-disks": 1} if all_of_it else {}
    cluster.task("DELETE", "/nodes/node1/qemu/131", **also)
    jobs = {job["id"]: job.get("vmid", job.get("exclude")) for job in cluster.data("GET", "/cluster/backup")}
    if all_of_it:
        assert images(cluster) == set()
        assert jobs == {"both": "140", "not": None}
    else:
        assert images(cluster) == {"rbd/vm-131-disk-7"}
        assert jobs == {"both": "131,140", "this": "131", "not": "131"}


def test_a_password_is_never_kept(cluster: Cluster) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131, cipassword="geheim-geheim", ide2="rbd:cloudinit")
    assert cluster.data("GET", "/nodes/node1/qemu/131/config")["cipassword"] == "**********"
    documents = [cluster.world.all(kind) for kind in ("guest", "rbd")]
    assert "geheim" not in str(documents)


# -------------------------------------------------------------------- tasks


def test_a_long_task_shows_its_lock_and_survives_a_restart(tmp_path: Path, cluster: Cluster) -> None:
    meta = cluster.world.get("meta", "lab") or {}
    cluster.world.put("meta", "lab", meta | {"task_scale": 1.0})
    upid = cluster.data("POST", "/nodes/node1/qemu", vmid=131, scsi0="rbd:8")
    assert cluster.data("GET", f"/nodes/node1/tasks/{upid}/status")["status"] == "running"
    assert cluster.data("GET", "/nodes/node1/tasks", source="active")[0]["upid"] == upid
    assert cluster.data("GET", "/nodes/node1/qemu/131/config")["lock"] == "create"
    assert cluster.send("PUT", "/nodes/node1/qemu/131/config", cores=2).reason == "VM is locked (create)"
    later = Api(cluster.world, lambda: cluster.now + 60)
    assert later.settle() is None
    config = later.call("root@pam", "GET", "/nodes/node1/qemu/131/config", {}, "node1").body or {}
    assert config["data"]["scsi0"] == "rbd:vm-131-disk-0,size=8G"
    assert "lock" not in config["data"]


def test_a_task_that_meets_a_lock(cluster: Cluster) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131)
    Faults(cluster.world).add("lock", "qmstart 131")
    found = cluster.task("POST", "/nodes/node1/qemu/131/status/start")
    assert found == "can't lock file '/var/lock/qemu-server/lock-131.conf' - got timeout"
    assert cluster.task("POST", "/nodes/node1/qemu/131/status/start") == "OK"


def test_upid_and_log(cluster: Cluster) -> None:
    upid = cluster.data("POST", "/nodes/node1/qemu", vmid=131)
    assert re.fullmatch(r"UPID:node1:[0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}:qmcreate:131:root@pam:", upid)
    assert cluster.data("GET", f"/nodes/node1/tasks/{upid}/log")[-1]["t"] == "TASK OK"
    assert tasks.running(cluster.world) == []


def test_backup(cluster: Cluster) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131)
    assert cluster.task("POST", "/nodes/node1/vzdump", vmid=131, storage="local", compress="zstd") == "OK"
    (backup,) = cluster.data("GET", "/nodes/node1/storage/local/content", content="backup")
    assert re.fullmatch(r"local:backup/vzdump-qemu-131-[\d_-]+\.vma\.zst", backup["volid"])
    assert (backup["vmid"], backup["format"]) == (131, "vma.zst")


@pytest.mark.parametrize(
    ("vmid", "storage", "ended", "told"),
    [
        (131, "rbd", "could not get storage information for 'rbd': can't use storage 'rbd' for backups - wrong", ""),
        (131, "nosuch", "could not get storage information for 'nosuch': storage 'nosuch' does not exist", ""),
        (999, "local", "job errors", "ERROR: Backup of VM 999 failed - unable to find VM '999'"),
    ],
)
def test_what_is_wrong_with_a_backup_shows_in_its_task(
    cluster: Cluster, vmid: int, storage: str, ended: str, told: str
) -> None:
    cluster.data("POST", "/nodes/node1/qemu", vmid=131)
    upid = cluster.data("POST", "/nodes/node1/vzdump", vmid=vmid, storage=storage)
    log = [line["t"] for line in cluster.data("GET", f"/nodes/node1/tasks/{upid}/log")]
    assert log[-1].startswith(f"TASK ERROR: {ended}")
    assert told in "\n".join(log)


@pytest.mark.parametrize(
    ("url", "checksum", "ended", "told"),
    [
        (f"{IMAGE.url}.old", "", "download failed: exit code 8", " ERROR 404: Not Found."),
        ("http://127.0.0.1:9/a.qcow2", "", "download failed: exit code 4", "failed: Connection refused."),
        ("http://no.such.example/a", "", "download failed: exit code 4", "host address 'no.such.example'"),
        (
            IMAGE.url,
            "0" * 64,
            f"checksum mismatch: got '{IMAGE.sha256}' != expect '{'0' * 64}'",
            "calculating checksum...",
        ),
        (IMAGE.url, IMAGE.sha256.upper(), "OK", "calculating checksum...OK, checksum verified"),
    ],
)
def test_a_download_ends_as_its_wget_does(cluster: Cluster, url: str, checksum: str, ended: str, told: str) -> None:
    fetch = {"url": url, "content": "import", "filename": "noble.qcow2"}
    fetch |= {"checksum": checksum, "checksum-algorithm": "sha256"} if checksum else {}
    upid = cluster.data("POST", "/nodes/node1/storage/local/download-url", **fetch)
    log = [line["t"] for line in cluster.data("GET", f"/nodes/node1/tasks/{upid}/log")]
    assert log[-1] == ("TASK OK" if ended == "OK" else f"TASK ERROR: {ended}")
    assert told in "\n".join(log)
    there = cluster.data("GET", "/nodes/node1/storage/local/content", content="import")
    assert len(there) == (ended == "OK")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"{IMAGE.url}.old", "404 Not Found"),
        ("http://127.0.0.1:9/a", "500 Can't connect to 127.0.0.1:9 (Connection refused)"),
        ("https://no.such.example/a", "500 Can't connect to no.such.example:443 (Name or service not known)"),
    ],
)
def test_what_a_question_about_a_url_is_told(cluster: Cluster, url: str, told: str) -> None:
    answer = cluster.send("GET", "/nodes/node1/query-url-metadata", url=url)
    assert answer.reason == f"invalid server response: '{told}'"
