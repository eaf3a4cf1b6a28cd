"""Own the view of a group of guests that rules need: written and counted ones apart, whatever else is wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import msgspec

from lib.config.model import Cluster, Machine, Machines, expand

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
