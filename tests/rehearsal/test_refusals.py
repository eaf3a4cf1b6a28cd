"""What `invoke foundation` finds in its way: told with what was found and a fix, and nothing done about it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.lab.faults import Faults
from lib.lab.world import World
from tests.rehearsal.test_foundation import client, journal, on_host, outcomes, writes
from tests.stage import BARE, FINISHED, Stage


def edit(checkout: Path, pattern: str, text: str) -> None:
    """Replace the first match of a pattern in cluster.toml."""
    path = checkout / "cluster.toml"
    changed, count = re.subn(pattern, text, path.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1, pattern
    path.write_text(changed)


def be(checkout: Path, kind: str, key: str, facts: dict[str, Any]) -> None:
    """Let something in the world of a lab that does not run be otherwise."""
    world = World(checkout / ".lab" / "world.sqlite")
    world.put(kind, key, (world.get(kind, key) or {}) | facts)
    world.close()


def test_validation_tells_every_problem_at_once_and_nothing_is_begun(
    lab: Path, run: Callable[..., Any], seed: int | None
) -> None:
    pve = client(lab)
    pve("POST", "/nodes/node3/qemu", {"vmid": "140", "name": "precious", "ipconfig0": "ip=10.10.1.31/24"})
    on_host(lab, run, "10.10.1.22")("date", "-s", f"@{time.time() + 90}")
    edit(lab, r'^bridge = "vmbr0"', 'bridge = "vmbr9"')
    edit(lab, r"^near_full_percent = 80", "near_full_percent = 1")
    edit(lab, r"^memory_gib = 24", "memory_gib = 900")
    edit(lab, r"^disk_gib = 128", "disk_gib = 60000")
    before = len(journal(lab))
    result = run("foundation")
    assert result.returncode == 4
    for told in (
        "node1: has no bridge vmbr9",
        "node4: has no bridge vmbr9",
        "node2: its clock is off (got +90 s",
        "Ceph: is near full",
        "memory: does not suffice",
        "storage rbd: has no room",
        "VM 140: is somebody else's (",
        "10.10.1.31: is configured on somebody else's VM 140",
    ):
        assert told in result.stdout, result.stdout
    if seed is None:  # else the name may not have been told yet
        assert "('precious' on node3" in result.stdout
    own = ("/pools", "pveum")  # the lock, and the administrator's short-lived token
    done = [str(line) for line in writes(journal(lab)[before:])]
    assert [line for line in done if not any(word in line for word in own)] == []


@pytest.mark.parametrize(
    ("health", "code", "told"),
    [("HEALTH_ERR", 1, "Ceph: is not healthy (PG_DAMAGED)"), ("HEALTH_WARN", 0, "Ceph warns: PG_DAMAGED")],
)
def test_ceph_that_is_not_well_is_told(
    stage: Stage, run: Callable[..., Any], health: str, code: int, told: str
) -> None:
    stage.take(BARE)
    be(stage.checkout, "meta", "ceph", {"health": health, "checks": {"PG_DAMAGED": {}}})
    with stage.lab():
        result = run("plan")
        assert result.returncode == code, result.stdout
        assert told in result.stdout


def test_hosts_that_agree_on_another_time_than_ours_are_told(lab: Path, run: Callable[..., Any]) -> None:
    for number in range(1, 5):
        on_host(lab, run, f"10.10.1.2{number}")("date", "-s", f"@{time.time() - 3600}")
    result = run("plan")
    assert result.returncode == 0, result.stdout
    assert "the hosts' clocks are -3600 s from this machine's" in result.stdout


def test_tokens_last_by_the_clock_of_the_hosts(lab: Path, run: Callable[..., Any]) -> None:
    for number in range(1, 5):
        on_host(lab, run, f"10.10.1.2{number}")("date", "-s", f"@{time.time() + 40 * 86400}")
    result = run("foundation")
    assert result.returncode == 0, result.stdout
    assert "s from this machine's: one of them is wrong" in result.stdout


def test_a_host_that_cannot_install_what_is_needed_is_told_how(checkout: Path, run: Callable[..., Any]) -> None:
    run("lab.start", "--task-seconds", "0")
    host = on_host(checkout, run)
    source = "/etc/apt/sources.list.d/pve-enterprise.sources"
    host("tee", source, given="Types: deb\nURIs: https://enterprise.proxmox.com/debian/pve\n")
    refused = run("foundation")
    assert refused.returncode == 1
    assert "no-subscription" in refused.stdout
    host("rm", source)
    run("lab.stop")
    be(checkout, "host", "node1", {"apt_removes": ["proxmox-ve"]})
    removing = run("foundation")
    assert removing.returncode == 4
    assert "apt would remove proxmox-ve" in removing.stdout
    assert "rbd create" not in (checkout / ".lab" / "journal.jsonl").read_text().replace('", "', " ")


def test_a_host_that_installs_something_itself_is_waited_for(stage: Stage, run: Callable[..., Any]) -> None:
    stage.take(BARE)
    be(stage.checkout, "host", "node1", {"apt_busy_until": time.time() + 5})
    with stage.lab():
        short = run("foundation", "--timeout", "2")
        assert short.returncode == 1
        if stage.seed is None:  # else validation may have failed before
            assert "apt-get on 10.10.1.21: did not come within 2 s (last seen: Could not get lock" in short.stdout
        assert run("foundation").returncode == 0
        updates = [line["argv"] for line in journal(stage.checkout) if "update" in line.get("argv", ())]
        # where the host speaks another language, apt does too, and its words would not be known again
        assert updates, "the journal has no update"
        assert all("LC_ALL=C" in argv for argv in updates), updates


def test_another_image_on_our_mount_point_is_left_alone(lab: Path, run: Callable[..., Any]) -> None:
    host = on_host(lab, run)
    host("rbd", "create", "--size", "1024", "--image-feature", "layering", "rbd/theirs")
    device = host("rbd", "map", "rbd/theirs").strip()
    host("mkfs.ext4", "-q", device)
    host("mkdir", "-p", "/mnt/rbd-iso")
    host("mount", device, "/mnt/rbd-iso")
    result = run("foundation")
    assert result.returncode == 1
    assert f"/mnt/rbd-iso: has something else mounted (got {device})" in result.stdout


def test_an_image_in_use_elsewhere_is_not_mapped_twice(lab: Path, run: Callable[..., Any]) -> None:
    there = on_host(lab, run, "10.10.1.22")
    there("rbd", "create", "--size", "16384", "--image-feature", "layering", "rbd/rbd-iso")
    there("rbd", "map", "rbd/rbd-iso")
    result = run("foundation")
    assert result.returncode == 4
    assert "is in use on 10.10.1.22" in result.stdout
    assert on_host(lab, run)("rbd", "device", "list") == ""


def test_an_image_that_is_mapped_here_and_elsewhere_is_not_mounted(lab: Path, run: Callable[..., Any]) -> None:
    here, there = on_host(lab, run, "10.10.1.21"), on_host(lab, run, "10.10.1.23")
    here("rbd", "create", "--size", "16384", "rbd/rbd-iso")
    there("mkfs.ext4", "-q", there("rbd", "map", "rbd/rbd-iso").strip())
    there("mkdir", "-p", "/mnt/theirs")
    there("mount", "/dev/rbd/rbd/rbd-iso", "/mnt/theirs")
    here("rbd", "map", "rbd/rbd-iso")
    result = run("foundation")
    assert result.returncode == 4, result.stdout
    assert "rbd rbd/rbd-iso: is in use on 10.10.1.23" in result.stdout


def test_a_host_that_held_the_image_before_cannot_map_it_beside_the_new_one(
    lab: Path, run: Callable[..., Any], seed: int | None
) -> None:
    host, there = on_host(lab, run), on_host(lab, run, "10.10.1.22")
    host("rbd", "create", "--size", "16384", "--image-feature", "layering", "rbd/rbd-iso")  # without a lock
    done = run("foundation")
    assert done.returncode == 0, done.stdout
    assert seed is not None or "rbd/rbd-iso exclusive-lock: disabled → enabled" in done.stdout
    with pytest.raises(subprocess.CalledProcessError):
        there("rbd", "map", "--exclusive", "rbd/rbd-iso")


def test_a_foreign_guest_that_takes_our_number_while_we_run_is_not_touched(stage: Stage) -> None:
    begun = threading.Event()

    def on_line(number: int, said: str, faults: Faults) -> None:
        if said.endswith("/download-url"):
            begun.set()

    stage.take(BARE)
    with stage.lab(task_seconds=0.03, on_line=on_line):
        process = stage.begin()
        assert begun.wait(60) or stage.seed is not None  # a perverse lab may let the run end before
        client(stage.checkout)("POST", "/nodes/node2/qemu", {"vmid": "9002", "name": "precious"})
        said, _ = process.communicate(timeout=60)
        if stage.seed is None:  # else another step may have failed before
            assert process.returncode == 4, said
            assert "! base_template" in said
            assert "VM 9002: is somebody else's ('precious' on node2, without our tag 'groundwork')" in said
        assert client(stage.checkout)("GET", "/nodes/node2/qemu/9002/config")["name"] == "precious"


def test_a_linked_clone_that_comes_while_we_run_keeps_its_template(stage: Stage) -> None:
    begun = threading.Event()

    def on_line(number: int, said: str, faults: Faults) -> None:
        if said.endswith("/download-url"):
            begun.set()

    stage.take(FINISHED)
    with stage.lab(task_seconds=0.03, on_line=on_line):
        pve = client(stage.checkout)
        before = pve("GET", "/nodes/node1/qemu/9002/config")["meta"]
        process = stage.begin("--force-rebuild", "--allow", "destroy-base-template")
        assert begun.wait(60) or stage.seed is not None  # a perverse lab may let the run end before
        pve("POST", "/nodes/node1/qemu/9002/clone", {"newid": "700", "full": "0"})
        said, _ = process.communicate(timeout=60)
        if stage.seed is None:  # else another step may have failed before
            assert process.returncode == 4, said
            assert "VM 9002 cannot be made anew while linked clones hang on it" in said
        assert "qmdestroy" not in str(pve("GET", "/cluster/tasks"))
        assert pve("GET", "/nodes/node1/qemu/9002/config")["meta"] == before


def test_a_guest_whose_creation_was_broken_off_is_told_with_what_helps(stage: Stage, run: Callable[..., Any]) -> None:
    stage.take(BARE)
    with stage.lab():
        client(stage.checkout)("POST", "/nodes/node2/qemu", {"vmid": "9002", "memory": "2048"})
    be(stage.checkout, "guest", "9002", {"lock": "create"})  # its node has crashed
    with stage.lab():
        result = run("foundation")
        assert result.returncode == 4 or stage.seed is not None, (
            result.stdout
        )  # else another step may have failed before
        if stage.seed is None:
            assert "VM 9002: was left half made" in result.stdout
            assert "Fix: if nobody needs it, on node2: qm unlock 9002 && qm destroy 9002" in result.stdout
        for line in ("qm unlock 9002", "qm destroy 9002"):
            on_host(stage.checkout, run, "10.10.1.22")(*line.split())
        assert run("foundation").returncode == 0


def test_a_guest_with_our_tag_that_is_no_template_in_the_making_is_not_destroyed(
    lab: Path, run: Callable[..., Any]
) -> None:
    pve = client(lab)
    pve("POST", "/nodes/node2/qemu", {"vmid": "9002", "name": "somebodys-clone", "tags": "groundwork"})
    result = run("foundation")
    assert result.returncode == 4, result.stdout
    assert "--allow destroy-base-template" in result.stdout
    assert pve("GET", "/nodes/node2/qemu/9002/config")["name"] == "somebodys-clone"


def test_an_image_that_is_mapped_already_is_not_mapped_a_second_time(lab: Path, run: Callable[..., Any]) -> None:
    host = on_host(lab, run, "10.10.1.21")
    host("rbd", "create", "--size", "16384", "rbd/rbd-iso")
    device = host("rbd", "map", "rbd/rbd-iso").strip()
    host("mkfs.ext4", "-q", device)
    host("mkdir", "-p", "/mnt/rbd-iso")
    host("mount", device, "/mnt/rbd-iso")
    result = run("foundation")
    assert result.returncode == 0, result.stdout
    assert [row["device"] for row in json.loads(host("rbd", "device", "list", "--format", "json"))] == [device]


def test_a_template_with_linked_clones_is_not_destroyed(finished: Path, run: Callable[..., Any]) -> None:
    pve = client(finished)
    born = pve("GET", "/nodes/node1/qemu/9002/config")["meta"]
    pve("POST", "/nodes/node1/qemu/9002/clone", {"newid": "700", "full": "0"})
    edit(finished, r'^packages = \["qemu-guest-agent"\]', 'packages = ["qemu-guest-agent", "nfs-common"]')
    plan = run("plan", "--json")
    assert outcomes(plan) | {"cloud_image": "pending", "base_template": "refused"} == outcomes(plan)
    result = run("foundation", "--allow", "destroy-base-template")
    assert result.returncode == 4
    assert "linked clones hang on it" in result.stdout
    assert pve("GET", "/nodes/node1/qemu/9002/config")["meta"] == born
    pve("DELETE", "/nodes/node1/qemu/700")
    pve("PUT", "/nodes/node1/qemu/9002/config", {"protection": "1"})
    protected = run("plan")
    assert protected.returncode == 4
    assert "VM 9002 is protected" in protected.stdout
    pve("PUT", "/nodes/node1/qemu/9002/config", {"protection": "0"})
    before = len(journal(finished))
    for words in (("foundation",), ("plan",), ("foundation", "--dry-run")):
        refused = run(*words)
        assert refused.returncode == 4, refused.stdout
        assert "with 3 disks would be destroyed (lineage)" in refused.stdout
    assert "virt-customize" not in str(journal(finished)[before:])  # nothing of the plan was begun
    assert run("drift", "--detailed-exitcode").returncode == 3
    assert run("foundation", "--allow", "destroy-base-template").returncode == 0
    assert pve("GET", "/nodes/node1/qemu/9002/config")["meta"] != born
    assert outcomes(run("foundation", "--json"))["base_template"] == "unchanged"


def test_an_image_older_than_wished_is_left_alone_where_foundation_is_only_needed(
    finished: Path, run: Callable[..., Any]
) -> None:
    edit(finished, r'^packages = \["qemu-guest-agent"\]', 'packages = ["qemu-guest-agent", "nfs-common"]')
    before = len(journal(finished))
    done = run("dns", "--json")
    left = {"cloud_image": "unchanged", "base_template": "unchanged", "zones": "changed"}
    assert outcomes(done) | left == outcomes(done)
    assert "older than cluster.toml wishes, is left" in done.stdout
    assert "virt-customize" not in str(journal(finished)[before:])
    pve = client(finished)
    pve("DELETE", "/nodes/node1/qemu/9002")
    assert outcomes(run("dns", "--json"))["base_template"] == "changed"  # what is missing is made, of what is there
    assert outcomes(run("drift", "--json"))["cloud_image"] == "pending"


def test_a_rebuild_that_nothing_allows_is_left_alone_where_foundation_is_only_needed(
    finished: Path, run: Callable[..., Any]
) -> None:
    pve = client(finished)
    pve("POST", "/nodes/node1/qemu/9002/clone", {"newid": "700", "full": "0"})
    pve("PUT", "/nodes/node1/qemu/9002/resize", {"disk": "scsi0", "size": "+4G"})
    done = run("dns", "--json")
    assert done.returncode == 0, done.stderr
    assert outcomes(done) | {"base_template": "unchanged", "zones": "changed"} == outcomes(done)
    assert "left as it is: VM 9002 cannot be made anew while linked clones hang on it" in done.stdout
    assert run("foundation").returncode == 4


def test_a_local_image_is_sent_and_checked(lab: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    image = tmp_path / "noble.img"
    header = b"QFI\xfb" + bytes(20) + (3 << 30).to_bytes(8, "big")  # qcow2, 3 GiB
    image.write_bytes(header + bytes(2 << 20))
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    edit(lab, r'^file = "" ', f'file = "{image}" ')
    wrong = run("foundation")
    assert wrong.returncode == 1
    assert f"has another digest (got {digest}" in wrong.stdout
    edit(lab, r'^sha256 = "[0-9a-f]{64}"', f'sha256 = "{digest}"')
    edit(lab, r'^packages = \["qemu-guest-agent"\]', "packages = []")  # it has the agent already
    sent = run("foundation")
    assert sent.returncode == 0, sent.stdout
    assert "download-url" not in (lab / ".lab" / "journal.jsonl").read_text()
    image.unlink()
    assert run("foundation").returncode == 0  # it is needed only where the image is missing


def test_the_older_release_is_served_in_its_own_words(checkout: Path, run: Callable[..., Any]) -> None:
    run("lab.start", "--task-seconds", "0", "--pve", "8.4")
    assert run("foundation").returncode == 0
    again = run("foundation", "--json")
    assert again.returncode == 0
    assert outcomes(again)["packer_user"] == "refreshed"
    assert run("doctor").returncode == 0
    role = client(checkout)("GET", "/access/roles/GroundworkPacker")
    assert role["VM.Monitor"] == 1
    installs = [line for line in journal(checkout) if "apt-get" in line.get("argv", ()) and "install" in line["argv"]]
    assert installs
    assert not any("dhcpcd-base" in line["argv"] for line in installs)
