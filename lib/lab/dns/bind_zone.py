"""Own how BIND reads a zone file: with dnspython, and with BIND's own rules on top.

$INCLUDE is followed in the simulated host's files, never on this machine.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field

import dns.exception
import dns.name
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tokenizer
import dns.transaction
import dns.zone
import dns.zonefile

from lib.lab.dns.answer import Rr
from lib.lab.dns.texts import Texts

DIRECTIVE = re.compile(r"(?im)^\$(INCLUDE|ORIGIN)[ \t]+([^\s;]+)(?:[ \t]+([^\s;]+))?[^\n]*\n?")
SINGLE = frozenset({dns.rdatatype.CNAME, dns.rdatatype.SOA, dns.rdatatype.DNAME})
DEEPEST = 10


class ZoneRefusedError(Exception):
    """A zone does not load; the text is what named-checkzone prints."""


@dataclass
class Zone:
    """A loaded zone: records by name (no dot at its end, lower case) and type, and every name that is there."""

    name: str
    serial: int = 0
    records: dict[str, dict[str, list[Rr]]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    @property
    def soa(self) -> Rr:
        """The zone's SOA as it is given beside a denial: with the TTL that denials have."""
        found = self.records[self.name]["SOA"][0]
        return Rr(found.name, min(found.ttl, int(found.data.rpartition(" ")[2])), "SOA", found.data)


def load(texts: Texts, name: str, path: str, folder: str = "") -> Zone:
    """Read a zone. Raises ZoneRefusedError where BIND would not serve it."""
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
        problems = list(_problems(zone, head))
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
        out += f"{text[done : match.start()]}$ORIGIN {inside}\n{inner}\n$ORIGIN {origin}\n"
        done = match.end()
    return out + text[done:]


def _parsed(text: str, name: str, path: str) -> dns.zone.Zone:
    zone = dns.zone.Zone(f"{name}.", relativize=False)
    with zone.writer(True) as transaction:
        transaction.check_put_rdataset(_like_bind)
        tokens = dns.tokenizer.Tokenizer(text, filename=path)
        dns.zonefile.Reader(tokens, dns.rdataclass.IN, transaction, allow_include=False).read()
    return zone


def _like_bind(transaction: dns.transaction.Transaction, name: dns.name.Name, rdataset: dns.rdataset.Rdataset) -> None:
    """Refuse what BIND refuses while it reads; a record takes the TTL of those read before it."""
    node = transaction.get_node(name)
    others = {each.rdtype for each in node or ()} | {rdataset.rdtype}
    if dns.rdatatype.CNAME in others and len(others) > 1:
        raise ValueError(f"{name.to_text(omit_final_dot=True)}: CNAME and other data")
    before = transaction.get(name, rdataset.rdtype, rdataset.covers)
    if before is None:
        return
    if rdataset.rdtype in SINGLE and set(before) != set(rdataset):
        raise ValueError(f"{name.to_text(omit_final_dot=True)}: multiple RRs of singleton type")
    rdataset.ttl = before.ttl


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
