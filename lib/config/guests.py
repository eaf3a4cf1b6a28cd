"""Own the view of guests that rules need: written and counted ones apart, each with its key, whatever else is wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import msgspec

from lib.config.model import Cluster, Machine, Machines, expand

Where = tuple[str | int, ...]
GROUPS = ("control_planes", "workers")


def group_of(cluster: Cluster, name: str) -> Machines:
    """Return the group of that name."""
    return cluster.control_planes if name == "control_planes" else cluster.workers


def written(group: Machines) -> Iterator[tuple[int, Machine]]:
    """Yield the machines that are written out, with their index."""
    return enumerate(group.machines)


def counted(group: Machines) -> tuple[Machine, ...]:
    """Return the machines that `count` adds; without an address where the first one is none."""
    try:
        ipaddress.IPv4Address(group.first_address)
        return expand(group)[len(group.machines) :]
    except ValueError:
        stand_in = expand(msgspec.structs.replace(group, machines=(), first_address="0.0.0.0"))
        return tuple(msgspec.structs.replace(machine, address="") for machine in stand_in)


def vmids(cluster: Cluster) -> Iterator[tuple[Where, int, str]]:
    """Yield every VMID that is ours: the key that it follows from, the VMID, and its guest's name."""
    base, golden = cluster.images.base, cluster.images.golden
    yield ("images", "base", "vmid"), base.vmid, base.name
    yield ("images", "golden", "vmid"), golden.vmid, golden.name
    for name in GROUPS:
        group = group_of(cluster, name)
        yield from (((name, "machines", i, "vmid"), machine.vmid, machine.name) for i, machine in written(group))
        if group.first_vmid:
            yield from (((name, "first_vmid"), machine.vmid, machine.name) for machine in counted(group))
