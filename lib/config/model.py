"""Own the shape of `cluster.toml`: frozen models, one class a table. Checks nothing but types."""

from __future__ import annotations

import ipaddress
from typing import Literal

import msgspec


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of cluster.toml; unknown keys are refused."""


class Host(Table, frozen=True, kw_only=True):
    """A Proxmox host: its node name in the cluster and its address."""

    name: str
    address: str


class Packer(Table, frozen=True, kw_only=True):
    """The user, role and token that Packer builds with."""

    user: str = "packer@pve"
    role: str = "GroundworkPacker"
    token: str = "build"
    token_days: int = 30
    token_refresh: Literal["always", "when-invalid"] = "always"


class Proxmox(Table, frozen=True, kw_only=True):
    """The Proxmox VE cluster: hosts, where guests' disks live, their bridge, and what marks them as ours."""

    hosts: tuple[Host, ...]
    storage: str
    bridge: str
    pool: str = "groundwork"
    tag: str = "groundwork"
    near_full_percent: int = 80
    max_clock_skew_seconds: int = 5


class ToolsStorage(Table, frozen=True, kw_only=True):
    """The RBD image that is mounted on one host and used as a directory storage for cloud images."""

    storage: str
    ceph_pool: str
    image: str
    size_gib: int
    host: str
    path: str


class Ranges(Table, frozen=True, kw_only=True):
    """Who lives where in the network: inclusive ranges, `first-last`."""

    infrastructure: str
    consoles: str
    hosts: str
    virtual_ip: str
    control_planes: str
    workers: str
    load_balancer: str
    reserved: str
    dhcp: str


class Network(Table, frozen=True, kw_only=True):
    """The network that hosts and guests share."""

    cidr: str
    gateway: str
    nameservers: tuple[str, ...]
    ranges: Ranges


class CloudImage(Table, frozen=True, kw_only=True):
    """The published image that everything is built from, pinned by digest."""

    url: str
    sha256: str
    release: str
    file: str = ""
    packages: tuple[str, ...] = ("qemu-guest-agent",)


class BaseTemplate(Table, frozen=True, kw_only=True):
    """The template made from the cloud image."""

    vmid: int
    name: str
    cores: int = 2
    memory_mib: int = 2048
    disk_gib: int = 8


class GoldenTemplate(Table, frozen=True, kw_only=True):
    """The template that Packer makes from the base template."""

    vmid: int
    name: str


class Images(Table, frozen=True, kw_only=True):
    """Images and templates, and the user in them."""

    user: str
    cloud: CloudImage
    base: BaseTemplate
    golden: GoldenTemplate


class Machine(Table, frozen=True, kw_only=True):
    """One guest, where it is written out; what is left out follows from the group."""

    name: str
    vmid: int
    address: str
    host: str = ""
    cores: int = 0
    memory_gib: int = 0
    disk_gib: int = 0


class Machines(Table, frozen=True, kw_only=True):
    """A group of like guests: by count from a first VMID and address, or each written out in `machines`."""

    cores: int
    memory_gib: int
    disk_gib: int
    count: int = 0
    name: str = ""
    first_vmid: int = 0
    first_address: str = ""
    machines: tuple[Machine, ...] = ()


class Kubernetes(Table, frozen=True, kw_only=True):
    """The Kubernetes cluster: version, endpoint and networks."""

    version: str
    virtual_ip: str
    endpoint: str
    aliases: tuple[str, ...] = ()
    pod_network: str
    service_network: str
    cilium: str
    kube_vip: str


class Dns(Table, frozen=True, kw_only=True):
    """The name server that gets our zones, and the domain they are in."""

    domain: str
    server: str
    backend: Literal["dnsmasq", "bind"]
    user: str = "root"
    file: str
    service: str
    ttl: int = 3600
    upstream: tuple[str, ...] = ()


class Service(Table, frozen=True, kw_only=True):
    """A platform service with an address of the load-balancer range and a DNS name."""

    address: str
    name: str


class Platform(Table, frozen=True, kw_only=True):
    """Platform services and where they answer."""

    services: dict[str, Service] = {}


class Cluster(Table, frozen=True, kw_only=True):
    """All of cluster.toml."""

    proxmox: Proxmox
    packer: Packer
    tools_storage: ToolsStorage
    network: Network
    images: Images
    control_planes: Machines
    workers: Machines
    kubernetes: Kubernetes
    dns: Dns
    platform: Platform

    def guests(self) -> tuple[Machine, ...]:
        """Return every guest of the Kubernetes cluster, counted groups written out, sizes filled in."""
        return expand(self.control_planes) + expand(self.workers)

    def host(self, name: str) -> Host:
        """Return the Proxmox host of that name."""
        return next(host for host in self.proxmox.hosts if host.name == name)


def expand(group: Machines) -> tuple[Machine, ...]:
    """Return the group's guests: written-out ones first, then those that `count` adds.

    A counted name is the group's name with `{n}` replaced by 1, 2, …
    """
    written = [
        msgspec.structs.replace(
            machine,
            cores=machine.cores or group.cores,
            memory_gib=machine.memory_gib or group.memory_gib,
            disk_gib=machine.disk_gib or group.disk_gib,
        )
        for machine in group.machines
    ]
    counted = [
        Machine(
            name=group.name.replace("{n}", str(index + 1)),
            vmid=group.first_vmid + index,
            address=str(ipaddress.ip_address(group.first_address) + index),
            cores=group.cores,
            memory_gib=group.memory_gib,
            disk_gib=group.disk_gib,
        )
        for index in range(group.count)
    ]
    return tuple(written + counted)
