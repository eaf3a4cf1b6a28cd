"""Own what else on a name server speaks for our names: files of dnsmasq, zones of BIND, its own resolver. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from ipaddress import ip_address

import msgspec

from lib.config.records_model import Record, is_wildcard, is_within, pointer
from lib.facts.dnsmasq_files import HOSTS, Read

STUB = "127.0.0.53"  # systemd-resolved listens there, and asks whatever it is told to
ZONE = re.compile(r'^\s*zone "', re.MULTILINE)
FILE = re.compile(r'^\s*file "([^"]+)"', re.MULTILINE)
NAMED = (
    *("txt-record", "srv-host", "mx-host", "interface-name", "naptr-record", "caa-record", "ptr-record"),
    *("dynamic-host", "dns-rr", "auth-zone"),
)
WHOM = ("server", "local")  # who is asked for what is not written out
Said = tuple[str, str, tuple[str | int, ...]]  # name, type, data


class Claim(msgspec.Struct, frozen=True):
    """A place that answers for one of our names, and whether it says just what we say."""

    place: str
    line: str
    name: str
    same: bool

    def __str__(self) -> str:
        return f"{self.place} answers for {self.name} ({self.line})"


# ------------------------------------------------------------------ dnsmasq


def in_dnsmasq(read: Read, own: str, records: Iterable[Record]) -> Iterator[Claim]:
    """Yield what other files than `own` say of our names."""
    ours = {(one.name, one.type, one.data) for one in records}
    names = {name for name, _, _ in ours}
    stars = [name for name in names if is_wildcard(name)]
    domains = [value for value in read.values("domain") if "," not in value] if read.values("expand-hosts") else []
    rows = [(path, line, _hosts_line(line, domains[-1:])) for path, line in read.hosts]
    rows += [(one.path, one.line, _said(one.key, one.value)) for one in read.settings if one.path != own]
    for path, line, said in rows:
        for name, kind, data in said:
            hit = _answers_for(name, kind, names, stars)
            same = (name, kind, data) in ours
            # what a host calls itself is no other answer as long as it is the same one
            if hit and not (path == HOSTS and same):
                yield Claim(path, line, hit, same)
                break


def _answers_for(name: str, kind: str, names: Set[str], stars: Sequence[str]) -> str:
    """Return which of our names that is: itself, the wildcard that it lies below, or one that lies in its zone."""
    if kind == "auth-zone":
        return min((each for each in names if is_within(each, name)), default="")
    if name in names:
        return "" if kind in WHOM else name  # what is written out is never asked of others
    return next((star for star in stars if name.endswith(star[1:])), "")


def _hosts_line(line: str, domain: list[str]) -> Iterator[Said]:
    """Yield addresses alone: dnsmasq prefers other PTR to those of such a file."""
    address, *names = [*line.partition("#")[0].split(), ""]
    whole = [f"{name}.{each}" for name in names for each in domain if name and "." not in name]
    yield from (said for said in _host([*names[:-1], *whole], [address]) if said[1] != "PTR")


def _said(key: str, value: str) -> Iterator[Said]:
    """Yield name, type and data of what one line of dnsmasq's answers; data is () where it is never ours."""
    fields = [field.strip() for field in value.split(",")]
    if key == "host-record":
        addresses = [field for field in fields if _is_address(field)]
        yield from _host([field for field in fields if field not in addresses and not field.isdigit()], addresses)
    elif key == "cname":
        *names, target = fields[:-1] if fields[-1].isdigit() else fields
        for name in names:
            yield _plain(name), "CNAME", (_plain(target),)
    elif key == "address":
        *domains, address = value.split("/")
        for name in map(_plain, domains[1:]):
            yield f"*.{name.removeprefix('*.')}", "A", (address,)
            yield name, "A", ()
    elif key in WHOM:
        yield from ((_plain(name), key, ()) for name in value.split("/")[1:-1])
    elif key in NAMED:
        yield _plain(fields[0]), key, ()


def _host(names: list[str], addresses: list[str]) -> Iterator[Said]:
    for address in filter(_is_address, addresses):
        plain = str(ip_address(address))
        for name in names:
            yield _plain(name), "AAAA" if ":" in plain else "A", (plain,)
        if names:
            yield pointer(ip_address(address)), "PTR", (_plain(names[0]),)


def _plain(name: str) -> str:
    return name.strip().strip(".").lower()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


# --------------------------------------------------------------------- BIND


def in_bind(printed: str, folder: str, zones: Iterable[str], records: Iterable[Record]) -> Iterator[Claim]:
    """Yield zones of the configuration that `named-checkconf -p` printed which take names out of our zones.

    `folder` has our zone files: a zone that is called like one of ours and has its file elsewhere is somebody else's.
    """
    ours = frozenset(zones)
    names = [record.name for record in records]
    for zone, file in zone_files(printed):
        if not any(is_within(zone, each) for each in ours) or file.startswith(f"{folder}/{zone}."):
            continue
        hit = zone if zone in ours else next((name for name in names if is_within(name, zone)), "")
        if hit:
            place = f'zone "{zone}" of the server\'s own configuration'
            yield Claim(place, f'file "{file}"' if file else "without a file", hit, same=False)


def zone_files(text: str) -> Iterator[tuple[str, str]]:
    """Yield each zone of a configuration, and its file ("" where it has none)."""
    for block in ZONE.split(text)[1:]:
        zone, _, body = block.partition('"')
        file = FILE.search(body)
        yield zone.removesuffix(".").lower(), file[1] if file else ""


# ----------------------------------------------------------------- resolver


def is_loop(resolv: str, own: str) -> bool:
    """Tell whether a server at `own` asks itself by way of 127.0.0.53; from `grep -H nameserver` of both files.

    /etc/resolv.conf says whom the server asks, /run/systemd/resolve/resolv.conf whom systemd-resolved asks then.
    """
    asks = _nameservers(resolv, "/etc/resolv.conf")
    behind = _nameservers(resolv, "/run/systemd/resolve/resolv.conf")
    return STUB in asks and bool(behind & {own, "127.0.0.1", "::1", STUB})


def asks_stub(resolv: str) -> bool:
    """Tell whether /etc/resolv.conf names systemd-resolved's own address."""
    return STUB in _nameservers(resolv, "/etc/resolv.conf")


def _nameservers(printed: str, path: str) -> set[str]:
    words = [line.split() for file, _, line in (row.partition(":") for row in printed.splitlines()) if file == path]
    return {word[1] for word in words if len(word) > 1 and word[0] == "nameserver"}
