"""Own how BIND reads a zone file: with dnspython, and with BIND's own rules on top.

$INCLUDE is followed in the simulated host's files, never on this machine.
"""

from __future__ import annotations

import bisect
import posixpath
import re
from collections.abc import Iterator
from typing import Any

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tokenizer
import dns.transaction
import dns.zone
import dns.zonefile
import msgspec

from lib.lab.dns.answer import Rr
from lib.lab.dns.texts import Texts

DIRECTIVE = re.compile(r"(?im)^\$(INCLUDE|ORIGIN)[ \t]+([^\s;]+)(?:[ \t]+([^\s;]+))?[^\n]*\n?")
SINGLE = frozenset({dns.rdatatype.CNAME, dns.rdatatype.SOA, dns.rdatatype.DNAME})
DEEPEST = 10
HOST = re.compile(r"(?!-)[a-z0-9-]+(?<!-)(?:\.(?!-)[a-z0-9-]+(?<!-))*", re.IGNORECASE)
BORDER = ";\v\n"  # a line between a file and what it includes


class ZoneRefusedError(Exception):
    """A zone does not load; the text is what named-checkzone prints."""


class Zone(msgspec.Struct):
    """A loaded zone: records by name (no dot at its end, lower case) and type, and every name that is there."""

    name: str
    serial: int = 0
    records: dict[str, dict[str, list[Rr]]] = {}
    names: set[str] = set()

    @property
    def soa(self) -> Rr:
        """The zone's SOA as it is given beside a denial: with the TTL that denials have."""
        found = self.records[self.name]["SOA"][0]
        return Rr(found.name, min(found.ttl, int(found.data.rpartition(" ")[2])), "SOA", found.data)


def load(texts: Texts, name: str, path: str, folder: str = "", strict: bool = True) -> Zone:
    """Read a zone; `strict` wants names of hosts where hosts are named, as BIND does (check-names primary fail).

    Raises:
        ZoneRefusedError: BIND would not serve it.
    """
    head = f"zone {name}/IN"
    try:
        text = _whole(texts, path, f"{name}.", folder, 0)
        found = _parsed(text, name, path)
    except OSError:
        told = "file not found"
    except (dns.exception.DNSException, ValueError) as error:
        where, _, words = str(error).rpartition(": ") if f"{path}:" in str(error) else (path, "", str(error))
        told = words
        head = f"dns_master_load: {where}: {words}\n{head}"
    else:
        zone = _zone(found, name)
        problems = [*_problems(zone, head), *(_no_hosts(zone, path) if strict else ())]
        if problems:
            raise ZoneRefusedError("\n".join([*problems, f"{head}: not loaded due to errors."]) + "\n")
        return zone
    last = f"zone {name}/IN: not loaded due to errors.\n"
    raise ZoneRefusedError(f"{head}: loading from master file {path} failed: {told}\n{last}")


def _whole(texts: Texts, path: str, origin: str, folder: str, depth: int) -> str:
    """Return a file's text with what it includes in its place; the origin before is the origin after."""
    if depth > DEEPEST:
        raise OSError(40, "Too many levels of includes", path)
    text, out, done = texts.read(path), "", 0
    for match in DIRECTIVE.finditer(text):
        word, first, second = match.groups()
        if word.upper() == "ORIGIN":
            origin = first if first.endswith(".") else f"{first}.{origin}"
            continue
        inside = second or origin
        inside = inside if inside.endswith(".") else f"{inside}.{origin}"
        inner = _whole(texts, posixpath.join(folder or "/", first.strip('"')), inside, folder, depth + 1)
        out += f"{text[done : match.start()]}{BORDER}$ORIGIN {inside}\n{inner}\n{BORDER}$ORIGIN {origin}\n"
        done = match.end()
    return out + text[done:]


def _parsed(text: str, name: str, path: str) -> dns.zone.Zone:
    zone = dns.zone.Zone(f"{name}.", relativize=False)
    with zone.writer(True) as transaction:
        tokens = dns.tokenizer.Tokenizer(text, filename=path)
        ordered = _Ordered(transaction, tokens, text)
        dns.zonefile.Reader(tokens, dns.rdataclass.IN, ordered, allow_include=False).read()  # type: ignore[arg-type]
    return zone


class _Ordered:
    """A transaction that puts records together as BIND does, and refuses what it refuses while it reads.

    Those of a name that stand together, in one file, are one set with the TTL of its first; a later set gives its TTL
    to those of an earlier one.
    """

    def __init__(self, transaction: dns.transaction.Transaction, tokens: dns.tokenizer.Tokenizer, text: str) -> None:
        self._transaction = transaction
        self._tokens = tokens
        self._borders = [number for number, line in enumerate(text.split("\n"), 1) if line == BORDER[:-1]]
        self._place: tuple[str, int] = ("", 0)
        self._ttls: dict[dns.rdatatype.RdataType, int] = {}  # of the sets that stand together
        transaction.check_put_rdataset(self._check)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    def add(self, name: dns.name.Name, ttl: int, record: dns.rdata.Rdata) -> None:
        """Take one record, as the reader comes to it."""
        place = name.to_text(), bisect.bisect_left(self._borders, self._tokens.where()[1])
        if place != self._place:
            self._place, self._ttls = place, {}
        self._ttls.setdefault(record.rdtype, ttl)
        self._transaction.add(name, ttl, record)

    def _check(
        self, transaction: dns.transaction.Transaction, name: dns.name.Name, rdataset: dns.rdataset.Rdataset
    ) -> None:
        if rdataset.rdtype == dns.rdatatype.DNAME:
            raise ValueError(f"{name.to_text(omit_final_dot=True)}: DNAME is not simulated by the lab")
        node = transaction.get_node(name)
        others = {each.rdtype for each in node or ()} | {rdataset.rdtype}
        if dns.rdatatype.CNAME in others and len(others) > 1:
            raise ValueError(f"{name.to_text(omit_final_dot=True)}: CNAME and other data")
        before = transaction.get(name, rdataset.rdtype, rdataset.covers)
        if before is not None and rdataset.rdtype in SINGLE and set(before) != set(rdataset):
            raise ValueError(f"{name.to_text(omit_final_dot=True)}: multiple RRs of singleton type")
        rdataset.ttl = self._ttls[rdataset.rdtype]


def _zone(found: dns.zone.Zone, name: str) -> Zone:
    zone = Zone(name)
    for owner, node in found.nodes.items():
        written = owner.to_text(omit_final_dot=True)
        at = written.lower()
        for rdataset in node.rdatasets:
            kind = dns.rdatatype.to_text(rdataset.rdtype)
            rows = [Rr(written, rdataset.ttl, kind, one.to_text()) for one in rdataset]
            zone.records.setdefault(at, {})[kind] = rows
        while at and at != name and at not in zone.names:
            zone.names.add(at)
            at = at.partition(".")[2]
    zone.names.add(name)
    for row in zone.records.get(name, {}).get("SOA", []):
        zone.serial = int(row.data.split()[2])
    return zone


def _problems(zone: Zone, head: str) -> list[str]:
    """Return what keeps a zone from being served although every line of it is right."""
    apex = zone.records.get(zone.name, {})
    told = [] if "SOA" in apex else [f"{head}: has 0 SOA records"]
    told += [] if "NS" in apex else [f"{head}: has no NS records"]
    for row in apex.get("NS", []):
        target = row.data.rstrip(".")
        inside = target.lower() == zone.name or target.lower().endswith(f".{zone.name}")
        if inside and not {"A", "AAAA"} & set(zone.records.get(target.lower(), {})):
            told.append(f"{head}: NS '{target}' has no address records (A or AAAA)")
    return told


def _no_hosts(zone: Zone, path: str) -> Iterator[str]:
    """Yield names that are no host's where a host is named."""
    for kinds in zone.records.values():
        for row in (row for rows in kinds.values() for row in rows):
            if row.type in ("A", "AAAA", "MX") and not HOST.fullmatch(row.name.removeprefix("*.")):
                yield f"{path}: {row.name}: bad owner name (check-names)"
            names = row.type in ("MX", "NS", "SRV") or (row.type == "PTR" and zone.name.endswith(".arpa"))
            target = row.data.split()[-1][:-1]
            if names and target and not HOST.fullmatch(target):
                yield f"{path}: {row.name}: {target}: bad name (check-names)"
