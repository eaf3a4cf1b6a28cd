"""Own what must hold of addresses, ranges and networks in cluster.toml. Asks no network anything."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, ip_network

from lib.config.guests import GROUPS, counted, group_of, written
from lib.config.model import Cluster

Where = tuple[str | int, ...]
Found = tuple[Where, str, str]
Span = tuple[IPv4Address, IPv4Address]
NAME_SERVER = "the name server"


def addresses(cluster: Cluster) -> Iterator[Found]:
    """Yield every broken rule; an address that is none is said once and left out of the rest."""
    yield from _forms(cluster)
    yield from _name_server(cluster)
    yield from _ranges(cluster)
    yield from _owners(cluster)
    yield from _networks(cluster)


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None


def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text)
    except ValueError:
        return None


def _span(text: str) -> Span | None:
    first, _, last = text.partition("-")
    begin, end = _address(first.strip()), _address(last.strip())
    return (begin, end) if begin is not None and end is not None else None


def _spans(cluster: Cluster) -> dict[str, Span]:
    """Return the ranges that can be read and do not end before they begin."""
    ranges = cluster.network.ranges
    spans = {name: _span(getattr(ranges, name)) for name in ranges.__struct_fields__}
    return {name: span for name, span in spans.items() if span is not None and span[0] <= span[1]}


# -------------------------------------------------------------------- forms


def _forms(cluster: Cluster) -> Iterator[Found]:
    for where, text in _texts(cluster):
        if _address(text) is None:
            yield where, f"is no IPv4 address (got {text!r})", "for example 192.168.0.10"
    for where, text in _network_texts(cluster):
        try:
            IPv4Network(text)
        except ValueError as error:
            yield where, f"is no network (got {text!r}: {error})", "for example 192.168.0.0/24"
        else:
            if not text.partition("/")[2].isdigit():  # a netmask, or a single address
                yield where, f"is no network (got {text!r}: no length of its prefix)", "for example 192.168.0.0/24"
    if not cluster.network.nameservers:
        yield ("network", "nameservers"), "names no name server", "what guests and hosts ask"
    ranges = cluster.network.ranges
    for name in ranges.__struct_fields__:
        text = getattr(ranges, name)
        span = _span(text)
        if span is None:
            yield ("network", "ranges", name), f"is no range (got {text!r})", "first-last"
        elif span[0] > span[1]:
            yield ("network", "ranges", name), f"ends before it begins (got {text})", "first-last"


def _name_server(cluster: Cluster) -> Iterator[Found]:
    for index, text in enumerate(cluster.dns.reverse):
        try:
            ip_network(text)
        except ValueError as error:
            yield ("dns", "reverse", index), f"is no network (got {text!r}: {error})", "for example fd00:10::/64"
    for index, text in enumerate(cluster.dns.upstream):
        if text == cluster.dns.server:
            yield ("dns", "upstream", index), f"is the name server itself (got {text})", "it would ask itself"


def _texts(cluster: Cluster) -> Iterator[tuple[Where, str]]:
    yield from ((("proxmox", "hosts", i, "address"), host.address) for i, host in enumerate(cluster.proxmox.hosts))
    yield ("network", "gateway"), cluster.network.gateway
    yield from ((("network", "nameservers", i), text) for i, text in enumerate(cluster.network.nameservers))
    yield ("kubernetes", "virtual_ip"), cluster.kubernetes.virtual_ip
    yield ("dns", "server"), cluster.dns.server
    yield from ((("dns", "upstream", i), text) for i, text in enumerate(cluster.dns.upstream))
    for name in GROUPS:
        group = group_of(cluster, name)
        if group.first_address:  # that it is missing beside count is another rule's
            yield (name, "first_address"), group.first_address
        yield from (((name, "machines", i, "address"), machine.address) for i, machine in written(group))
    for key, service in cluster.platform.services.items():
        yield ("platform", "services", key, "address"), service.address


def _network_texts(cluster: Cluster) -> tuple[tuple[Where, str], ...]:
    return (
        (("network", "cidr"), cluster.network.cidr),
        (("kubernetes", "pod_network"), cluster.kubernetes.pod_network),
        (("kubernetes", "service_network"), cluster.kubernetes.service_network),
    )


# ------------------------------------------------------------------- places


def _ranges(cluster: Cluster) -> Iterator[Found]:
    network = _network(cluster.network.cidr)
    before: list[tuple[str, Span]] = []
    for name, (first, last) in _spans(cluster).items():
        where = ("network", "ranges", name)
        if network is not None and not (first in network and last in network):
            yield where, f"is outside the network {network} (got {first}-{last})", "or mend network.cidr"
        for other, (begins, ends) in before:
            if first <= ends and begins <= last:
                yield where, f"overlaps with {other} ({begins}-{ends})", "ranges must not overlap"
        before.append((name, (first, last)))


def _owners(cluster: Cluster) -> Iterator[Found]:
    """Yield addresses outside the network, in the wrong range, or there twice."""
    network, spans = _network(cluster.network.cidr), _spans(cluster)
    gateway = _address(cluster.network.gateway)
    if gateway is not None and network is not None:
        yield from _inside(("network", "gateway"), gateway, network, "the gateway")
    taken = {gateway: "the gateway"}
    for text in (*cluster.network.nameservers, cluster.dns.server):
        taken.setdefault(_address(text), NAME_SERVER)
    for where, text, who, home in users(cluster):
        address = _address(text)
        if address is None:
            continue
        outside = list(_inside(where, address, network, who)) if network is not None else []
        yield from outside or _at_home(where, address, who, home, spans)
        serves = home == "hosts" and taken.get(address) == NAME_SERVER  # a host may be the name server as well
        if address in taken and not serves:
            yield where, f"is there twice (got {address} for {who} and {taken[address]})", "an address has one owner"
        taken[address] = who


def _inside(where: Where, address: IPv4Address, network: IPv4Network, who: str) -> Iterator[Found]:
    if address not in network:
        yield where, f"is outside the network {network} (got {address} for {who})", "or mend network.cidr"
    elif network.prefixlen < 31 and address in (network.network_address, network.broadcast_address):
        yield where, f"is the network's own address (got {address} for {who})", f"neither first nor last of {network}"


def _at_home(where: Where, address: IPv4Address, who: str, home: str, spans: dict[str, Span]) -> Iterator[Found]:
    dhcp, own = spans.get("dhcp"), spans.get(home)
    choose = f"one of network.ranges.{home}" + (f", {own[0]}-{own[1]}" if own else "")
    if dhcp and dhcp[0] <= address <= dhcp[1]:
        yield where, f"is in the DHCP range (got {address} for {who})", choose
    elif own and not own[0] <= address <= own[1]:
        yield where, f"is outside network.ranges.{home} (got {address} for {who})", choose


def users(cluster: Cluster) -> Iterator[tuple[Where, str, str, str]]:
    """Yield every address that somebody of ours has: the key that it follows from, the address, whose, its range."""
    for i, host in enumerate(cluster.proxmox.hosts):
        yield ("proxmox", "hosts", i, "address"), host.address, host.name, "hosts"
    yield ("kubernetes", "virtual_ip"), cluster.kubernetes.virtual_ip, cluster.kubernetes.endpoint, "virtual_ip"
    for name in GROUPS:
        group = group_of(cluster, name)
        for i, machine in written(group):
            yield (name, "machines", i, "address"), machine.address, machine.name, name
        for machine in counted(group):
            yield (name, "first_address"), machine.address, machine.name, name
    for key, service in cluster.platform.services.items():
        yield ("platform", "services", key, "address"), service.address, service.name, "load_balancer"


def _networks(cluster: Cluster) -> Iterator[Found]:
    before: list[tuple[Where, IPv4Network]] = []
    for where, text in _network_texts(cluster):
        network = _network(text)
        if network is None:
            continue
        for other, earlier in before:
            if network.overlaps(earlier):
                problem = f"overlaps with {'.'.join(map(str, other))} ({earlier})"
                yield where, problem, "hosts, pods and services need networks of their own"
        before.append((where, network))
