"""What is shown of a guest: in lists, in its status, in its options and those of its snapshots.

Read in vmstatus of src/PVE/QemuServer.pm and in src/PVE/API2/Qemu.pm (qemu-server).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib.lab.pve.power import NO_KVM
from lib.lab.replay.run import replay
from tests.contract.host import GUEST, NODE, Host

ASKED = {"balloon", "ballooninfo", "blockstat", "diskread", "diskwrite", "proxmox-support", "running-machine"}
ASKED |= {"running-qemu"}


@pytest.fixture
def host() -> Host:
    return Host().with_guest()


def shown(host: Host, **given: Any) -> set[str]:
    return set(host.data("GET", f"{NODE}/qemu", **given)[0])


def status(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.data("GET", f"{GUEST}/status/current")
    return found


def test_only_a_full_list_asks_qemu(host: Host) -> None:
    assert shown(host, full=1) - shown(host) == {"qmpstatus"}
    host.task("POST", f"{GUEST}/status/start")
    assert "pid" in shown(host)
    assert shown(host, full=1) - shown(host) == {"qmpstatus", "nics"} | ASKED
    assert set(status(host)) - shown(host, full=1) == {"ha"}


def test_before_9_every_list_has_the_counters_of_disks() -> None:
    host = Host("8.4").with_guest()
    assert {"diskread", "diskwrite"} <= shown(host)


@pytest.mark.parametrize(
    ("vga", "told"),
    [
        ("serial0", {"clipboard": None}),
        ("std,clipboard=vnc", {"clipboard": "vnc"}),
        ("virtio", {"clipboard": None, "spice": 1}),
        ("qxl2", {"clipboard": None, "spice": 1}),
    ],
)
def test_a_status_tells_of_the_display_that_is_set(host: Host, vga: str, told: dict[str, Any]) -> None:
    before = status(host)
    host.data("PUT", f"{GUEST}/config", vga=vga)
    assert status(host) == before | told


@pytest.mark.parametrize("foreign", [True, False])
def test_a_qemu_without_proxmox_s_additions_is_asked_nothing_more(tmp_path: Path, foreign: bool) -> None:
    host = Host().with_guest()
    host.task("POST", f"{GUEST}/status/start")
    read = {key: value for key, value in status(host).items() if not (foreign and key in ASKED)}
    config = {"as": "root@pam", "method": "GET", "params": {}, "path": f"{GUEST}/config", "status": 200, "reason": "OK"}
    asked = config | {"path": f"{GUEST}/status/current", "body": {"data": read}}
    recording = tmp_path / "rest-9.2.json"
    recording.write_text(json.dumps({"exchanges": [asked, config | {"body": {"data": host.config()}}]}))
    assert [result.differences for result in replay(recording)[1]] == [[], []]


def test_a_machine_without_kvm_starts_what_needs_none(tmp_path: Path) -> None:
    """Such a machine gives itself away by a start that failed."""
    host = Host().with_guest()
    seen = {"as": "root@pam", "params": {}, "status": 200, "reason": "OK"}
    config = {"method": "GET", "path": f"{GUEST}/config", "body": {"data": host.config()}}
    upid = "UPID:pve:<pid>:<pstart>:<starttime>:qmstart:100:root@pam:"
    start = {"method": "POST", "path": f"{GUEST}/status/start", "body": {"data": upid}}
    task = {"type": "qmstart", "id": "100", "user": "root@pam", "exitstatus": NO_KVM}
    without = {"method": "PUT", "path": f"{GUEST}/config", "params": {"kvm": 0}, "body": {"data": None}}
    steps = [config, start | {"task": task}, without, start | {"task": task | {"exitstatus": "OK"}}]
    recording = tmp_path / "rest-9.2.json"
    recording.write_text(json.dumps({"exchanges": [seen | step for step in steps]}))
    assert [result.differences for result in replay(recording)[1]] == [[], [], [], []]


def test_such_a_qemu_takes_no_snapshot_while_it_runs(host: Host) -> None:
    host.world.put("node", "pve", (host.world.get("node", "pve") or {}) | {"foreign_qemu": True})
    host.task("POST", f"{GUEST}/status/start")
    lacks = "VM 100 qmp command 'savevm-start' failed - The command savevm-start has not been found"
    assert host.task("POST", f"{GUEST}/snapshot", snapname="one") == lacks
    host.task("POST", f"{GUEST}/status/stop")
    assert host.task("POST", f"{GUEST}/snapshot", snapname="one") == "OK"


def test_the_options_of_a_snapshot_come_with_what_is_noted_of_it(host: Host) -> None:
    path = f"{GUEST}/snapshot"
    for name, given in (("one", {"description": "first"}), ("two", {"vmstate": 1})):
        assert host.task("POST", path, snapname=name, **given) == "OK"
    kept = host.data("GET", f"{path}/two/config")
    assert (kept["parent"], "description" in kept, "snaptime" in kept) == ("one", False, True)
    assert host.data("GET", f"{GUEST}/config", snapshot="two") == kept | {"digest": host.config()["digest"]}
    assert host.data("GET", f"{GUEST}/config", snapshot="one")["description"] == "first"
    assert host.refused("GET", f"{GUEST}/config", snapshot="not") == "snapshot 'not' does not exist"


def test_memory_is_kept_of_what_runs_and_starts_again(host: Host) -> None:
    path = f"{GUEST}/snapshot"
    host.task("POST", path, snapname="off", vmstate=1)
    host.task("POST", f"{GUEST}/status/start")
    host.task("POST", path, snapname="on", vmstate=1)
    assert [each.get("vmstate") for each in host.data("GET", path)] == [0, 1, None]
    before = host.config()["vmgenid"]
    host.task("POST", f"{path}/off/rollback")
    assert status(host)["status"] == "stopped"
    assert host.config()["vmgenid"] != before
    host.task("POST", f"{path}/on/rollback", start=1)
    assert status(host)["status"] == "running"
    host.task("POST", f"{path}/off/rollback", start=1)
    assert status(host)["status"] == "running"
    assert [each["type"] for each in host.data("GET", f"{NODE}/tasks", typefilter="qmstart")] == ["qmstart"] * 2
