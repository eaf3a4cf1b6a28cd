"""What is read out of the cluster's own collections."""

from __future__ import annotations

from lib.facts.cluster import fixed_addresses


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
