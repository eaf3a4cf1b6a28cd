"""Own how dnsmasq answers from what it has read, as dnsmasq 2.90 does (src/rfc1035.c, src/domain-match.c).

First what it knows itself: aliases, addresses, texts, services, pointers. Then the longest
domain of its server=, local= and address= lines. `outside` stands for whom it forwards to.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Iterable

from lib.lab.dns.answer import Answer, Rr
from lib.lab.dns.dnsmasq_conf import HOSTS, Server, Settings
from lib.lab.dns.texts import Texts

KINDS = {4: "A", 6: "AAAA"}
ADDRESSES = {"A": ("4", "zero"), "AAAA": ("6", "zero")}
PRIVATE = [ipaddress.ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")]
Outside = Callable[[str, str], Answer]


class Dnsmasq:
    """What one start of dnsmasq knows."""

    def __init__(self, settings: Settings, texts: Texts, outside: Outside) -> None:
        self._settings = settings
        self._outside = outside
        self._found: defaultdict[tuple[str, str], list[Rr]] = defaultdict(list)
        self._names: set[str] = set()  # that are there, and all above them
        self._servers: defaultdict[tuple[str, bool], list[Server]] = defaultdict(list)
        self._pointers = {name for name, _ in settings.pointers}
        for record in settings.hosts:
            ttl = settings.local_ttl if record.ttl is None else record.ttl
            for name in record.names:
                for address in filter(None, (record.four, record.six)):
                    self._host(name, address, ttl)
        for alias, (target, own) in settings.aliases.items():
            self._add(Rr(alias, settings.local_ttl if own is None else own, "CNAME", f"{target}."))
        for name, pieces in settings.texts:
            self._add(Rr(name, settings.local_ttl, "TXT", " ".join(map(_quoted, pieces))))
        for name, data in settings.services:
            self._add(Rr(name, settings.local_ttl, "SRV", data))
        for name, target in settings.pointers:
            self._add(Rr(name, settings.local_ttl, "PTR", f"{target}."))
        for server in settings.servers:
            self._servers[server.domain, server.wildcard].append(server)
        self._upstream = self._upstreams(texts)
        self._read_hosts(texts)

    # ---------------------------------------------------------------- read

    def _add(self, record: Rr) -> None:
        if record not in self._found[record.name, record.type]:
            self._found[record.name, record.type].append(record)
        if record.type == "PTR" and record.name not in self._pointers:
            return  # it belongs to the address: the name is not there for other types
        labels = record.name.split(".")
        self._names.update(".".join(labels[at:]) for at in range(len(labels)))

    def _host(self, name: str, address: str, ttl: int) -> None:
        parsed = ipaddress.ip_address(address)
        kind = KINDS[parsed.version]
        if any(record.data == address for record in self._found[name, kind]):
            return
        self._add(Rr(name, ttl, kind, address))
        back = parsed.reverse_pointer
        if back not in self._pointers and not self._found[back, "PTR"]:
            self._found[back, "PTR"].append(Rr(back, ttl, "PTR", f"{name}."))

    def _read_hosts(self, texts: Texts) -> None:
        own = [] if "no-hosts" in self._settings.flags else [HOSTS]
        for path in own + self._settings.hosts_files:
            try:
                lines = texts.read(path).splitlines()
            except OSError:
                continue  # it says so in its log
            for line in lines:
                words = line.partition("#")[0].split()
                try:
                    address = str(ipaddress.ip_address(words[0])) if words else ""
                except ValueError:
                    continue
                for name in self._expanded(words[1:]):
                    self._host(name, address, self._settings.local_ttl)

    def _expanded(self, names: list[str]) -> Iterable[str]:
        domain = self._settings.domain
        for name in names:
            name = name.rstrip(".").lower()
            if "expand-hosts" in self._settings.flags and domain and "." not in name:
                yield f"{name}.{domain}"
            yield name

    def _upstreams(self, texts: Texts) -> bool:
        """Tell whether there is anybody to forward to by default."""
        if any(server.kind == "upstream" and not server.domain for server in self._settings.servers):
            return True
        if "no-resolv" in self._settings.flags:
            return False
        try:
            lines = texts.read(self._settings.resolv_file).splitlines()
        except OSError:
            return False
        return any(line.split()[:1] == ["nameserver"] for line in lines)

    # -------------------------------------------------------------- answer

    def answer(self, name: str, kind: str) -> Answer:
        """Answer one question; `name` is in lower case, without a dot at its end."""
        chain: list[Rr] = []
        while kind != "CNAME" and len(chain) < 255 and self._found.get((name, "CNAME")):
            chain += self._found[name, "CNAME"]
            name = chain[-1].data.removesuffix(".")
        kinds = [kind] if kind != "ANY" else ["A", "AAAA", "TXT", "SRV", "PTR", "CNAME"]
        records = [record for each in kinds for record in self._found.get((name, each), ())]
        if chain or records:
            return Answer(records=(*chain, *records), additional=self._beside(records), authoritative=True)
        return self._from_servers(name, kind)

    def _beside(self, records: list[Rr]) -> tuple[Rr, ...]:
        targets = [record.data.split()[3].removesuffix(".") for record in records if record.type == "SRV"]
        return tuple(one for target in targets for kind in ADDRESSES for one in self._found.get((target, kind), ()))

    def _from_servers(self, name: str, kind: str) -> Answer:
        if kind == "PTR" and "bogus-priv" in self._settings.flags and _is_private(name):
            return Answer("NXDOMAIN", authoritative=True)
        group = self._matching(name, kind)
        kinds = [each for each in self._literal(kind) if any(server.kind == each for server in group)]
        wanted = [server for server in group if server.kind in kinds[:1]]
        plain = kind in ADDRESSES and name and "." not in name
        if "domain-needed" in self._settings.flags and plain and not wanted:
            return self._denied(name)
        if not group:
            return self._outside(name, kind) if self._upstream else Answer("REFUSED")
        if wanted:
            nothing = {"A": "0.0.0.0", "AAAA": "::"}
            records = [
                Rr(name, self._settings.local_ttl, each, server.value or nothing[each])
                for server in wanted
                for each in (ADDRESSES if kind == "ANY" else [kind])
                if server.kind in ADDRESSES[each]
            ]
            return Answer(records=tuple(records), authoritative=True)
        if any(server.kind == "resolv" for server in group):
            return self._outside(name, kind) if self._upstream else Answer("REFUSED")
        if any(server.kind == "upstream" for server in group):
            return self._outside(name, kind)
        other = any(server.kind in ("4", "6", "zero") for server in group)
        return Answer() if other else self._denied(name)

    def _denied(self, name: str) -> Answer:
        return Answer() if name in self._names else Answer("NXDOMAIN")

    def _literal(self, kind: str) -> tuple[str, ...]:
        """Return the kinds of address= that answer such a question; the first one that is there does so alone."""
        return ("6", "4", "zero") if kind == "ANY" else ADDRESSES.get(kind, ())

    def _matching(self, name: str, kind: str) -> list[Server]:
        """Return the servers of the longest domain that has one for this type."""
        for at in range(len(name) + 1):
            rest = name[at:]
            border = at == 0 or not rest or name[at - 1] == "."
            group = self._servers.get((rest, False), []) if border else []
            group = group or self._servers.get((rest, True), [])
            fitting = [s for s in group if s.kind in (*self._literal(kind), "resolv", "upstream", "local")]
            if fitting:
                return group
        return []


def _is_private(name: str) -> bool:
    if not name.endswith(".in-addr.arpa"):
        return False
    labels = [*reversed(name.removesuffix(".in-addr.arpa").split(".")), "0", "0", "0"]
    try:
        address = ipaddress.ip_address(".".join(labels[:4]))
    except ValueError:
        return False
    return any(address in network for network in PRIVATE)


def _quoted(piece: str) -> str:
    return (
        '"' + "".join(f"\\{ord(each):03}" if not " " <= each <= "~" or each in '"\\' else each for each in piece) + '"'
    )
