"""Own the one record model, and the shape of `dns/records.toml`: frozen models, one class a table."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, NamedTuple

from msgspec import Meta

from lib.config.model import Cluster, Table

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Ttl = Annotated[int, Meta(ge=0, le=604800)]
Word = Annotated[int, Meta(ge=0, le=65535)]


class Record(NamedTuple):
    """A resource record. Names are whole, in lower case, without the last dot; non-ASCII ones are IDNA-encoded.

    `ttl` is in seconds, 0 where the back end has none. `data` is: A, AAAA (address); PTR, CNAME (name);
    TXT (text); SRV (priority, weight, port, name).
    """

    name: str
    type: str
    ttl: int
    data: tuple[str | int, ...]


class OwnA(Table, frozen=True, kw_only=True):
    """A name and an IPv4 address of it."""

    name: str
    address: str
    ttl: Ttl = 0
    ptr: bool = True


class OwnAaaa(OwnA, frozen=True, kw_only=True):
    """A name and an IPv6 address of it."""


class OwnCname(Table, frozen=True, kw_only=True):
    """A further name of another name."""

    name: str
    target: str
    ttl: Ttl = 0


class OwnTxt(Table, frozen=True, kw_only=True):
    """A name and a text."""

    name: str
    text: str
    ttl: Ttl = 0


class OwnSrv(Table, frozen=True, kw_only=True):
    """A service and a host that gives it."""

    name: str
    target: str
    port: Annotated[int, Meta(ge=1, le=65535)]
    priority: Word = 0
    weight: Word = 0
    ttl: Ttl = 0


class OwnPtr(Table, frozen=True, kw_only=True):
    """An address and its name, where no name of ours has that address."""

    address: str
    target: str
    ttl: Ttl = 0


class Own(Table, frozen=True, kw_only=True):
    """All of dns/records.toml."""

    a: tuple[OwnA, ...] = ()
    aaaa: tuple[OwnAaaa, ...] = ()
    cname: tuple[OwnCname, ...] = ()
    txt: tuple[OwnTxt, ...] = ()
    srv: tuple[OwnSrv, ...] = ()
    ptr: tuple[OwnPtr, ...] = ()


def is_wildcard(name: str) -> bool:
    """Tell whether the name stands for all below another."""
    return name.startswith("*.")


def is_within(name: str, zone: str) -> bool:
    """Tell whether the name is the zone's own or lies below it."""
    return name == zone or name.endswith(f".{zone}")


def keeps_ttl(cluster: Cluster, kind: str, name: str) -> bool:
    """Tell whether the chosen back end gives such a record a TTL; dnsmasq does so with host-record and cname alone."""
    return cluster.dns.backend == "bind" or (kind in ("A", "AAAA", "CNAME") and not is_wildcard(name))


# ---------------------------------------------------------- character strings


def strings(text: str) -> list[str]:
    """Return a text in the pieces that a TXT record has room for: at most 255 bytes each, no character cut."""
    pieces, piece, size = [], "", 0
    for character in text:
        more = len(character.encode())
        if size + more > 255:
            pieces.append(piece)
            piece, size = "", 0
        piece, size = piece + character, size + more
    return [*pieces, piece]


def quoted(text: str) -> str:
    """Return a text in quotes, as zone files and dnsmasq take it alike; it has no control characters."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# ------------------------------------------------------------ reverse names


def pointer(address: Ip) -> str:
    """Return the name that an address is looked up by."""
    return address.reverse_pointer


def address_of(name: str) -> Ip:
    """Return the address that such a name looks up."""
    labels = name.split(".")[:-2][::-1]
    if name.endswith(".in-addr.arpa"):
        return IPv4Address(".".join(labels))
    return IPv6Address(int("".join(labels), 16))


def reverse_networks(cluster: Cluster) -> tuple[Network, ...]:
    """Return the networks whose reverse names are ours."""
    return tuple(ip_network(text) for text in (cluster.network.cidr, *cluster.dns.reverse))


def reverse_zone(address: Ip, networks: tuple[Network, ...]) -> str | None:
    """Return the zone for an address's reverse name; None where the address is in no network of ours.

    A zone ends where a label does: at the first such place at or after the end of the network's
    prefix. So none of them answers for an address that is not ours.
    """
    prefixes = [one.prefixlen for one in networks if one.version == address.version and address in one]
    if not prefixes:
        return None
    bits = 8 if address.version == 4 else 4
    labels = max(1, -(-max(prefixes) // bits))
    return ".".join(pointer(address).split(".")[-labels - 2 :])


def place(record: Record) -> tuple[object, ...]:
    """Return what records are sorted by, so that a rendering is the same whatever order they came in."""
    if record.type == "PTR":
        return (1, address_of(record.name).version, int(address_of(record.name)), record.data)
    return (0, record.name.split(".")[::-1], record.type, record.data)
