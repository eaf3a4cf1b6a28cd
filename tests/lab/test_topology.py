"""The bare cluster that a lab begins with."""

from __future__ import annotations

import msgspec

from lib.config.addresses import users
from lib.lab.topology import hosts_of
from tests.lab.simulated import CLUSTER


def test_further_hosts_take_nobodys_name_or_address() -> None:
    swapped = msgspec.structs.replace(CLUSTER.proxmox, hosts=CLUSTER.proxmox.hosts[::-1])
    for proxmox in (CLUSTER.proxmox, swapped):
        cluster = msgspec.structs.replace(CLUSTER, proxmox=proxmox)
        hosts = hosts_of(cluster, 40)
        assert len({host.name for host in hosts}) == 40
        further = {host.address for host in hosts[len(proxmox.hosts) :]}
        assert len(further) == 36
        assert not further & {cluster.network.gateway, *(address for _, address, _, _ in users(cluster))}
