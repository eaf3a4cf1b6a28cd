"""Own reading rendered DNS files back into records, and the arithmetic of SOA serials (RFC 1982). Pure."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from lib.config.records_model import Record, address_of, is_within, place, pointer

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
                found.append(Record(_plain(name.to_text()), kind, ttl, data_of(kind, data)))
    return tuple(sorted(found, key=place))


def _plain(name: str) -> str:
    return name.removesuffix(".").lower()


def data_of(kind: str, data: object) -> tuple[str | int, ...]:
    """Return the data of one of dnspython's; of a SOA the serial."""
    if kind == "TXT":
        return (b"".join(data.strings).decode(errors="replace"),)  # type: ignore[attr-defined]
    words = data.to_text().split(" ")  # type: ignore[attr-defined]
    if kind == "SRV":
        return (*map(int, words[:3]), _plain(words[3]))
    if kind == "SOA":
        return (int(words[2]),)
    if kind in ("A", "AAAA"):
        return (str(ip_address(words[0])),)
    return (_plain(words[0]) if len(words) == 1 else " ".join(words),)


def from_dnsmasq(text: str) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Return the records in a dnsmasq file, sorted, and the lines of it that say something else than records.

    `host-record` makes a PTR, too, for an address that has none yet: one that lies in no zone
    that the file keeps local is no record of ours.
    """
    rows = [line.strip().partition("=") for line in text.split("\n") if line.strip() and not line.startswith("#")]
    zones = [value.strip("/") for key, _, value in rows if key == "local"]
    found: list[Record] = []
    implied: dict[str, Record] = {}
    other = []
    for key, sign, value in rows:
        try:
            one = _row(key, value)
        except ValueError:
            other.append(f"{key}{sign}{value}")
            continue
        found += [one] if one else []
        if key == "host-record" and one:
            back = pointer(ip_address(str(one.data[0])))
            implied.setdefault(back, Record(back, "PTR", one.ttl, (one.name,)))
    said = {one.name for one in found if one.type == "PTR"}
    found += [one for back, one in implied.items() if back not in said and any(is_within(back, zone) for zone in zones)]
    return tuple(sorted(found, key=place)), tuple(other)


def _row(key: str, value: str) -> Record | None:
    """Return the record of a line; None where it only says who answers. ValueError: it is no line as we write them."""
    if key in ("local", "server"):
        return None
    fields = value.split(",")
    if key == "host-record":
        name, address, *ttl = fields
        return Record(name, _kind(address), _ttl(ttl), (str(ip_address(address)),))
    if key == "cname":
        name, target, *ttl = fields
        return Record(name, "CNAME", _ttl(ttl), (target,))
    if key == "ptr-record":
        name, target = fields
        return Record(pointer(address_of(name)), "PTR", 0, (target,))
    if key == "srv-host":
        name, target, port, priority, weight = fields
        return Record(name, "SRV", 0, (int(priority), int(weight), int(port), target))
    if key == "address":
        name, address = value.strip("/").split("/")
        return Record(name, _kind(address), 0, (str(ip_address(address)),))
    if key == "txt-record":
        name, _, words = value.partition(",")
        pieces = [re.sub(r"\\(.)", r"\1", piece) for piece in QUOTED.findall(words)]
        return Record(name, "TXT", 0, ("".join(pieces),))
    raise ValueError(key)


def _ttl(rest: list[str]) -> int:
    if len(rest) > 1:
        raise ValueError(rest)  # more names than we write in one line
    return int(rest[0]) if rest else 0


def _kind(address: str) -> str:
    return "AAAA" if isinstance(ip_address(address), IPv6Address) else "A"
