"""Own inputs of the DNS files for tests: a folder with both files, and any set of records that is allowed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec
from hypothesis import strategies as st

from lib.config.cluster import load_cluster
from lib.config.model import Cluster
from lib.config.records_derived import OwnRecords, derived, name_server
from lib.config.records_model import Own, OwnA, OwnAaaa, OwnCname, OwnSrv, OwnTxt, Record, place
from lib.config.records_rules import check
from lib.facts.zones import from_bind, from_dnsmasq

ROOT = Path(__file__).resolve().parent.parent


def inputs(folder: Path, own: Path | str, backend: str = "") -> Path:
    """Return the folder with the sample's cluster.toml and these records; `# backend: …` in them chooses it."""
    text = own if isinstance(own, str) else own.read_text()
    said = re.search(r"^# backend: (\w+)$", text, re.MULTILINE)
    backend = backend or (said[1] if said else "")
    shutil.copy(ROOT / "cluster.toml", folder)
    if backend:
        cluster = (ROOT / "cluster.toml").read_text().replace('backend = "dnsmasq"', f'backend = "{backend}"')
        (folder / "cluster.toml").write_text(cluster)
    (folder / "dns").mkdir(exist_ok=True)
    (folder / "dns" / "records.toml").write_text(text)
    return folder


# ------------------------------------------------------------- any allowed set

LABELS = st.from_regex(r"(?!xn--)[a-z][a-z0-9-]{0,12}[a-z0-9]", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
TTLS = st.sampled_from([0, 1, 60, 604800])
# anything that TOML can say on one line, and what would mean something to a zone file or to dnsmasq
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200),
    st.lists(st.sampled_from(['"', "\\", ";", "#", ",", "$INCLUDE x", "(", "@", " ", "/", "="]), min_size=1).map(
        "".join
    ),
)


@st.composite
def owns(draw: st.DrawFn, backend: str) -> Own:
    """Draw records of one's own that are right together: each address and each name has one use."""
    names = iter(draw(st.lists(NAMES, unique=True, min_size=30, max_size=30)))
    hosts = draw(st.lists(st.integers(2, 20), unique=True, max_size=8))
    sixes = draw(st.lists(st.integers(1, 2**40), unique=True, max_size=5))
    a = [OwnA(name=f"{next(names)}.h", address=f"10.10.1.{n}", ttl=draw(TTLS)) for n in hosts]
    aaaa = [
        OwnAaaa(name=f"{next(names)}.h", address=str(IPv6Address((0xFD00 << 112) + n)), ttl=draw(TTLS)) for n in sixes
    ]
    further = [OwnA(name=f"{next(names)}.h", address=one.address, ptr=False) for one in a[:2]]
    known = ["node1", *(one.name for one in a)]
    cname = [OwnCname(name=f"{next(names)}.c", target=draw(st.sampled_from(known)), ttl=draw(TTLS)) for n in range(2)]
    free = TTLS if backend == "bind" else st.just(0)
    txt = [OwnTxt(name=f"{next(names)}.t", text=draw(TEXTS), ttl=draw(free)) for _ in range(draw(st.integers(0, 4)))]
    srv = [
        OwnSrv(
            name=f"_s{n}._tcp",
            target=draw(st.sampled_from(known)),
            port=draw(st.integers(1, 65535)),
            priority=draw(st.integers(0, 65535)),
            weight=draw(st.integers(0, 65535)),
            ttl=draw(free),
        )
        for n in range(draw(st.integers(0, 3)))
    ]
    star = [OwnA(name=f"*.{next(names)}.w", address="10.10.1.60")]
    return Own(a=(*a, *further, *star), aaaa=tuple(aaaa), cname=tuple(cname), txt=tuple(txt), srv=tuple(srv))


def sample(backend: str, *, cidr: str = "", reverse: tuple[str, ...] = ("fd00::/48",)) -> Cluster:
    """Return the sample's cluster with another back end and further networks."""
    cluster = load_cluster(ROOT / "cluster.toml")
    network = msgspec.structs.replace(cluster.network, cidr=cidr or cluster.network.cidr)
    dns = msgspec.structs.replace(cluster.dns, backend=backend, reverse=reverse)
    return msgspec.structs.replace(cluster, network=network, dns=dns)


def complete(cluster: Cluster, own: Own) -> tuple[Record, ...]:
    """Return every record; none breaks a rule."""
    whole = OwnRecords(cluster, own)
    placed = [*derived(cluster), *whole.placed]
    placed += name_server(cluster, placed)
    assert [*whole.found, *check(cluster, placed, complete=True)] == []
    return tuple(sorted((one.record for one in placed), key=place))


def many(count: int) -> Own:
    """Return that many names with addresses, in a network of their own."""
    first = IPv4Address("172.16.0.1")
    return Own(a=tuple(OwnA(name=f"host-{n}.many", address=str(first + n)) for n in range(count)))


def read_back(cluster: Cluster, files: Mapping[str, str]) -> tuple[Record, ...]:
    """Return the records in rendered files."""
    if cluster.dns.backend == "dnsmasq":
        records, other = from_dnsmasq(files["dnsmasq.conf"])
        assert other == ()
        return records
    zones = {path[6:-5]: text for path, text in files.items() if path.startswith("zones/")}
    return from_bind(zones)
