"""Own the files that a name server gets: zones, or dnsmasq's file, rendered from the records. No I/O.

The paths are below `dns/`. What a zone is not asked about (timers) is the template's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

from lib.config.model import Cluster
from lib.config.records_model import (
    Record,
    address_of,
    is_wildcard,
    pointer,
    quoted,
    reverse_networks,
    reverse_zone,
    strings,
)
from lib.facts.zones import next_serial, serial_of
from lib.render import render

MARK = "Written by `invoke dns.render`"  # in the first line of every file


def render_files(cluster: Cluster, records: Sequence[Record], tracked: Mapping[str, str]) -> dict[str, str]:
    """Return path → text of every file for the chosen back end.

    A zone keeps the serial of its tracked text as long as it says the same.
    """
    zones = _by_zone(cluster, records)
    if cluster.dns.backend == "dnsmasq":
        return {"dnsmasq.conf": _dnsmasq(cluster, records, list(zones))}
    folder = cluster.dns.zones or f"{cluster.dns.file}.zones"
    files = {"named.conf": render("dns-named.conf.j2", mark=MARK, file=cluster.dns.file, folder=folder, zones=zones)}
    for zone, inside in zones.items():
        path = f"zones/{zone}.zone"
        files[path] = _current(cluster, zone, inside, tracked.get(path, ""))
    return files


def _by_zone(cluster: Cluster, records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records by zone: the domain's first, then each reverse zone that has one."""
    networks = reverse_networks(cluster)
    zones: defaultdict[str, list[Record]] = defaultdict(list)
    zones[cluster.dns.domain] = []
    for record in records:
        reverse = reverse_zone(address_of(record.name), networks) if record.type == "PTR" else None
        zones[reverse or cluster.dns.domain].append(record)
    return dict(zones)


# --------------------------------------------------------------------- BIND


def _current(cluster: Cluster, zone: str, records: list[Record], tracked: str) -> str:
    serial = serial_of(tracked)
    same = _zone(cluster, zone, records, serial or 1)
    if serial is None or _content(same) == _content(tracked):
        return same
    return _zone(cluster, zone, records, next_serial(serial))


def _content(zone: str) -> list[str]:
    """Return what a zone file says, without the comments between its lines."""
    return [line for line in zone.split("\n") if not line.startswith(";")]


def _zone(cluster: Cluster, zone: str, records: list[Record], serial: int) -> str:
    dns = cluster.dns
    user, _, host = (dns.contact or f"hostmaster@{dns.domain}").partition("@")
    user = user.replace(".", r"\.")
    return render(
        "dns-zone.j2",
        mark=MARK,
        zone=zone,
        ttl=dns.ttl,
        nameserver=f"{dns.nameserver}.{dns.domain}.",
        contact=f"{user}.{host}.",
        serial=serial,
        records=[
            (_below(one.name, zone), "" if one.ttl == dns.ttl else one.ttl, one.type, _data(one)) for one in records
        ],
    )


def _below(name: str, zone: str) -> str:
    return "@" if name == zone else name.removesuffix(f".{zone}")


def _data(record: Record) -> str:
    if record.type == "TXT":
        return " ".join(_escaped(piece) for piece in strings(str(record.data[0])))
    if record.type in ("A", "AAAA"):
        return str(record.data[0])
    return " ".join(str(part) for part in record.data) + "."


def _escaped(piece: str) -> str:
    r"""Return a character string in quotes, bytes beyond ASCII as \DDD (RFC 1035, 5.1)."""
    return "".join(
        character if character.isascii() else "".join(f"\\{byte:03}" for byte in character.encode())
        for character in quoted(piece)
    )


# ------------------------------------------------------------------ dnsmasq


def _dnsmasq(cluster: Cluster, records: Sequence[Record], zones: list[str]) -> str:
    """Render dnsmasq's file.

    The first host-record of an address is its PTR as well, so names that are no PTR come after.
    """
    of = defaultdict(list)
    pointers = {record.name: record for record in records if record.type == "PTR"}
    implied = set()
    for record in records:
        if record.type in ("A", "AAAA") and not is_wildcard(record.name):
            back = pointers.get(pointer(ip_address(str(record.data[0]))))
            first = back is not None and back.data == (record.name,) and back.ttl == record.ttl
            of["hosts" if first else "more"].append(record)
            if first and back is not None:
                implied.add(back.name)
        elif record.type != "PTR":
            of["wildcards" if is_wildcard(record.name) else record.type].append(record)
    return render(
        "dns-dnsmasq.conf.j2",
        mark=MARK,
        file=cluster.dns.file,
        zones=zones,
        upstream=cluster.dns.upstream,
        hosts=of["hosts"],
        more=of["more"],
        aliases=of["CNAME"],
        services=of["SRV"],
        texts=[(one.name, [quoted(piece) for piece in strings(str(one.data[0]))]) for one in of["TXT"]],
        pointers=[one for one in pointers.values() if one.name not in implied],
        wildcards=of["wildcards"],
    )
