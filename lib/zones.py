"""Own the files that a name server gets: zones, or dnsmasq's file, rendered from the records.

The paths are below `dns/`. What a zone is not asked about (timers) is the template's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

import msgspec

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
from lib.facts.zones import is_newer, next_serial, serial_of
from lib.render import render

PLACES = ("dnsmasq.conf", "named.conf", "zones/*.zone")
MARK = "Written by `invoke dns.render`"  # in the first line of every file


def tracked_files(folder: Path) -> dict[str, str]:
    """Return what lies in dns/ where rendered files belong: path below it → text, line ends as they are."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().decode(errors="replace")
        for place in PLACES
        for path in sorted(folder.glob(place))
    }


class There(msgspec.Struct, frozen=True):
    """What a name server has: the text of each zone's file, and the serial that it answers with."""

    texts: Mapping[str, str] = {}
    serials: Mapping[str, int] = {}


def render_files(
    cluster: Cluster, records: Sequence[Record], tracked: Mapping[str, str], there: There | None = None
) -> dict[str, str]:
    """Return path → text of every file for the chosen back end.

    A zone keeps the serial of its tracked text, or of its text on the server, as long as it says the same.
    """
    zones = by_zone(cluster, records)
    if cluster.dns.backend == "dnsmasq":
        return {"dnsmasq.conf": _dnsmasq(cluster, records, list(zones))}
    texts = {
        zone: _current(cluster, zone, inside, tracked.get(_path(zone), ""), there or There())
        for zone, inside in zones.items()
    }
    named = [(zone, _place(cluster, zone, text)) for zone, text in texts.items()]
    own = render("dns-named.conf.j2", mark=MARK, file=cluster.dns.file, zones=named)
    return {"named.conf": own, **{_path(zone): text for zone, text in texts.items()}}


def _path(zone: str) -> str:
    return f"zones/{zone}.zone"


def zones_folder(cluster: Cluster) -> str:
    """Return the folder on the server that holds our zone files."""
    return cluster.dns.zones or f"{cluster.dns.file}.zones"


def _place(cluster: Cluster, zone: str, text: str) -> str:
    """Return where a zone's file is on the server.

    Its serial is a part of its name. So a new one never overwrites one that is in use, and all of
    them take effect with the one file that names them.
    """
    return f"{zones_folder(cluster)}/{zone}.{serial_of(text)}.zone"


def on_server(cluster: Cluster, files: Mapping[str, str]) -> dict[str, str]:
    """Return rendered files by their path on the server; the last one is `dns.file`, which puts all into effect."""
    zones = {path[6:-5]: text for path, text in files.items() if path.startswith("zones/")}
    placed = {_place(cluster, zone, text): text for zone, text in zones.items()}
    return placed | {cluster.dns.file: files.get("named.conf") or files["dnsmasq.conf"]}


def by_zone(cluster: Cluster, records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records by zone: the domain's first, then each reverse zone that has one."""
    networks = reverse_networks(cluster)
    zones: defaultdict[str, list[Record]] = defaultdict(list)
    zones[cluster.dns.domain] = []
    for record in records:
        reverse = reverse_zone(address_of(record.name), networks) if record.type == "PTR" else None
        zones[reverse or cluster.dns.domain].append(record)
    return dict(zones)


# --------------------------------------------------------------------- BIND


def _current(cluster: Cluster, zone: str, records: list[Record], tracked: str, there: There) -> str:
    """Render a zone with the serial that it has, or with the next one where what it says has changed.

    The next one is past the tracked one, past the one on the server, and past the one that is served.
    """
    deployed, served = there.texts.get(zone, ""), there.serials.get(zone)
    mine, theirs = serial_of(tracked), serial_of(deployed)
    on_server = theirs is not None and (mine is None or not is_newer(mine, theirs))
    serial = theirs if on_server else mine
    same = _zone(cluster, zone, records, serial or 1)
    kept = same == deployed if on_server else serial is None or _content(same) == _content(tracked)
    behind = served is not None and (serial is None or is_newer(served, serial) or (served == serial and not on_server))
    return same if kept and not behind else _zone(cluster, zone, records, next_serial(serial, served))


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
