"""What the simulated guests answer through their agent, who may ask, and how they move between nodes."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest

from lib.lab.pve.answers import Answer
from tests.lab.simulated import CLUSTER, Simulated

GUEST = "/nodes/node1/qemu/131"
STATIC = "ip=10.10.1.31/24,gw=10.10.1.1"
INTERFACES = f"{GUEST}/agent/network-get-interfaces"


class Booted:
    """A running guest whose disk was imported from an image with these packages in it."""

    def __init__(self, lab: Simulated, packages: tuple[str, ...] = ("qemu-guest-agent",), **options: Any) -> None:
        self.lab, self.now = lab, 1_800_000_000.0
        lab.api.clock = lambda: self.now
        image = "/var/lib/vz/import/image.qcow2"
        facts = {"format": "qcow2", "virtual_size": 4 << 30, "packages": list(packages)}
        lab.hosts["node1"].files.put_synthetic(image, 600 << 20, "0" * 64, facts)
        given = {"agent": "enabled=1", "ide2": "rbd:cloudinit", "net0": "virtio,bridge=vmbr0", "ipconfig0": STATIC}
        given |= {"scsi0": f"rbd:0,import-from={image}"} | options
        self.root("POST", "/nodes/node1/qemu", vmid=131, name="k8s-control-1", **given)
        self.root("POST", f"{GUEST}/status/start")

    def send(self, method: str, path: str, identity: str = "root@pam", /, **params: Any) -> Answer:
        return self.lab.api.call(identity, method, path, {name: str(value) for name, value in params.items()}, "node1")

    def root(self, method: str, path: str, /, **params: Any) -> Any:
        answer = self.send(method, path, "root@pam", **params)
        assert answer.status == 200, answer
        return answer.body["data"] if answer.body else None

    def addresses(self) -> dict[str, list[str]]:
        found = self.root("GET", INTERFACES)["result"]
        return {each["name"]: [ip["ip-address"] for ip in each["ip-addresses"]] for each in found}


def test_a_guest_answers_with_the_address_of_its_cloud_init_data(simulated: Simulated) -> None:
    guest = Booted(simulated)
    assert guest.root("POST", f"{GUEST}/agent/ping") == {"result": {}}
    assert guest.addresses() == {"lo": ["127.0.0.1"], "eth0": ["10.10.1.31"]}


@pytest.mark.parametrize("options", [{"ipconfig0": "ip=dhcp"}, {"ide2": "none,media=cdrom"}])
def test_without_an_address_of_its_own_it_has_a_lease(simulated: Simulated, options: dict[str, Any]) -> None:
    guest = Booted(simulated, **options)
    [lease] = guest.addresses()["eth0"]
    first, last = (ipaddress.IPv4Address(end.strip()) for end in CLUSTER.network.ranges.dhcp.split("-"))
    assert first <= ipaddress.IPv4Address(lease) <= last
    guest.root("PUT", f"{GUEST}/config", net1="virtio,bridge=vmbr0")
    guest.root("POST", f"{GUEST}/status/reboot")
    assert guest.addresses()["eth0"] == [lease]
    assert guest.addresses()["eth1"] != [lease]


@pytest.mark.parametrize(
    ("packages", "options", "reason"),
    [
        (("vim",), {}, "QEMU guest agent is not running"),
        (("qemu-guest-agent",), {"agent": "enabled=0"}, "QEMU guest agent is not running"),
        (("qemu-guest-agent",), {"template": 1}, "VM 131 is not running"),
    ],
)
def test_no_answer(simulated: Simulated, packages: tuple[str, ...], options: dict[str, Any], reason: str) -> None:
    answer = Booted(simulated, packages, **options).send("GET", INTERFACES)
    assert (answer.status, answer.reason) == (500, reason)


def test_it_answers_once_it_has_booted(simulated: Simulated) -> None:
    meta = simulated.world.get("meta", "lab") or {}
    guest = Booted(simulated)
    simulated.world.put("meta", "lab", meta | {"task_scale": 1.0})
    guest.now += 5
    assert guest.send("POST", f"{GUEST}/agent/ping").reason == "QEMU guest agent is not running"
    guest.now += 30
    assert guest.send("POST", f"{GUEST}/agent/ping").status == 200


def test_a_silent_agent_is_silent_as_often_as_asked_for(simulated: Simulated) -> None:
    guest = Booted(simulated)
    simulated.api.faults.add("agent-silent", "k8s-control-1", 2)
    simulated.api.faults.add("agent-silent", "k8s-worker-*", 1)
    told = [guest.send("POST", f"{GUEST}/agent/ping").status for _ in range(3)]
    assert told == [500, 500, 200]


@pytest.mark.parametrize(
    ("pve", "privilege", "named"),
    [
        ("9.2", "VM.GuestAgent.Audit", "VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted"),
        ("8.4", "VM.Monitor", "VM.Monitor"),
    ],
)
def test_reading_addresses_needs_its_privilege(tmp_path: Path, pve: str, privilege: str, named: str) -> None:
    lab = Simulated(tmp_path, pve)
    guest = Booted(lab)
    guest.root("POST", "/access/users", userid="tofu@pve")
    guest.root("POST", "/access/roles", roleid="Reader", privs="VM.Audit")
    guest.root("PUT", "/access/acl", path="/vms", users="tofu@pve", roles="Reader")
    refused = guest.send("GET", INTERFACES, "tofu@pve")
    assert (refused.status, refused.reason) == (403, f"Permission check failed (/vms/131, {named})")
    guest.root("PUT", "/access/roles/Reader", privs=privilege, append=1)
    assert guest.send("GET", INTERFACES, "tofu@pve").status == 200
    lab.world.close()


def test_a_running_guest_moves_where_that_is_allowed(simulated: Simulated) -> None:
    guest = Booted(simulated)
    asleep = guest.send("POST", f"{GUEST}/migrate", target="node2")
    assert (asleep.status, asleep.reason) == (500, "can't migrate running VM without --online")
    assert guest.send("POST", f"{GUEST}/migrate", target="node1", online=1).status == 400
    assert guest.send("POST", f"{GUEST}/migrate", target="nowhere", online=1).status == 500
    guest.root("POST", f"{GUEST}/migrate", target="node2", online=1)
    assert guest.send("GET", f"{GUEST}/config").status == 500
    assert guest.root("GET", "/nodes/node2/qemu/131/status/current")["status"] == "running"


def test_a_local_disk_does_not_move(simulated: Simulated) -> None:
    meta = simulated.world.get("storage", "local") or {}
    simulated.world.put("storage", "local", meta | {"content": "images,iso"})
    guest = Booted(simulated, scsi1="local:1")
    upid = guest.root("POST", f"{GUEST}/migrate", target="node2", online=1)
    assert guest.root("GET", f"/nodes/node1/tasks/{upid}/status")["exitstatus"] == "migration aborted"
    assert guest.root("GET", f"{GUEST}/status/current")["status"] == "running"
