"""Storages, their volumes, backup jobs, and the settings of cluster and node: rules and refusals.

Read in src/PVE/API2/Storage/{Config,Content}.pm (pve-storage), src/PVE/SectionConfig.pm (pve-common) and
PVE/API2/Tasks.pm (pve-manager); what a recording has of it is in test_recordings.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from lib.lab.files import Files
from lib.lab.pve.api import ROUTES
from tests.contract.host import NODE, Host

CONTENT = f"{NODE}/storage/made/content"


@pytest.fixture
def host() -> Host:
    return Host()


# ----------------------------------------------------------------- storages


def test_storages_keep_to_the_options_of_their_type(host: Host) -> None:
    def refused(**given: object) -> str | dict[str, str]:
        return host.refused("POST", "/storage", storage="new", **given)

    assert refused(type="nfs", server="10.0.0.1") == "missing value for required option 'export'"
    assert refused(type="dir", path="/x", server="10.0.0.1") == "unexpected property 'server'"
    assert refused(type="lvm", vgname="vg", content="iso") == "storage does not support content type 'iso'"
    assert refused(type="lvm", vgname="vg") == "create storage failed: no such volume group 'vg'"
    nfs = {"type": "nfs", "server": "10.0.0.1", "export": "/x"}
    assert refused(**nfs) == "create storage failed: storage 'new' is not online"
    assert host.data("POST", "/storage", storage="new", **nfs, disable=1) == {"storage": "new", "type": "nfs"}
    shown = host.data("GET", "/storage/new")
    assert (shown["path"], shown["content"], shown["shared"]) == ("/mnt/pve/new", "images", 1)
    host.data("POST", "/storage", storage="ceph", type="rbd", monhost="10.0.0.1", pool="rbd")
    assert host.data("GET", f"{NODE}/storage/ceph/status")["active"] == 0
    assert host.data("GET", "/storage", type="rbd")[0]["storage"] == "ceph"


def test_changing_a_storage(host: Host) -> None:
    host.data("POST", "/storage", storage="made", type="dir", path="/mnt/made", content="iso")

    def refused(name: str = "made", **given: object) -> str | dict[str, str]:
        return host.refused("PUT", f"/storage/{name}", **given)

    failed = "update storage failed: "
    assert refused("none", content="iso") == f"{failed}storage 'none' does not exist"
    assert refused(delete="nosuch") == f"{failed}no such option 'nosuch'"
    assert refused(delete="path") == f"{failed}unable to delete required option 'path'"
    assert (
        refused(delete="content", content="iso")
        == f"{failed}cannot set and delete property 'content' at the same time!"
    )
    assert refused(server="10.0.0.1") == f"{failed}unexpected property 'server'"
    changed = f"{failed}detected modified configuration - file changed by other user? Try again."
    assert refused(digest="0" * 40, content="iso") == changed
    assert "path" in refused(path="/other")
    host.data("PUT", "/access/acl", path="/storage/made", roles="PVEAuditor", users="root@pam")
    host.data("DELETE", "/storage/made")
    assert host.data("GET", "/access/acl") == []
    assert host.refused("DELETE", "/storage/made") == "delete storage failed: storage 'made' does not exist"


def test_allocating_a_disk(host: Host) -> None:
    host.data("POST", "/storage", storage="made", type="dir", path="/mnt/made", content="images")
    given = {"vmid": 100, "size": "1G", "filename": "vm-100-disk-7.qcow2"}
    assert host.data("POST", CONTENT, **given) == "made:100/vm-100-disk-7.qcow2"
    assert [each["size"] for each in host.data("GET", CONTENT)] == [1 << 30]
    taken = "disk image '/mnt/made/images/100/vm-100-disk-7.qcow2' already exists"
    assert host.refused("POST", CONTENT, **given) == taken
    assert host.refused("POST", CONTENT, **given | {"format": "raw"}) == {
        "format": "different storage formats (raw != qcow2)"
    }
    for name in ("disk", "vm-100-disk-7"):
        assert (
            host.refused("POST", CONTENT, **given | {"filename": name}) == f"unable to parse volume filename '{name}'"
        )
    assert host.refused("POST", CONTENT, **given | {"size": "much"}) == {
        "size": "value does not match the regex pattern"
    }


def test_a_volume_of_another_storage_is_refused(host: Host) -> None:
    told = host.refused("DELETE", f"{NODE}/storage/local/content/other:iso/x.iso")
    assert told == {"volume": "storage ID mismatch (other != local)\n"}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    ("volume", "told"),
    [
        ("nosuch", "unable to parse directory volume name 'nosuch'"),
        ("iso/x.txt", "unable to parse directory volume name 'iso/x.txt'"),
        ("../x.iso", "unable to parse directory volume name '../x.iso'"),
        ("100/x.raw", "unable to parse volume filename 'x.raw'"),
    ],
)
def test_a_volume_has_a_name_of_the_right_form(host: Host, method: str, volume: str, told: str) -> None:
    """parse_volname of PVE::Storage::Plugin."""
    assert host.refused(method, f"{NODE}/storage/local/content/local:{volume}") == told


def test_reading_and_removing_a_volume(host: Host) -> None:
    host.data("POST", "/storage", storage="made", type="dir", path="/mnt/made", content="images")
    volid = host.data("POST", CONTENT, vmid=100, size="1G", filename="vm-100-disk-7.qcow2")
    shown = host.data("GET", f"{CONTENT}/{volid}")
    assert (shown["format"], shown["size"]) == ("qcow2", 1 << 30)
    assert shown["path"] == "/mnt/made/images/100/vm-100-disk-7.qcow2"
    missing = "volume_size_info on 'made:100/vm-100-disk-8.raw' failed - no format"
    assert host.refused("GET", f"{CONTENT}/100/vm-100-disk-8.raw") == missing
    upid = host.data("DELETE", f"{CONTENT}/{volid}")
    assert ":imgdel:100@made:" in upid
    assert host.data("GET", CONTENT) == []


URL = {"url": "http://x.example/y"}


@pytest.mark.parametrize(
    ("given", "download", "upload"),
    [
        ({"content": "iso", "filename": "a.txt"}, {"filename": "wrong file extension"}, None),
        (
            {"content": "import", "filename": "a.ovf"},
            {"filename": "invalid filename or wrong extension"},
            None,
        ),
        (
            {"content": "vztmpl", "filename": "a.iso"},
            "storage 'local' is not configured for content-type 'vztmpl'",
            {"filename": "wrong file extension"},
        ),
        (
            {"content": "vztmpl", "filename": "a.tar.gz"},
            "storage 'local' is not configured for content-type 'vztmpl'",
            "storage 'local' does not support 'vztmpl' content",
        ),
        ({"content": "snippets", "filename": "a"}, None, None),
    ],
)
def test_a_file_is_refused(host: Host, given: dict[str, str], download: object, upload: object) -> None:
    """Upload and download_url of PVE::API2::Storage::Status look at the same in another order."""
    path, temporary = f"{NODE}/storage/local", "/var/tmp/pveupload-0"
    files = Files(host.world, "pve")
    files.mkdir("/var/tmp", parents=True)
    files.write(temporary, b"")
    told = host.refused("POST", f"{path}/download-url", **given, **URL)
    assert told == download or (download is None and "content" in told)
    told = host.refused("POST", f"{path}/upload", **given, tmpfilename=temporary)
    assert told == (upload or download) or (download is None and "content" in told)
    assert host.refused("POST", f"{path}/upload", content="iso", filename="a.iso") == "missing temporary file name"


def test_a_file_gets_a_harmless_name(host: Host) -> None:
    upid = host.data("POST", f"{NODE}/storage/local/download-url", content="iso", filename="../o/ä b.ISO", **URL)
    assert ":download:__b.ISO:" in upid


# -------------------------------------------------------------- backup jobs


def test_backup_jobs(host: Host) -> None:
    host.task("POST", f"{NODE}/qemu", vmid=100, name="guest")
    guest = {"name": "guest", "type": "qemu", "vmid": 100}
    assert host.data("GET", "/cluster/backup-info/not-backed-up") == [guest]
    host.data("POST", "/cluster/backup", id="nightly", schedule="21:00", vmid="100", storage="local")
    assert host.data("GET", "/cluster/backup-info/not-backed-up") == []
    host.data("PUT", "/cluster/backup/nightly", vmid="101", comment="ours")
    assert host.data("GET", "/cluster/backup-info/not-backed-up") == [guest]
    assert host.data("GET", "/cluster/backup/nightly")["comment"] == "ours"
    host.data("DELETE", "/cluster/backup/nightly")
    gone = "No such job 'nightly'"
    assert host.refused("GET", "/cluster/backup/nightly") == {"id": gone}
    assert host.refused("DELETE", "/cluster/backup/nightly") == f"400 Parameter verification failed. id: {gone}"
    assert host.refused("PUT", "/cluster/backup/nightly", all=1) == "no such vzdump job"


# ----------------------------------------------------------------- settings


def test_settings_read_as_they_were_set(host: Host) -> None:
    always = {"allowed-tags": [], "description": "", "mac_prefix": "BC:24:11"}
    assert host.data("GET", "/cluster/options") == always | {"keyboard": "en-us"}
    host.data("PUT", "/cluster/options", delete="keyboard")
    assert host.data("GET", "/cluster/options") == always
    host.data("PUT", "/cluster/options", console="html5", description="a\n\nb")
    assert host.data("GET", "/cluster/options") == always | {"console": "html5", "description": "a\n\nb\n"}
    broken = "lower (200) <= upper (100) boundary rule broken"
    assert host.refused("PUT", "/cluster/options", next__id="lower=200,upper=100") == broken
    host.data("PUT", "/cluster/options", next__id="lower=200,upper=201", tag__style="ordering=config")
    host.data("PUT", "/cluster/options", registered__tags="b;a", delete="console,mac_prefix")
    shown = host.data("GET", "/cluster/options")
    assert (shown["next-id"], shown["tag-style"]) == ({"lower": "200", "upper": "201"}, {"ordering": "config"})
    assert shown["registered-tags"] == shown["allowed-tags"] == ["a", "b"]
    assert host.data("GET", "/cluster/nextid") == "200"
    host.task("POST", f"{NODE}/qemu", vmid=200, tags="c")
    assert host.refused("GET", "/cluster/nextid") == "unable to get any free VMID in range [200, 201]"
    assert host.data("GET", "/cluster/options")["allowed-tags"] == ["a", "b", "c"]
    host.data("PUT", f"{NODE}/dns", search="example.com", dns1="10.0.0.1")
    assert host.data("GET", f"{NODE}/dns") == {"dns1": "10.0.0.1", "search": "example.com"}
    assert host.refused("PUT", f"{NODE}/dns", search="x", dns1="none") == {
        "dns1": "invalid format - value does not look like a valid IP address\n"
    }
    host.data("PUT", f"{NODE}/time", timezone="Europe/Vienna")
    assert host.data("GET", f"{NODE}/time")["timezone"] == "Europe/Vienna"
    assert host.refused("PUT", f"{NODE}/time", timezone="Nowhere") == {"timezone": "No such timezone"}
    before = host.data("GET", f"{NODE}/hosts")
    host.data("POST", f"{NODE}/hosts", data="127.0.0.1 localhost\n", digest=before["digest"])
    assert host.data("GET", f"{NODE}/hosts")["data"] == "127.0.0.1 localhost\n"
    assert "file changed by other user" in host.refused("POST", f"{NODE}/hosts", data="", digest=before["digest"])


def test_containers_are_none(host: Host) -> None:
    assert host.data("GET", f"{NODE}/lxc") == []
    missing = "Configuration file 'nodes/pve/lxc/999.conf' does not exist"
    assert host.refused("GET", f"{NODE}/lxc/999/config") == missing


def test_what_needs_no_parameter_can_be_read_of_a_fresh_host(host: Host) -> None:
    """Nothing that is only read falls over; the few that refuse say why."""
    refused = {}
    for route in ROUTES:
        names = [part for part in route.path.split("/") if part.startswith("{") and part != "{node}"]
        if route.method == "GET" and not names and not route.declaration.replace("node:node", "").strip("?[]:"):
            answer = host.send("GET", route.path.replace("{node}", "pve"))
            if answer.status != 200:
                refused[route.path] = answer.reason
    ceph = ["/cluster/ceph/flags", "/cluster/ceph/status"]
    ceph += [f"/nodes/{{node}}/ceph/{name}" for name in ("mon", "osd", "pool", "rules", "status")]
    assert refused == dict.fromkeys(ceph, "binary not installed: /usr/bin/ceph-mon")


# -------------------------------------------------------------------- tasks


def test_lists_of_tasks_are_filtered_as_in_pve_manager(host: Host) -> None:
    host.task("POST", f"{NODE}/qemu", vmid=100)
    host.task("POST", f"{NODE}/qemu/999/status/start")

    def kinds(**given: object) -> list[str]:
        return [each["type"] for each in host.data("GET", f"{NODE}/tasks", **given)]

    assert kinds() == ["qmstart", "qmcreate"]
    assert kinds(errors=1) == kinds(statusfilter="error") == kinds(vmid=999) == ["qmstart"]
    assert kinds(statusfilter="OK") == kinds(typefilter="qmcreate") == kinds(start=1) == ["qmcreate"]
    assert kinds(errors=1, statusfilter="ok") == ["qmstart"]
    assert kinds(userfilter="ROOT", limit=1) == ["qmstart"]
    assert kinds(userfilter="nobody") == []
    odd = {"statusfilter": "invalid format - invalid status 'odd'\n"}
    assert host.refused("GET", f"{NODE}/tasks", statusfilter="odd") == odd


def test_an_unknown_path_or_method_is_not_implemented(host: Host) -> None:
    for method, path in (("GET", "/nosuch"), ("DELETE", "/version"), ("POST", f"{NODE}/qemu/abc/nosuch")):
        assert host.send(method, path).reason == f"Method '{method} {path}' not implemented"


def test_what_stands_in_the_path_is_not_told_otherwise_too(host: Host) -> None:
    """rest_handler of PVE::HTTPServer."""
    told = {"node": "duplicate parameter (already defined in URI) with conflicting values!"}
    assert host.refused("POST", f"{NODE}/qemu", node="other", vmid=100) == told
    host.data("POST", f"{NODE}/qemu", node="pve", vmid=100)


def test_a_list_of_no_tasks_has_no_total(host: Host) -> None:
    assert host.send("GET", f"{NODE}/tasks").body == {"data": []}


# ----------------------------------------------------- storages' folders, backups


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/var/lib/x/", "/var/lib/x"),
        ("/var//lib/./y", "/var/lib/y"),
        ("/a b", "illegal path for directory storage: /a b"),
        ("relative", {"path": "invalid format - value does not look like a valid absolute path\n"}),
    ],
)
def test_the_folder_of_a_new_storage(host: Host, path: str, told: Any) -> None:
    answer = host.send("POST", "/storage", storage="new", type="dir", path=path)
    if answer.status == 200:
        assert host.data("GET", "/storage/new")["path"] == told
    else:
        assert ((answer.body or {}).get("errors") or answer.reason) == told


@pytest.mark.parametrize("word", ["off", "False", "no", "/mnt"])
def test_a_storage_that_is_no_mount_point_itself_gets_its_folders(host: Host, word: str) -> None:
    mounts = {"/mnt": {"source": "/dev/sdb1", "fstype": "ext4", "options": "rw"}}
    host.world.put("host", "pve", (host.world.get("host", "pve") or {}) | {"mounts": mounts})
    host.data("POST", "/storage", storage="new", type="dir", path="/mnt/new", content="iso", is_mountpoint=word)
    assert host.data("GET", f"{NODE}/storage/new/status")["active"] == 1
    assert host.data("GET", f"{NODE}/storage/new/content") == []


def test_what_is_said_of_a_backup_and_of_nothing_else(host: Host) -> None:
    host.data("POST", "/storage", storage="kept", type="dir", path="/kept", content="backup,images")
    host.task("POST", f"{NODE}/qemu", vmid=100, scsi0="kept:1")
    host.task("POST", f"{NODE}/vzdump", vmid=100, storage="kept")
    (name,) = (each["volid"] for each in host.data("GET", f"{NODE}/storage/kept/content", content="backup"))
    backup, disk = f"{NODE}/storage/kept/content/{name}", f"{NODE}/storage/kept/content/kept:100/vm-100-disk-0.raw"
    assert host.refused("PUT", disk, notes="x") == "only backups can have notes"
    assert host.refused("PUT", disk, protected=1) == "only backups support attribute 'protected'"
    host.data("PUT", backup, notes="x", protected=1)
    for shown in (host.data("GET", backup), host.data("GET", f"{NODE}/storage/kept/content", content="backup")[0]):
        assert (shown["notes"], shown["protected"]) == ("x", 1)
    failed = host.task("DELETE", backup)
    assert failed == f"cannot remove protected volume '{name.partition(':')[2]}' on 'kept'"
    host.data("PUT", backup, protected=0)
    assert host.task("DELETE", backup) == "OK"


def test_the_monitor_says_itself_what_goes_wrong(host: Host) -> None:
    host.task("POST", f"{NODE}/qemu", vmid=100)
    assert host.data("POST", f"{NODE}/qemu/100/monitor", command="info status") == "ERROR: VM 100 not running\n"
    assert host.refused("PUT", f"{NODE}/qemu/100/sendkey", key="ret") == "VM 100 not running"
    host.task("POST", f"{NODE}/qemu/100/status/start")
    assert host.data("POST", f"{NODE}/qemu/100/monitor", command="info status") == "VM status: running\r\n"
    host.data("PUT", f"{NODE}/qemu/100/sendkey", key="ret")


def test_the_log_of_a_task_that_is_not_there(host: Host) -> None:
    gone = f"{NODE}/tasks/UPID:pve:00001234:00001234:66666666:qmstart:1:root@pam:"
    assert host.data("GET", f"{gone}/log") == [{"n": 1, "t": "unable to open file - No such file or directory"}]
    assert host.refused("GET", f"{gone}/status") == {"upid": "no such task"}
    for garbage in ("garbage", "UPID:pve:1:2:3:qmstart:1:root@pam:"):
        assert host.refused("GET", f"{NODE}/tasks/{garbage}/log") == {"upid": "unable to parse worker upid"}
    told = "'download' cannot be used together with 'start' or 'limit' parameters"
    assert host.refused("GET", f"{gone}/log", download=1, limit=5) == told


def test_what_is_fixed_stays_and_is_looked_at_before_what_goes(host: Host) -> None:
    host.data("POST", "/storage", storage="new", type="dir", path="/new")
    refused: list[tuple[dict[str, Any], str]] = [
        (
            {"snapshot-as-volume-chain": 1, "delete": "foo"},
            "can't change value of fixed parameter 'snapshot-as-volume-chain'",
        ),
        ({"server": "h", "delete": "foo"}, "unexpected property 'server'"),
        ({"shared": 1, "delete": "foo"}, "no such option 'foo'"),
        ({"delete": "path"}, "unable to delete required option 'path'"),
        ({"delete": "snapshot-as-volume-chain"}, "unable to delete fixed option 'snapshot-as-volume-chain'"),
        ({"shared": 1, "delete": "shared"}, "cannot set and delete property 'shared' at the same time!"),
    ]
    for given, told in refused:
        assert host.refused("PUT", "/storage/new", **given) == f"update storage failed: {told}"
    host.data("POST", "/storage", storage="pool", type="rbd", pool="rbd")
    assert host.data("PUT", "/storage/pool", pool="other") == {"storage": "pool", "type": "rbd"}


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ("keep-all=1", ""),
        ("keep-all=0,keep-last=2", ""),
        ("keep-all=1,keep-last=1", "keep-all cannot be set together with other options.\n"),
        ("keep-last=1.5", "format error\nprune-backups.keep-last: type check ('integer') failed - got '1.5'\n"),
        ("keep-last=-1", "format error\nprune-backups.keep-last: value must have a minimum value of 0\n"),
    ],
)
def test_how_many_backups_are_kept(host: Host, kept: str, told: str) -> None:
    answer = host.send("POST", "/storage", storage="new", type="dir", path="/new", prune__backups=kept)
    errors = (answer.body or {}).get("errors", {})
    assert errors == ({"prune-backups": f"invalid format - {told}"} if told else {})
