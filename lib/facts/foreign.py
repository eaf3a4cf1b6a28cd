"""Own what else on a name server speaks for our names: files of dnsmasq, zones of BIND, its own resolver. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from ipaddress import ip_address

from lib.config.records_model import Record, is_within, pointer

STUB = "127.0.0.53"  # systemd-resolved listens there, and asks whatever it is told to
ZONE = re.compile(r'^\s*zone "', re.MULTILINE)
FILE = re.compile(r'^\s*file "([^"]+)"', re.MULTILINE)
NAMED = ("txt-record", "srv-host", "mx-host", "interface-name", "naptr-record", "caa-record", "ptr-record")


@dataclass(frozen=True)
class Claim:
    """A place that answers for one of our names, and whether it says just what we say."""

    place: str
    line: str
    name: str
    same: bool

    def __str__(self) -> str:
        return f"{self.place} answers for {self.name} ({self.line})"


def lines(printed: str) -> Iterator[tuple[str, str]]:
    """Yield file and line of what `grep -H` printed; a file's name has no colon."""
    for row in printed.splitlines():
        path, _, line = row.partition(":")
        yield path, line.strip()


# ------------------------------------------------------------------ dnsmasq


def in_dnsmasq(printed: str, own: str, hosts: str, records: Iterable[Record]) -> Iterator[Claim]:
    """Yield what other files than `own` say of our names; `hosts` is written as /etc/hosts is.

    dnsmasq leaves out files that begin with a dot, end in ~, or are between two #.
    """
    ours = {(one.name, one.type, one.data) for one in records}
    names = {name for name, _, _ in ours}
    for path, line in lines(printed):
        base = path.rpartition("/")[2]
        if path == own or not line or line.startswith("#") or base.startswith(".") or base.endswith(("~", "#")):
            continue
        said = _hosts_line(line) if path == hosts else _setting(*line.split("#")[0].strip().partition("=")[::2])
        for name, kind, data in said:
            hit = _answers_for(name, names)
            same = (name, kind, data) in ours
            # what a host calls itself is no other answer as long as it is the same one
            if hit and not (path == hosts and same):
                yield Claim(path, line, hit, same)
                break


def _answers_for(name: str, names: Set[str]) -> str:
    """Return which of our names that is: itself, or the wildcard that it lies below."""
    if name in names:
        return name
    stars = (star for star in names if star.startswith("*.") and name.endswith(star[1:]))
    return next(stars, "")


def _hosts_line(line: str) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    address, *names = line.partition("#")[0].split()
    return _host(names, [address])


def _setting(key: str, value: str) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    """Yield name, type and data of what one line of dnsmasq's answers; data is () where it is never ours."""
    fields = [field.strip() for field in value.split(",")]
    if key == "host-record":
        addresses = [field for field in fields if _is_address(field)]
        yield from _host([field for field in fields if field not in addresses and not field.isdigit()], addresses)
    elif key == "cname":
        *names, target = fields[:-1] if fields[-1].isdigit() else fields
        for name in names:
            yield name.lower(), "CNAME", (target.lower(),)
    elif key == "address":
        *domains, address = value.strip("/").split("/")
        for name in domains:
            yield f"*.{name.lower().removeprefix('*.')}", "A", (address,)
            yield name.lower(), "A", ()
    elif key in NAMED:
        yield fields[0].lower(), key, ()


def _host(names: list[str], addresses: list[str]) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    for address in filter(_is_address, addresses):
        plain = str(ip_address(address))
        for name in names:
            yield name.lower(), "AAAA" if ":" in plain else "A", (plain,)
        if names:
            yield pointer(ip_address(address)), "PTR", (names[0].lower(),)


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
    words = [line.split() for file, line in lines(printed) if file == path]
    return {word[1] for word in words if len(word) > 1 and word[0] == "nameserver"}


def reads_resolv(printed: str) -> bool:
    """Tell whether dnsmasq's files leave it to /etc/resolv.conf whom it asks."""
    settings = {line.partition("=")[0].strip() for _, line in lines(printed)}
    return not settings & {"no-resolv", "resolv-file"}
