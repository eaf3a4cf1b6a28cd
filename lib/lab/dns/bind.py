"""Own how BIND answers from the zones that it has loaded (RFC 1034 4.3.2, RFC 4592)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lib.lab.dns.answer import Answer, Rr
from lib.lab.dns.bind_zone import Zone

Outside = Callable[[str, str], Answer]
MOST_ALIASES = 12  # one after the other: 9.18 begins a question anew 11 times (max-query-restarts), then gives up


class Bind:
    """The zones that are served; one that was never loaded is None. `outside` answers for others, if it recurses."""

    def __init__(self, zones: Mapping[str, Zone | None], outside: Outside | None) -> None:
        self._zones = zones
        self._outside = outside

    def answer(self, name: str, kind: str) -> Answer:
        """Answer one question; `name` is in lower case, without a dot at its end."""
        chain: list[Rr] = []
        first = self._closest(name)
        while True:
            found = self._looked_up(name, kind)
            alias = found.records[0] if found.records and found.records[0].type == "CNAME" else None
            if alias is None or kind in ("CNAME", "ANY"):
                break
            chain += found.records
            if len(chain) == MOST_ALIASES:  # they lead too far, or round in a circle
                return Answer("SERVFAIL", tuple(chain), authoritative=True)
            name = alias.data.rstrip(".").lower()
            zone = self._closest(name)
            if zone is not None and self._zones[zone] is None:
                return Answer("SERVFAIL")
            if self._outside is None and zone != first:  # only a resolver goes on in another zone
                return Answer(records=tuple(chain), authoritative=True)
        authoritative = bool(chain) or found.authoritative
        return Answer(found.rcode, (*chain, *found.records), found.authority, found.additional, authoritative)

    def _looked_up(self, name: str, kind: str) -> Answer:
        zone_name = self._closest(name)
        if zone_name is None:
            return self._outside(name, kind) if self._outside else Answer("REFUSED")
        zone = self._zones[zone_name]
        if zone is None:
            return Answer("SERVFAIL")
        return _from_zone(zone, name, kind)

    def _closest(self, name: str) -> str | None:
        labels = name.split(".")
        names = (".".join(labels[at:]) for at in range(len(labels)))
        return next((each for each in names if each in self._zones), None)


def _from_zone(zone: Zone, name: str, kind: str) -> Answer:
    below = name.removesuffix(zone.name).rstrip(".").split(".") if name != zone.name else []
    for at in range(len(below) - 1, -1, -1):
        cut = ".".join([*below[at:], zone.name])
        if "NS" in zone.records.get(cut, {}) and not (cut == name and kind == "DS"):
            return Answer(authority=tuple(zone.records[cut]["NS"]))
    node = zone.records.get(name)
    if node is None and name not in zone.names:
        encloser = name
        while encloser not in zone.names:
            encloser = encloser.partition(".")[2]
        star = f"*.{encloser}"
        if star not in zone.names:
            return Answer("NXDOMAIN", authority=(zone.soa,), authoritative=True)
        wild = zone.records.get(star, {})
        node = {each: [Rr(name, row.ttl, row.type, row.data) for row in rows] for each, rows in wild.items()}
    node = node or {}
    everything = [row for each in node.values() for row in each]
    rows = everything if kind == "ANY" else node.get(kind) or node.get("CNAME", [])
    if not rows:
        return Answer(authority=(zone.soa,), authoritative=True)
    return Answer(records=tuple(rows), authoritative=True)
