"""Which changes a running guest takes on at once: vmconfig_hotplug_pending of src/PVE/QemuServer.pm (qemu-server)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.host import GUEST, Host

NET = "virtio=BC:24:11:00:00:01,bridge=vmbr0"


@pytest.fixture
def host() -> Host:
    host = Host().with_guest()
    host.data("PUT", f"{GUEST}/config", agent="1", balloon=256, net1=NET, scsi1="local:1,format=qcow2")
    host.data("PUT", f"{GUEST}/config", ide0="local:1,format=qcow2", boot="order=ide0;scsi0;ide2")
    host.task("POST", f"{GUEST}/status/start")
    return host


def waiting(host: Host) -> dict[str, Any]:
    entries = host.data("GET", f"{GUEST}/pending")
    return {each["key"]: each.get("pending") for each in entries if {"pending", "delete"} & set(each)}


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        ({"cores": 2, "memory": "1024", "boot": "order=net0", "vga": "std", "autostart": 1}, True),
        ({"ciuser": "me", "ipconfig0": "ip=dhcp", "shares": 5, "vmstatestorage": "local", "cpulimit": 1}, False),
        ({"agent": "1,fstrim_cloned_disks=1", "balloon": 128, "tablet": 0, "net2": "virtio"}, False),
        ({"agent": "0", "balloon": 0, "vcpus": 1}, True),
        ({"net1": f"{NET},firewall=1", "scsi2": "local:1", "ide2": "cdrom,media=cdrom"}, False),
        ({"sata0": "local:1", "boot": "order=ide1;scsi0", "ide1": "none,media=cdrom"}, True),
        ({"scsi1": "local:100/vm-100-disk-1.qcow2,ssd=1"}, True),
        ({"scsi1": "local:100/vm-100-disk-1.qcow2,backup=0"}, False),
        ({"delete": "description,net1,scsi1,balloon"}, False),
        ({"delete": "agent,ide0", "boot": "order=scsi0"}, True),
    ],
)
def test_a_running_guest_takes_on_what_can_be_plugged(host: Host, given: dict[str, Any], waits: bool) -> None:
    host.data("PUT", f"{GUEST}/config", **given)
    changed = [*given.keys() - {"delete"}, *filter(None, given.get("delete", "").split(","))]
    assert sorted(waiting(host)) == (sorted(changed) if waits else [])


def test_what_a_guest_plugs_is_for_it_to_say(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", hotplug="cpu")
    assert sorted(waiting(host)) == ["hotplug"]
    host.task("POST", f"{GUEST}/status/reboot")
    host.data("PUT", f"{GUEST}/config", vcpus=1, net2="virtio", scsi2="local:1", tablet=0)
    assert sorted(waiting(host)) == ["net2", "scsi2", "tablet"]


def test_a_disk_that_waits_is_let_go_when_the_guest_is_off(host: Host) -> None:
    host.data("PUT", f"{GUEST}/unlink", idlist="ide0")
    host.data("PUT", f"{GUEST}/config", sata0="local:2,format=qcow2")
    assert waiting(host)["boot"] == "order=scsi0;ide2"
    assert {"ide0", "sata0", "unused0"} & set(host.data("GET", f"{GUEST}/config", current=1)) == {"ide0"}
    host.task("POST", f"{GUEST}/status/stop")
    config = host.config()
    assert (config["boot"], "ide0" in config) == ("order=scsi0;ide2", False)
    assert config["unused0"] == "local:100/vm-100-disk-2.qcow2"
    assert config["sata0"] == "local:100/vm-100-disk-3.qcow2,size=2G"


def test_a_disk_that_was_to_come_in_is_unused_when_it_may_not(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", sata0="local:2,format=qcow2")
    host.data("PUT", f"{GUEST}/config", revert="sata0")
    assert waiting(host) == {}
    assert host.config()["unused0"] == "local:100/vm-100-disk-3.qcow2"
