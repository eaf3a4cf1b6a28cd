"""Own what must hold between records, and what the chosen back end cannot say. Reads no file and prints nothing.

A complaint stands at one record: where two do not go together, at the user's own one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, ip_address
from itertools import chain

from lib.config.model import Cluster
from lib.config.records_derived import Placed, Where
from lib.config.records_model import (
    address_of,
    is_wildcard,
    is_within,
    pointer,
    quoted,
    reverse_networks,
    reverse_zone,
    strings,
)

Complaint = tuple[bool, Where, str, str]  # whether it is about records.toml; path, problem, fix
LONGEST_LINE = 1023  # bytes that dnsmasq reads of a line
ALIASES = 8  # one after another: many resolvers follow no more, and RFC 1034 (3.6.2) advises against any


class Names:
    """The records by name, and what a name leads to."""

    def __init__(self, placed: Iterable[Placed], domain: str) -> None:
        self.domain = domain
        self.by_name: defaultdict[str, list[Placed]] = defaultdict(list)
        for one in placed:
            self.by_name[one.record.name].append(one)
        self.wildcards = {name for name in self.by_name if is_wildcard(name)}

    def types(self, name: str) -> set[str]:
        """Return the types of the records at exactly this name."""
        return {one.record.type for one in self.by_name.get(name, ())}

    def wildcard_of(self, name: str) -> str:
        """Return the wildcard that covers a name which is not there itself; "" where there is none."""
        labels = name.split(".")
        covering = (f"*.{'.'.join(labels[count:])}" for count in range(1, len(labels)))
        return next((star for star in covering if star in self.wildcards), "")

    def answers(self, name: str) -> set[str]:
        """Return the types that are answered for a name, by itself or by a wildcard."""
        return self.types(name) or self.types(self.wildcard_of(name))


def check(cluster: Cluster, placed: list[Placed], *, complete: bool) -> Iterator[Complaint]:
    """Yield every broken rule, of one key and rule the first alone.

    Where a record could not be read, and so is not here, nothing is said of what is missing.
    """
    names = Names(placed, cluster.dns.domain)
    told: set[tuple[bool, Where, str]] = set()
    broken = _all(cluster, placed, names)
    for one, key, problem, fix in chain(broken, _missing(cluster, placed, names) if complete else ()):
        where = one.at(key)
        rule = (one.own, where, problem.split(" (")[0])
        if rule not in told:
            told.add(rule)
            yield one.own, where, problem, fix


Found = tuple[Placed, str, str, str]


def _all(cluster: Cluster, placed: list[Placed], names: Names) -> Iterator[Found]:
    yield from _lengths(placed)
    yield from _twice(placed)
    yield from _ttls(names)
    yield from _pointers(names)
    yield from _aliases(names)
    yield from _targets(placed, names)
    yield from _circles(placed, names)
    yield from _wildcards(placed, names)
    yield from _dhcp(cluster, placed)
    if cluster.dns.backend == "dnsmasq":
        yield from _dnsmasq(placed)


def _missing(cluster: Cluster, placed: list[Placed], names: Names) -> Iterator[Found]:
    yield from _dangling(placed, names)
    if cluster.dns.backend == "dnsmasq":
        yield from _dnsmasq_missing(cluster, placed, names)


def _later(first: Placed, second: Placed) -> Placed:
    """Return the one to complain about: the user's own, else the later."""
    return first if first.own and not second.own else second


def _lengths(placed: list[Placed]) -> Iterator[Found]:
    """Yield derived names that are too long; the user's own were measured when they were made whole."""
    for one in placed:
        if len(one.record.name) > 253:
            problem = f"is longer than 253 characters with its domain (got {len(one.record.name)})"
            yield one, "name", problem, "shorten it, or dns.domain"


def _twice(placed: list[Placed]) -> Iterator[Found]:
    seen: dict[object, Placed] = {}
    for one in placed:
        same = one.record._replace(ttl=0)
        implied = one.record.type == "PTR" and one.where[0] != "ptr"  # the address that it goes with is told
        if same in seen and not implied:
            told = " ".join(str(part) for part in (one.record.name, one.record.type, *one.record.data))
            yield (
                _later(seen[same], one),
                "target" if one.record.type == "PTR" else "name",
                f"is there twice (got {told})",
                "",
            )
        seen.setdefault(same, one)


def _ttls(names: Names) -> Iterator[Found]:
    """Yield records whose TTL is not that of the others of their name and type (RFC 2181, 5.2)."""
    for group in names.by_name.values():
        first: dict[str, Placed] = {}
        for one in group:
            other = first.setdefault(one.record.type, one)
            if one.record.ttl != other.record.ttl and one.record.type not in ("PTR", "CNAME"):
                problem = f"is another TTL than that of the same name's other {one.record.type}"
                told = f"{problem} (got {one.record.ttl} and {other.record.ttl})"
                yield _later(other, one), "ttl", told, "a name has one TTL a type"


def _pointers(names: Names) -> Iterator[Found]:
    """Yield addresses that two names claim to be the name of."""
    for group in names.by_name.values():
        claims = [one for one in group if one.record.type == "PTR"]
        for one in claims[1:]:
            if one.record.data != claims[0].record.data:
                it, other = (one, claims[0]) if _later(claims[0], one) is one else (claims[0], one)
                address = address_of(one.record.name)
                problem = f"has two names that PTR could say (got {address}: {other.record.data[0]} is the other)"
                yield it, "address", problem, "an address has one PTR: ptr = false with all names but one"


def _aliases(names: Names) -> Iterator[Found]:
    """Yield CNAMEs that are not alone at their name (RFC 1034, 3.6.2)."""
    for name, group in names.by_name.items():
        if "CNAME" not in names.types(name):
            continue
        alias = next(one for one in group if one.record.type == "CNAME")
        if name == names.domain:
            yield (
                alias,
                "name",
                f"stands beside other data (got {name}, which has the zone's own)",
                "an A record instead",
            )
        for one in group:
            if one.record._replace(ttl=0) != alias.record._replace(ttl=0):
                it = alias if alias.own and one.record.type != "CNAME" else _later(alias, one)
                yield it, "name", f"stands beside other data (got {name})", "a CNAME is alone at its name"


def _leading(placed: list[Placed], names: Names) -> Iterator[tuple[Placed, str, str]]:
    """Yield the records that lead to a name of our zone, with their key that says so, and that name."""
    for one in placed:
        target = str(one.record.data[-1])
        if one.record.type in ("CNAME", "SRV", "PTR") and is_within(target, names.domain):
            yield one, "target", target


def _dangling(placed: list[Placed], names: Names) -> Iterator[Found]:
    for one, key, target in _leading(placed, names):
        if not names.answers(target):
            yield one, key, f"leads nowhere (got {target})", "end it with a dot if it has its domain already"


def _targets(placed: list[Placed], names: Names) -> Iterator[Found]:
    """Yield services and addresses whose name is no host's (RFC 2782)."""
    for one, key, target in _leading(placed, names):
        answers = names.answers(target)
        if one.record.type == "CNAME" or not answers or answers & {"A", "AAAA"}:
            continue
        what = "an alias" if "CNAME" in answers else "a name without an address"
        yield one, key, f"leads to {what} (got {target})", f"{one.record.type} names a host itself"


def _circles(placed: list[Placed], names: Names) -> Iterator[Found]:
    aliases = {one.record.name: str(one.record.data[0]) for one in placed if one.record.type == "CNAME"}
    for one in placed:
        if one.record.type != "CNAME":
            continue
        seen, name = {one.record.name}, str(one.record.data[0])
        while name and name not in seen:
            seen.add(name)
            name = aliases.get(name if name in names.by_name else names.wildcard_of(name), "")
        fix = "lead it to a name with an address"
        if name:
            yield one, "target", f"goes round in a circle (got {name})", fix
        elif len(seen) - 1 > ALIASES:
            yield one, "target", f"goes over too many aliases (got {len(seen) - 1}, want at most {ALIASES})", fix


def _wildcards(placed: list[Placed], names: Names) -> Iterator[Found]:
    """Yield names below a wildcard that it would answer otherwise.

    A name that is there itself is not covered by the wildcard any more, in no type and with all
    that lies below it, for BIND; for dnsmasq it is, in the types that it has not. Names that begin
    with an underscore are never looked up as hosts: there both agree.
    """
    for star in sorted(names.wildcards):
        parent = star[2:]
        wanted = _data(names, star)
        for one in placed:
            name = one.record.name
            if name in (star, parent) or not name.endswith(f".{parent}"):
                continue
            nearest = name[: -len(parent) - 1].rpartition(".")[2]
            data = _data(names, name)
            same = nearest == name[: -len(parent) - 1] and all(data.get(kind) == wanted[kind] for kind in wanted)
            if not nearest.startswith("_") and not same:
                owner = names.by_name[star][0]
                it = owner if owner.own and not one.own else one
                problem = f"is answered otherwise by the wildcard {star} (got {name})"
                yield it, "name", problem, "a name elsewhere, or the wildcard's own answer"


def _data(names: Names, name: str) -> dict[str, set[tuple[str | int, ...]]]:
    """Return the data at a name by type."""
    found: defaultdict[str, set[tuple[str | int, ...]]] = defaultdict(set)
    for one in names.by_name[name]:
        found[one.record.type].add(one.record.data)
    return found


def _dhcp(cluster: Cluster, placed: list[Placed]) -> Iterator[Found]:
    first, last = (IPv4Address(text.strip()) for text in cluster.network.ranges.dhcp.split("-"))
    for one in placed:
        kind = one.record.type
        if kind not in ("A", "PTR"):
            continue
        address = address_of(one.record.name) if kind == "PTR" else ip_address(str(one.record.data[0]))
        if isinstance(address, IPv4Address) and first <= address <= last:
            yield one, "address", f"is in the DHCP range (got {address})", f"outside {first}-{last}"


# ------------------------------------------------------------------ back end


def _dnsmasq(placed: list[Placed]) -> Iterator[Found]:
    """Yield what dnsmasq has no words for."""
    for one in placed:
        name, kind, _, data = one.record
        if is_wildcard(name) and kind not in ("A", "AAAA"):
            problem = f"cannot be said to dnsmasq (got a wildcard {kind})"
            yield one, "name", problem, "its wildcards have addresses alone"
        line = f"txt-record={name},{','.join(map(quoted, strings(str(data[0]))))}" if kind == "TXT" else ""
        if len(line.encode()) > LONGEST_LINE:
            problem = f"makes a line that dnsmasq would read as two (got {len(line.encode())} bytes)"
            yield one, "text", problem, f"its lines have at most {LONGEST_LINE}"


def _dnsmasq_missing(cluster: Cluster, placed: list[Placed], names: Names) -> Iterator[Found]:
    """Yield where dnsmasq would need a name that it does not know, or makes a PTR that is not wanted."""
    networks = reverse_networks(cluster)
    for one in placed:
        name, kind, _, data = one.record
        target = str(data[-1])
        known = names.types(target) or (is_within(target, names.domain) and not names.answers(target))
        if kind == "CNAME" and not known:
            problem = f"is nothing that dnsmasq can follow (got {target})"
            yield one, "target", problem, "a name that is written out here, or an A record instead"
        if kind in ("A", "AAAA") and not is_wildcard(name):
            address = ip_address(str(data[0]))
            if reverse_zone(address, networks) and pointer(address) not in names.by_name:
                problem = f"cannot be said to dnsmasq (got {address} without PTR)"
                yield one, "ptr", problem, "it makes one with every address"
