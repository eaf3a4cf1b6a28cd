"""Own reading rendered DNS files back into records, and the arithmetic of SOA serials (RFC 1982). Pure."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from lib.config.records_model import Record, is_within, place, pointer

HALF = 1 << 31
SERIAL = re.compile(r"^ +(\d+) ; serial$", re.MULTILINE)
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


# ------------------------------------------------------------------ serials


def serial_of(zone: str) -> int | None:
    """Return the serial in the text of a zone that we rendered; None where there is none."""
    found = SERIAL.search(zone)
    return int(found[1]) % (2 * HALF) if found else None


def is_newer(serial: int, other: int) -> bool:
    """Tell whether a secondary that has `other` would take `serial` (RFC 1982, 3.2)."""
    return 0 < (serial - other) % (2 * HALF) < HALF


def next_serial(tracked: int | None, served: int | None = None) -> int:
    """Return the serial of changed content: past the tracked one, and past one that is served already.

    It counts and knows no date, so that rendering twice gives the same. 0 is left out: to some
    programs it means that there is none.
    """
    last = served if tracked is None or (served is not None and not is_newer(tracked, served)) else tracked
    return 1 if last is None else (last + 1) % (2 * HALF) or 1


# -------------------------------------------------------------------- files


def from_bind(texts: dict[str, str]) -> tuple[Record, ...]:
    """Return the records in zone files (zone → text), sorted; SOA and NS are no records of ours.

    Raises:
        dns.exception.DNSException: a text is no zone; `$INCLUDE` is refused.
    """
    import dns.zone  # what renders has no need of it

    found = []
    for origin, text in texts.items():
        zone = dns.zone.from_text(text, origin=f"{origin}.", relativize=False, allow_include=False)
        for name, ttl, data in zone.iterate_rdatas():
            kind = data.rdtype.name
            if kind not in ("SOA", "NS"):
                found.append(Record(_plain(name.to_text()), kind, ttl, _bind_data(kind, data)))
    return tuple(sorted(found, key=place))


def _plain(name: str) -> str:
    return name.removesuffix(".").lower()


def _bind_data(kind: str, data: object) -> tuple[str | int, ...]:
    """Return the data of one of dnspython's."""
    if kind == "TXT":
        return (b"".join(data.strings).decode(),)  # type: ignore[attr-defined]
    words = data.to_text().split(" ")  # type: ignore[attr-defined]
    if kind == "SRV":
        return (*map(int, words[:3]), _plain(words[3]))
    return (str(ip_address(words[0])) if kind in ("A", "AAAA") else _plain(words[0]),)


def from_dnsmasq(text: str) -> tuple[Record, ...]:
    """Return the records in a dnsmasq file, sorted.

    `host-record` makes a PTR, too, for an address that has none yet: one that lies in no zone
    that the file keeps local is no record of ours.
    """
    rows = [(key, value) for key, _, value in (line.partition("=") for line in text.split("\n")) if value]
    zones = [value.strip("/") for key, value in rows if key == "local"]
    found: list[Record] = []
    implied: dict[str, Record] = {}
    for key, value in rows:
        fields = [] if key == "txt-record" else value.split(",")
        if key == "host-record":
            name, address, ttl = fields
            found.append(Record(name, _kind(address), int(ttl), (str(ip_address(address)),)))
            back = pointer(ip_address(address))
            implied.setdefault(back, Record(back, "PTR", int(ttl), (name,)))
        elif key == "cname":
            found.append(Record(fields[0], "CNAME", int(fields[2]), (fields[1],)))
        elif key == "ptr-record":
            found.append(Record(fields[0], "PTR", 0, (fields[1],)))
        elif key == "srv-host":
            name, target, port, priority, weight = fields
            found.append(Record(name, "SRV", 0, (int(priority), int(weight), int(port), target)))
        elif key == "address":
            name, address = value.strip("/").split("/")
            found.append(Record(name, _kind(address), 0, (str(ip_address(address)),)))
        elif key == "txt-record":
            name, _, words = value.partition(",")
            pieces = [re.sub(r"\\(.)", r"\1", piece) for piece in QUOTED.findall(words)]
            found.append(Record(name, "TXT", 0, ("".join(pieces),)))
    said = {one.name for one in found if one.type == "PTR"}
    found += [one for back, one in implied.items() if back not in said and any(is_within(back, zone) for zone in zones)]
    return tuple(sorted(found, key=place))


def _kind(address: str) -> str:
    return "AAAA" if isinstance(ip_address(address), IPv6Address) else "A"
