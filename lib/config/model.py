"""Own the shape of `cluster.toml`: frozen models, one class a table. Checks nothing but types and bounds."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Percent = Annotated[int, Meta(ge=1, le=100)]
Gib = Annotated[int, Meta(ge=1, le=65536)]
Cores = Annotated[int, Meta(ge=1, le=512)]
# Forms that rules.py checks, with words of its own; here they are told to editors.
Address = Annotated[str, Meta(extra_json_schema={"format": "ipv4"})]
Subnet = Annotated[str, Meta(extra_json_schema={"pattern": r"^\d+(\.\d+){3}/\d+$"})]
Range = Annotated[str, Meta(extra_json_schema={"pattern": r"^\d+(\.\d+){3} *- *\d+(\.\d+){3}$"})]
Sha256 = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9a-f]{64}$"})]
Vmid = Annotated[int, Meta(extra_json_schema={"minimum": 100, "maximum": 999999999, "not": {"const": 9999}})]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of cluster.toml; unknown keys are refused."""


class Host(Table, frozen=True, kw_only=True):
    """A Proxmox host: its node name in the cluster and its address."""

    name: str
    address: Address


class Packer(Table, frozen=True, kw_only=True):
    """The user, role and token that Packer builds with."""

    user: str = "packer@pve"
    role: str = "GroundworkPacker"
    token: str = "build"
    token_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    token_refresh: Literal["always", "when-invalid"] = "always"


class Proxmox(Table, frozen=True, kw_only=True):
    """The Proxmox VE cluster: hosts, where guests' disks live, their bridge, and what marks them as ours."""

    hosts: tuple[Host, ...]
    storage: str
    bridge: str
    pool: str = "groundwork"
    tag: str = "groundwork"
    near_full_percent: Percent = 80
    max_clock_skew_seconds: Annotated[int, Meta(ge=1, le=3600)] = 5


class ToolsStorage(Table, frozen=True, kw_only=True):
    """The RBD image that is mounted on one host and used as a directory storage for cloud images."""

    storage: str
    ceph_pool: str
    image: str
    size_gib: Annotated[int, Meta(ge=4, le=65536)]
    host: str
    path: str


class Ranges(Table, frozen=True, kw_only=True):
    """Who lives where in the network: inclusive ranges, `first-last`."""

    infrastructure: Range
    consoles: Range
    hosts: Range
    virtual_ip: Range
    control_planes: Range
    workers: Range
    load_balancer: Range
    reserved: Range
    dhcp: Range


class Network(Table, frozen=True, kw_only=True):
    """The network that hosts and guests share."""

    cidr: Subnet
    gateway: Address
    nameservers: tuple[Address, ...]
    ranges: Ranges


class CloudImage(Table, frozen=True, kw_only=True):
    """The published image that everything is built from, pinned by digest."""

    url: str
    sha256: Sha256
    release: str
    file: str = ""
    packages: tuple[str, ...] = ("qemu-guest-agent",)


class BaseTemplate(Table, frozen=True, kw_only=True):
    """The template made from the cloud image."""

    vmid: Vmid
    name: str
    cores: Cores = 2
    memory_mib: Annotated[int, Meta(ge=512, le=4194304)] = 2048
    disk_gib: Annotated[int, Meta(ge=4, le=65536)] = 8


class GoldenTemplate(Table, frozen=True, kw_only=True):
    """The template that Packer makes from the base template."""

    vmid: Vmid
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
    vmid: Vmid
    address: Address
    host: str = ""
    cores: Annotated[int, Meta(ge=0, le=512)] = 0
    memory_gib: Annotated[int, Meta(ge=0, le=65536)] = 0
    disk_gib: Annotated[int, Meta(ge=0, le=65536)] = 0


class Machines(Table, frozen=True, kw_only=True):
    """A group of like guests: by count from a first VMID and address, or each written out in `machines`."""

    cores: Cores
    memory_gib: Gib
    disk_gib: Gib
    count: Annotated[int, Meta(ge=0, le=1000)] = 0
    name: str = ""
    first_vmid: Vmid = 0
    first_address: Address = ""
    machines: tuple[Machine, ...] = ()


class Kubernetes(Table, frozen=True, kw_only=True):
    """The Kubernetes cluster: version, endpoint and networks."""

    version: str
    virtual_ip: Address
    endpoint: str
    aliases: tuple[str, ...] = ()
    pod_network: Subnet
    service_network: Subnet
    cilium: str
    kube_vip: str


class Dns(Table, frozen=True, kw_only=True):
    """The name server that gets our zones, and the domain they are in."""

    domain: str
    server: Address
    backend: Literal["dnsmasq", "bind"]
    user: str = "root"
    sudo: bool = False
    config: str = ""
    file: str
    service: str
    rollback_after: Annotated[int, Meta(ge=1, le=3600)] = 120
    ttl: Annotated[int, Meta(ge=1, le=604800)] = 3600
    upstream: tuple[Address, ...] = ()
    reverse: tuple[str, ...] = ()
    nameserver: str = "ns"
    contact: str = ""
    zones: str = ""


class Service(Table, frozen=True, kw_only=True):
    """A platform service with an address of the load-balancer range and a DNS name."""

    address: Address
    name: str
    wildcard: str = ""


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
