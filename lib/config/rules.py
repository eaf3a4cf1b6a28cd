"""Own what must hold between the keys of cluster.toml. Reads no file and prints nothing."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from lib.config.model import Cluster, Machines, expand

Where = tuple[str | int, ...]
Found = tuple[Where, str, str]
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
STORAGE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]")
USER = re.compile(r"[^\s:/@!]+@[A-Za-z][A-Za-z0-9._-]+")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CSI_VMID = 9999


def check(cluster: Cluster) -> Iterator[Found]:
    """Yield (path of the key, problem, fix) for every rule that is broken."""
    yield from _forms(cluster)
    addresses = list(_address_forms(cluster))
    yield from addresses
    yield from _groups(cluster)
    yield from _vmids(cluster)
    if not addresses:
        yield from _ranges(cluster)
        yield from _uses(cluster)
        yield from _networks(cluster)


# -------------------------------------------------------------------- forms


def _forms(cluster: Cluster) -> Iterator[Found]:
    proxmox, tools, cloud = cluster.proxmox, cluster.tools_storage, cluster.images.cloud
    hosts = [host.name for host in proxmox.hosts]
    if not hosts:
        yield ("proxmox", "hosts"), "names no host", "one [[proxmox.hosts]] table a host"
    for index, name in enumerate(hosts):
        if not LABEL.fullmatch(name.lower()):
            yield ("proxmox", "hosts", index, "name"), f"is no DNS label (got {name!r})", "letters, digits and -"
        if name in hosts[:index]:
            yield ("proxmox", "hosts", index, "name"), f"is there twice ({name})", "give each host its own name"
    yield from _words(cluster)
    if tools.host not in hosts:
        yield ("tools_storage", "host"), f"is none of the hosts (got {tools.host})", f"one of {', '.join(hosts)}"
    if not re.fullmatch(r"/[A-Za-z0-9._/-]+", tools.path) or tools.path.endswith("/"):
        yield ("tools_storage", "path"), f"is no absolute path (got {tools.path!r})", "for example /mnt/rbd-iso"
    if not re.fullmatch(r"https?://[^\s/]+/\S+", cloud.url):
        yield ("images", "cloud", "url"), f"is no http(s) address (got {cloud.url!r})", ""
    if not re.fullmatch(r"[0-9a-f]{64}", cloud.sha256):
        yield (
            ("images", "cloud", "sha256"),
            "is no SHA-256 (64 hexadecimal digits)",
            "take it from the release's SHA256SUMS",
        )
    yield from _names(cluster)
    yield from _sizes(cluster)


def _words(cluster: Cluster) -> Iterator[Found]:
    """Yield ids and names that Proxmox or Ceph would not take."""
    proxmox, tools = cluster.proxmox, cluster.tools_storage
    for where, value in (
        (("proxmox", "storage"), proxmox.storage),
        (("tools_storage", "storage"), tools.storage),
    ):
        if not STORAGE.fullmatch(value):
            yield where, f"is no storage id (got {value!r})", "a letter, then letters, digits, - _ ."
    if proxmox.storage == tools.storage:
        yield (
            ("tools_storage", "storage"),
            "is the guests' storage too",
            "an rbd storage takes no images: use another id",
        )
    for where, value in (
        (("proxmox", "bridge"), proxmox.bridge),
        (("proxmox", "pool"), proxmox.pool),
        (("proxmox", "tag"), proxmox.tag),
        (("packer", "role"), cluster.packer.role),
        (("packer", "token"), cluster.packer.token),
        (("tools_storage", "image"), tools.image),
        (("tools_storage", "ceph_pool"), tools.ceph_pool),
    ):
        if not WORD.fullmatch(value):
            yield where, f"has characters that are not allowed (got {value!r})", "letters, digits, - _ ."
    if cluster.packer.role.lower().startswith("pve"):
        yield ("packer", "role"), "starts with PVE, which is reserved", "choose another name"
    if not USER.fullmatch(cluster.packer.user):
        yield ("packer", "user"), f"is no user (got {cluster.packer.user!r})", "name@realm, for example packer@pve"


def _names(cluster: Cluster) -> Iterator[Found]:
    images = cluster.images
    named: list[tuple[Where, str]] = [
        (("images", "base", "name"), images.base.name),
        (("images", "golden", "name"), images.golden.name),
        *((("control_planes", "name"), m.name) for m in expand_safely(cluster.control_planes)),
        *((("workers", "name"), m.name) for m in expand_safely(cluster.workers)),
        (("kubernetes", "endpoint"), cluster.kubernetes.endpoint),
        *((("kubernetes", "aliases", i), name) for i, name in enumerate(cluster.kubernetes.aliases)),
    ]
    seen: set[str] = set()
    for where, name in named:
        if not LABEL.fullmatch(name):
            yield where, f"is no DNS label (got {name!r})", "lower-case letters, digits and -, at most 63"
        if name in seen:
            yield where, f"is there twice ({name})", "names are unique; a counted name needs {n}"
        seen.add(name)
    for where, name in [
        (("dns", "domain"), cluster.dns.domain),
        *((("platform", "services", key, "name"), service.name) for key, service in cluster.platform.services.items()),
    ]:
        if not all(LABEL.fullmatch(part) for part in name.split(".")):
            yield where, f"is no DNS name (got {name!r})", "labels of lower-case letters, digits and -"


def _sizes(cluster: Cluster) -> Iterator[Found]:
    base, packer = cluster.images.base, cluster.packer
    for where, value, least, most in (
        (("tools_storage", "size_gib"), cluster.tools_storage.size_gib, 4, 65536),
        (("packer", "token_days"), packer.token_days, 1, 3650),
        (("proxmox", "near_full_percent"), cluster.proxmox.near_full_percent, 1, 100),
        (("proxmox", "max_clock_skew_seconds"), cluster.proxmox.max_clock_skew_seconds, 1, 3600),
        (("images", "base", "cores"), base.cores, 1, 512),
        (("images", "base", "memory_mib"), base.memory_mib, 512, 4194304),
        (("images", "base", "disk_gib"), base.disk_gib, 4, 65536),
        (("dns", "ttl"), cluster.dns.ttl, 1, 604800),
        *(
            (("control_planes", key), getattr(cluster.control_planes, key), 1, 65536)
            for key in ("cores", "memory_gib", "disk_gib")
        ),
        *((("workers", key), getattr(cluster.workers, key), 1, 65536) for key in ("cores", "memory_gib", "disk_gib")),
    ):
        if not least <= value <= most:
            yield where, f"is out of range (got {value}, want {least} to {most})", ""


# ---------------------------------------------------------------- addresses


def _address_keys(cluster: Cluster) -> Iterator[tuple[Where, str]]:
    yield from ((("proxmox", "hosts", i, "address"), host.address) for i, host in enumerate(cluster.proxmox.hosts))
    yield ("network", "gateway"), cluster.network.gateway
    yield from ((("network", "nameservers", i), address) for i, address in enumerate(cluster.network.nameservers))
    yield ("kubernetes", "virtual_ip"), cluster.kubernetes.virtual_ip
    yield ("dns", "server"), cluster.dns.server
    for group in ("control_planes", "workers"):
        machines: Machines = getattr(cluster, group)
        if machines.count:
            yield (group, "first_address"), machines.first_address
        yield from (((group, "machines", i, "address"), m.address) for i, m in enumerate(machines.machines))
    yield from ((("platform", "services", key, "address"), s.address) for key, s in cluster.platform.services.items())


def _address_forms(cluster: Cluster) -> Iterator[Found]:
    for where, text in _address_keys(cluster):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            yield where, f"is no IPv4 address (got {text!r})", ""
    for where, text in (
        (("network", "cidr"), cluster.network.cidr),
        (("kubernetes", "pod_network"), cluster.kubernetes.pod_network),
        (("kubernetes", "service_network"), cluster.kubernetes.service_network),
    ):
        try:
            ipaddress.IPv4Network(text)
        except ValueError as error:
            yield where, f"is no network (got {text!r}: {error})", "for example 10.10.1.0/24"
    for name, text in _range_texts(cluster):
        try:
            first, last = _range(text)
        except ValueError:
            yield (
                ("network", "ranges", name),
                f"is no range (got {text!r})",
                "first-last, for example 10.10.1.40-10.10.1.49",
            )
            continue
        if first > last:
            yield ("network", "ranges", name), f"ends before it begins (got {text})", "first-last"


def _range_texts(cluster: Cluster) -> list[tuple[str, str]]:
    ranges: Any = cluster.network.ranges
    return [(name, getattr(ranges, name)) for name in ranges.__struct_fields__]


def _range(text: str) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
    first, _, last = text.partition("-")
    return ipaddress.IPv4Address(first.strip()), ipaddress.IPv4Address(last.strip())


def _ranges(cluster: Cluster) -> Iterator[Found]:
    network = ipaddress.IPv4Network(cluster.network.cidr)
    ranges = [(name, *_range(text)) for name, text in _range_texts(cluster)]
    for index, (name, first, last) in enumerate(ranges):
        if first not in network or last not in network:
            yield ("network", "ranges", name), f"is outside the network {network} (got {first}-{last})", ""
        for other, begins, ends in ranges[:index]:
            if first <= ends and begins <= last:
                yield ("network", "ranges", name), f"overlaps with {other} ({begins}-{ends})", "ranges must not overlap"


def _uses(cluster: Cluster) -> Iterator[Found]:
    """Yield addresses outside the network, in the wrong range, or there twice."""
    network = ipaddress.IPv4Network(cluster.network.cidr)
    ranges = {name: _range(text) for name, text in _range_texts(cluster)}
    if ipaddress.IPv4Address(cluster.network.gateway) not in network:
        yield ("network", "gateway"), f"is outside the network {network} (got {cluster.network.gateway})", ""
    seen: dict[str, str] = {}
    for where, text, who, home in _users(cluster):
        address = ipaddress.IPv4Address(text)
        if address not in network:
            yield where, f"is outside the network {network} (got {address} for {who})", ""
        elif ranges["dhcp"][0] <= address <= ranges["dhcp"][1]:
            yield where, f"is in the DHCP range (got {address} for {who})", f"choose one of network.ranges.{home}"
        elif not ranges[home][0] <= address <= ranges[home][1]:
            yield (
                where,
                f"is outside network.ranges.{home} (got {address} for {who})",
                f"choose one of {'-'.join(map(str, ranges[home]))}",
            )
        if text in seen:
            yield where, f"is there twice (got {text} for {who} and {seen[text]})", "an address has one owner"
        seen[text] = who


def _users(cluster: Cluster) -> Iterator[tuple[Where, str, str, str]]:
    for i, host in enumerate(cluster.proxmox.hosts):
        yield ("proxmox", "hosts", i, "address"), host.address, host.name, "hosts"
    yield ("kubernetes", "virtual_ip"), cluster.kubernetes.virtual_ip, cluster.kubernetes.endpoint, "virtual_ip"
    for group in ("control_planes", "workers"):
        machines: Machines = getattr(cluster, group)
        for i, machine in enumerate(expand_safely(machines)):
            written = i < len(machines.machines)
            where: Where = (group, "machines", i, "address") if written else (group, "first_address")
            yield where, machine.address, machine.name, group
    for key, service in cluster.platform.services.items():
        yield ("platform", "services", key, "address"), service.address, service.name, "load_balancer"


def _networks(cluster: Cluster) -> Iterator[Found]:
    named: list[tuple[Where, ipaddress.IPv4Network]] = [
        (("network", "cidr"), ipaddress.IPv4Network(cluster.network.cidr)),
        (("kubernetes", "pod_network"), ipaddress.IPv4Network(cluster.kubernetes.pod_network)),
        (("kubernetes", "service_network"), ipaddress.IPv4Network(cluster.kubernetes.service_network)),
    ]
    for index, (where, network) in enumerate(named):
        for other, before in named[:index]:
            if network.overlaps(before):
                yield (
                    where,
                    f"overlaps with {'.'.join(map(str, other))} ({before})",
                    "hosts, pods and services need networks of their own",
                )


# ------------------------------------------------------------------- groups


def expand_safely(group: Machines) -> tuple[Any, ...]:
    """Return the group's machines, or the written ones alone where the first address is none."""
    try:
        return expand(group)
    except ValueError:
        return group.machines


def _groups(cluster: Cluster) -> Iterator[Found]:
    for name in ("control_planes", "workers"):
        group: Machines = getattr(cluster, name)
        if group.count < 0:
            yield (name, "count"), f"is negative (got {group.count})", ""
        if group.count > 0:
            for key in ("name", "first_vmid", "first_address"):
                if not getattr(group, key):
                    yield (name, key), "is missing beside count", "or write each machine out in `machines`"
        for i, machine in enumerate(group.machines):
            hosts = [host.name for host in cluster.proxmox.hosts]
            if machine.host and machine.host not in hosts:
                yield (
                    (name, "machines", i, "host"),
                    f"is none of the hosts (got {machine.host})",
                    f"one of {', '.join(hosts)}",
                )
    planes = cluster.control_planes.count + len(cluster.control_planes.machines)
    if planes % 2 == 0:
        yield (
            ("control_planes", "count"),
            f"makes an even number of control planes (got {planes})",
            "1, 3 or 5: etcd needs a majority",
        )


def _vmids(cluster: Cluster) -> Iterator[Found]:
    images = cluster.images
    used: list[tuple[Where, int, str]] = [
        (("images", "base", "vmid"), images.base.vmid, images.base.name),
        (("images", "golden", "vmid"), images.golden.vmid, images.golden.name),
    ]
    for group in ("control_planes", "workers"):
        machines: Machines = getattr(cluster, group)
        for i, machine in enumerate(expand_safely(machines)):
            written = i < len(machines.machines)
            where: Where = (group, "machines", i, "vmid") if written else (group, "first_vmid")
            used.append((where, machine.vmid, machine.name))
    seen: dict[int, str] = {}
    for where, vmid, who in used:
        if not 100 <= vmid <= 999_999_999:
            yield where, f"is no VMID (got {vmid} for {who})", "100 to 999999999"
        if vmid == CSI_VMID:
            yield where, f"is {CSI_VMID} ({who}), which Proxmox CSI names its volumes with", "choose another VMID"
        if vmid in seen:
            yield where, f"is there twice (got {vmid} for {who} and {seen[vmid]})", "a VMID has one owner"
        seen[vmid] = who
