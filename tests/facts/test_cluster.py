"""What is read out of the cluster's own collections."""

from __future__ import annotations

from typing import Any

from lib.facts.cluster import fixed_addresses, guests, memory, storages

NODES = [{"type": "node", "node": name, "maxmem": 64 << 30} for name in ("a", "b")]
GUEST = {"type": "qemu", "vmid": 9002, "node": "a", "name": "base", "tags": "groundwork", "template": 1}
STORAGE = {"type": "storage", "storage": "rbd", "node": "a", "status": "available", "maxdisk": 10, "disk": 1}
ROWS: list[dict[str, Any]] = [*NODES, GUEST, STORAGE]


def test_fixed_addresses_of_machines_and_containers() -> None:
    config = {
        "ipconfig0": "ip=10.0.0.5/24,gw=10.0.0.1",
        "ipconfig1": "ip=dhcp",
        "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=10.0.0.6/24,type=veth",
        "net1": "name=eth1,bridge=vmbr0,ip=manual",
        "net2": "virtio=BC:24:11:00:00:02,bridge=vmbr0",
        "network": "ip=10.0.0.7/24",
        "memory": 2048,
    }
    assert fixed_addresses(config) == ("10.0.0.5", "10.0.0.6")


def test_an_entry_that_is_listed_twice_counts_once() -> None:
    twice = ROWS + ROWS
    assert memory(twice) == memory(ROWS) == 128 << 30
    assert guests(twice) == guests(ROWS)
    assert [guest.vmid for guest in guests(twice)] == [9002]
    assert storages(twice, "rbd") == storages(ROWS, "rbd")
