"""Own which records there are: those that follow from cluster.toml, and the user's own with their names made whole.

Checks of a name or address only what must hold to write it down; what must hold between records: records_rules.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from lib.config.guests import GROUPS, counted, group_of, written
from lib.config.model import Cluster
from lib.config.records_model import (
    Own,
    OwnA,
    OwnSrv,
    OwnTxt,
    Record,
    is_wildcard,
    is_within,
    keeps_ttl,
    pointer,
    reverse_networks,
    reverse_zone,
)

Where = tuple[str | int, ...]
Found = tuple[Where, str, str]
API_PORT = 6443  # kubeadm's own
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
HOST_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
SERVICE = re.compile(r"_[a-z0-9-]+\._(tcp|udp|sctp|dccp)\..+")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
LONGEST_TEXT = 4096  # bytes; an answer has to fit into one message


class Placed(msgspec.Struct, frozen=True):
    """A record and where it comes from: a table of records.toml, or a key of cluster.toml."""

    record: Record
    where: Where
    own: bool

    def at(self, key: str) -> Where:
        """Return the path of a key of the table; what was derived comes from one key."""
        return (*self.where, key) if self.own else self.where


class BadNameError(ValueError):
    """A name that cannot be written down; its arguments are problem and fix."""


# ------------------------------------------------------------------ derived


def derived(cluster: Cluster) -> Iterator[Placed]:
    """Yield what follows from cluster.toml: A and PTR for each address, aliases as CNAME, SRV, wildcards."""
    kubernetes, domain = cluster.kubernetes, cluster.dns.domain
    endpoint = f"{kubernetes.endpoint}.{domain}"
    for where, name, address in _hosts(cluster):
        yield from _host(cluster, where, f"{name}.{domain}", address)
    for index, alias in enumerate(kubernetes.aliases):
        record = _record(cluster, f"{alias}.{domain}", "CNAME", (endpoint,))
        yield Placed(record, ("kubernetes", "aliases", index), False)
    service = _record(cluster, f"_kubernetes._tcp.{domain}", "SRV", (0, 0, API_PORT, endpoint))
    yield Placed(service, ("kubernetes", "endpoint"), False)
    for key, each in cluster.platform.services.items():
        if each.wildcard:
            record = _record(cluster, f"{each.wildcard}.{domain}", "A", (each.address,))
            yield Placed(record, ("platform", "services", key, "wildcard"), False)


def name_server(cluster: Cluster, others: list[Placed]) -> list[Placed]:
    """Return the address of the server's own name, which BIND's zones need, where no other record says it."""
    name = f"{cluster.dns.nameserver}.{cluster.dns.domain}"
    known = any(one.record.name == name and one.record.type in ("A", "AAAA") for one in others)
    if cluster.dns.backend != "bind" or known:
        return []
    pointed = {one.record.name for one in others if one.record.type == "PTR"}
    found = _host(cluster, ("dns", "nameserver"), name, cluster.dns.server)
    return [one for one in found if one.record.name not in pointed]


def _hosts(cluster: Cluster) -> Iterator[tuple[Where, str, str]]:
    for i, host in enumerate(cluster.proxmox.hosts):
        yield ("proxmox", "hosts", i, "name"), host.name.lower(), host.address
    yield ("kubernetes", "endpoint"), cluster.kubernetes.endpoint, cluster.kubernetes.virtual_ip
    for name in GROUPS:
        group = group_of(cluster, name)
        for i, machine in written(group):
            yield (name, "machines", i, "name"), machine.name, machine.address
        for machine in counted(group):
            yield (name, "name"), machine.name, machine.address
    for key, service in cluster.platform.services.items():
        yield ("platform", "services", key, "name"), service.name, service.address


def _host(cluster: Cluster, where: Where, name: str, address: str) -> Iterator[Placed]:
    """Yield A and PTR."""
    record = _record(cluster, name, "A", (address,))
    yield Placed(record, where, False)
    if reverse_zone(ip_address(address), reverse_networks(cluster)):
        yield Placed(Record(pointer(ip_address(address)), "PTR", record.ttl, (name,)), where, False)


def _record(cluster: Cluster, name: str, kind: str, data: tuple[str | int, ...], ttl: int = 0) -> Record:
    return Record(name, kind, (ttl or cluster.dns.ttl) if keeps_ttl(cluster, kind, name) else 0, data)


# ---------------------------------------------------------------------- own


class OwnRecords:
    """The user's own records, made whole: `placed`, and in `found` what could not be written down."""

    def __init__(self, cluster: Cluster, own: Own) -> None:
        self._cluster = cluster
        self._networks = reverse_networks(cluster)
        self.found: list[Found] = []
        self.placed: list[Placed] = []
        for i, each in enumerate(own.a):
            self._address(("a", i), "A", each)
        for i, one in enumerate(own.aaaa):
            self._address(("aaaa", i), "AAAA", one)
        for i, alias in enumerate(own.cname):
            name = self._name(("cname", i, "name"), alias.name)
            target = self._target(("cname", i, "target"), alias.target)
            if name and target:
                self._add(("cname", i), name, "CNAME", (target,), alias.ttl)
        for i, text in enumerate(own.txt):
            self._text(("txt", i), text)
        for i, service in enumerate(own.srv):
            self._service(("srv", i), service)
        for i, back in enumerate(own.ptr):
            target = self._target(("ptr", i, "target"), back.target, host=True)
            address = self._ip(("ptr", i, "address"), back.address)
            if address and not reverse_zone(address, self._networks):
                fix = "name its network in dns.reverse of cluster.toml"
                self.found.append((("ptr", i, "address"), f"is in no network of ours (got {address})", fix))
            elif address and target:
                self._add(("ptr", i), pointer(address), "PTR", (target,), back.ttl)

    def _add(self, where: Where, name: str, kind: str, data: tuple[str | int, ...], ttl: int) -> None:
        if ttl and not keeps_ttl(self._cluster, kind, name):
            problem = f"is nothing that can be said to dnsmasq of such a record (got {ttl})"
            self.found.append(
                ((*where, "ttl"), problem, "leave it out: dnsmasq has one for addresses and CNAMEs alone")
            )
        self.placed.append(Placed(_record(self._cluster, name, kind, data, ttl), where, True))

    def _address(self, where: Where, kind: str, own: OwnA) -> None:
        name = self._name((*where, "name"), own.name, host=True)
        address = self._ip((*where, "address"), own.address, kind)
        if not name or not address:
            return
        self._add(where, name, kind, (str(address),), own.ttl)
        if own.ptr and not is_wildcard(name) and reverse_zone(address, self._networks):
            back = Record(pointer(address), "PTR", self.placed[-1].record.ttl, (name,))
            self.placed.append(Placed(back, where, True))

    def _text(self, where: Where, own: OwnTxt) -> None:
        name = self._name((*where, "name"), own.name)
        size = len(own.text.encode())
        if CONTROL.search(own.text):
            self.found.append(((*where, "text"), "has control characters", "one line of plain text"))
        elif not 0 < size <= LONGEST_TEXT:
            self.found.append(((*where, "text"), f"is no text of 1 to {LONGEST_TEXT} bytes (got {size})", ""))
        elif name:
            self._add(where, name, "TXT", (own.text,), own.ttl)

    def _service(self, where: Where, own: OwnSrv) -> None:
        name = self._name((*where, "name"), own.name)
        target = self._target((*where, "target"), own.target, host=True)
        if name and not SERVICE.fullmatch(name.removeprefix("*.")):
            self.found.append(((*where, "name"), f"is no service name (got {own.name!r})", "for example _ldap._tcp"))
        elif name and target:
            self._add(where, name, "SRV", (own.priority, own.weight, own.port, target), own.ttl)

    def _ip(self, where: Where, text: str, kind: str = "") -> IPv4Address | IPv6Address | None:
        """Return the address; None, and a complaint, where it is none of that kind."""
        try:
            address = IPv4Address(text) if kind == "A" else IPv6Address(text) if kind == "AAAA" else ip_address(text)
        except ValueError:
            address = IPv4Address(0)
        # what stands behind a % is no part of an address, and may be any text
        if address.is_unspecified or address.is_multicast or "%" in text:
            told = {"A": "an IPv4 address", "AAAA": "an IPv6 address"}.get(kind, "an address")
            self.found.append(
                (where, f"is not {told} of a host (got {text!r})", "for example 192.168.0.10 or fd00::10")
            )
            return None
        return address

    def _name(self, where: Where, text: str, *, host: bool = False) -> str:
        """Return the whole name of a record; "", and a complaint, where it cannot be one in our zone."""
        domain = self._cluster.dns.domain
        star = "*." if is_wildcard(text) else ""
        try:
            name = star + _whole(text.removeprefix(star), domain, host=host)
            if not is_within(name, domain):
                raise BadNameError(f"is outside the zone {domain} (got {text!r})", "only names in dns.domain are ours")
            if len(name) > 253:
                raise BadNameError(f"is longer than 253 characters with its domain (got {len(name)})", "shorten it")
        except BadNameError as bad:
            self.found.append((where, *bad.args))
            return ""
        return name

    def _target(self, where: Where, text: str, *, host: bool = False) -> str:
        try:
            return _whole(text, self._cluster.dns.domain, host=host)
        except BadNameError as bad:
            self.found.append((where, *bad.args))
            return ""


def _whole(text: str, domain: str, *, host: bool) -> str:
    """Return a name as it is looked up: with its domain where it has no last dot, IDNA-encoded, in lower case.

    A host's name has no underscore (RFC 952); other names may.
    """
    if text == "@":
        return domain
    plain = encoded(text)
    if not text.endswith(".") and is_within(plain, domain):
        raise BadNameError(f"repeats the domain (got {text!r})", "leave the domain out, or end the name with a dot")
    name = plain[:-1] if text.endswith(".") else f"{plain}.{domain}"
    form = HOST_LABEL if host else LABEL
    wrong = [label for label in name.split(".") if not form.fullmatch(label)]
    if wrong:
        fix = f"letters, digits{'' if host else ', _'} and - in labels of at most 63"
        raise BadNameError(f"is no DNS name (got {text!r}: label {wrong[0]!r})", fix)
    if len(name) > 253:
        raise BadNameError(f"is longer than 253 characters with its domain (got {len(name)})", "shorten it")
    return name


def encoded(text: str) -> str:
    """Return a name IDNA-encoded, in lower case. Raises BadNameError."""
    return ".".join(label if label.isascii() else _encoded(label) for label in text.split(".")).lower()


def _encoded(label: str) -> str:
    import idna  # names beyond ASCII are rare

    try:
        return idna.encode(label, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise BadNameError(
            f"is no name that IDNA knows (got {label!r}: {error})", "letters and digits of one script"
        ) from None
