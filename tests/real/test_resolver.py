"""The simulated resolver beside the real dnsmasq and BIND: the same files, every name and type asked of both."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import msgspec
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from lib.config.records import load_records
from lib.lab.dns import bind, bind_conf, bind_zone, dnsmasq, dnsmasq_conf, wire
from lib.lab.dns.answer import Answer, ConfigurationRefusedError
from lib.lab.dns.service import Answering
from lib.lab.dns.texts import Texts
from lib.zones import on_server, render_files
from tests.real.test_zone_programs import HOST, VALID, ask, free_port, until_it_answers
from tests.records import inputs
from tests.tools import tool

TYPES = ("A", "AAAA", "CNAME", "TXT", "SRV", "PTR", "MX", "NS", "SOA")
STARTED_ONCE = (Phase.explicit, Phase.generate)  # making a failure smaller would start a hundred servers
Said = tuple[str, bool, list[tuple[str, int, str, str]], list[tuple[str, str]]]


class Disk:
    """A real folder as a simulated host's files."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def listdir(self, path: str) -> list[str]:
        return sorted(each.name for each in Path(path).iterdir())

    def is_dir(self, path: str) -> bool:
        return Path(path).is_dir()


def refused(name: str, kind: str) -> Answer:
    return Answer("REFUSED")


# --------------------------------------------------------------- both of each


@contextlib.contextmanager
def served(line: Sequence[str], folder: Path, port: int, domain: str) -> Iterator[int]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until_it_answers(process, port, domain, folder / "log")
            yield port
        finally:
            process.terminate()
            process.wait(30)


def dnsmasq_line(folder: Path, port: int) -> list[str]:
    here = (f"--port={port}", f"--listen-address={HOST}", "--bind-interfaces", "--no-resolv", "--log-facility=-")
    line = [
        tool("dnsmasq"),
        "--conf-file=",
        f"--conf-dir={folder}/conf.d",
        "--no-hosts",
        f"--user={getpass.getuser()}",
    ]
    return [*line, f"--addn-hosts={folder}/hosts", "--keep-in-foreground", "--pid-file", *here]


def our_dnsmasq(folder: Path) -> Answering:
    texts = Texts(Disk())
    read = dnsmasq_conf.load(texts, "", (f"{folder}/conf.d",))
    read.flags |= {"no-resolv", "no-hosts"}
    read.hosts_files.append(f"{folder}/hosts")
    return dnsmasq.Dnsmasq(read, texts, refused)


def named_line(folder: Path, port: int) -> list[str]:
    (folder / "main.conf").write_text(
        f'options {{ directory "{folder}"; listen-on port {port} {{ {HOST}; }}; listen-on-v6 {{ none; }};\n'
        "pid-file none; session-keyfile none; recursion no; dnssec-validation no; }; controls { };\n"
        f'include "{folder}/named.conf";\n'
    )
    return [tool("named"), "-g", "-n", "1", "-c", f"{folder}/main.conf"]


def our_bind(folder: Path) -> Answering:
    found = bind_conf.load(Texts(Disk()), f"{folder}/named.conf")
    zones: dict[str, bind_zone.Zone | None] = {}
    for one in found.zones:
        try:
            zones[one.name] = bind_zone.load(Texts(Disk()), one.name, one.file)
        except bind_zone.ZoneRefusedError:
            zones[one.name] = None
    return bind.Bind(zones, None)


def said(message: dns.message.Message) -> Said:
    """Return code, authority, what the answer holds, and whose SOA a denial names."""
    rows = [
        (rrset.name.to_text().lower(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), one.to_text())
        for rrset in message.answer
        for one in rrset
    ]
    beside = [(rrset.name.to_text().lower(), dns.rdatatype.to_text(rrset.rdtype)) for rrset in message.authority]
    code = dns.rcode.to_text(message.rcode())
    # BIND names the zone's servers beside what it answers where there is room: no client depends on it.
    return code, bool(message.flags & dns.flags.AA), sorted(rows), [] if rows else sorted(beside)


def ours(answering: Answering, name: str, kind: str) -> Said:
    query = dns.message.make_query(name, kind)
    answer = wire.respond(query.to_wire(), False, lambda name, kind: answering.answer(name.lower(), kind))
    assert answer is not None
    return said(dns.message.from_wire(answer))


def agree(port: int, answering: Answering, names: Sequence[str], types: Sequence[str] = TYPES) -> None:
    for name, kind in itertools.product(names, types):
        assert ours(answering, name, kind) == said(ask(port, name, kind)), (name, kind)


# --------------------------------------------------------- what is in the files

LABELS = ("a", "b", "c")
NAMES = [".".join((*labels, "x")) for count in range(4) for labels in itertools.product(LABELS, repeat=count)]
SMALL = [name for name in NAMES if name.count(".") < 3]
FOUR = [f"10.0.0.{number}" for number in range(1, 6)]
SIX = ["fd00::1", "fd00::2"]
BACK = [f"{number}.0.0.10.in-addr.arpa" for number in range(1, 7)] + ["0.0.10.in-addr.arpa", "a.0.0.10.in-addr.arpa"]
some_name, some_address = st.sampled_from(SMALL), st.sampled_from(FOUR + SIX)
STARS = st.sampled_from(["", "*.", "*"])
TTL = st.sampled_from(["", ",0", ",60"])
LINES = st.one_of(
    st.builds("host-record={},{}{}".format, some_name, some_address, TTL),
    st.builds("host-record={},{},{},{}".format, some_name, some_name, st.sampled_from(FOUR), st.sampled_from(SIX)),
    st.builds("cname={},{}{}".format, some_name, st.one_of(some_name, st.just("www.elsewhere.test")), TTL),
    st.builds(
        "address=/{}{}/{}".format, st.sampled_from(["", "*.", "*"]), some_name, st.one_of(some_address, st.just("#"))
    ),
    st.builds("{}=/{}{}/".format, st.sampled_from(["local", "address"]), st.sampled_from(["", "*.", "*"]), some_name),
    st.builds('txt-record={},"a, b",c'.format, some_name),
    st.builds("srv-host=_s._tcp.{},{},{}".format, some_name, some_name, st.integers(0, 65535)),
    st.builds("ptr-record={},{}".format, st.sampled_from([*BACK, *SMALL]), some_name),
    st.sampled_from(
        ["local=/x/", "local=/0.0.10.in-addr.arpa/", "local-ttl=7", "local=/#/", "bogus-priv", "domain-needed"]
    ),
)
HOSTS = st.builds("{} {} {}".format, some_address, st.sampled_from([*SMALL, "short"]), st.sampled_from(["", *SMALL]))


@settings(deadline=None, max_examples=6, phases=STARTED_ONCE, derandomize=True)
@given(st.lists(st.lists(LINES, max_size=12), min_size=1, max_size=3), st.lists(HOSTS, max_size=4))
@example(files=[["domain-needed", "address=/x/10.0.0.1"], ["host-record=x,fd00::1,0"]], hosts=[])
@example(files=[["address=/a.x/#", "address=/a.x/10.0.0.1", "address=/b.x/fd00::1", "address=/b.x/#"]], hosts=[])
def test_dnsmasq_and_ours_answer_alike(files: list[list[str]], hosts: list[str]) -> None:
    """Names collide, aliases dangle, files contradict one another: whatever is said, both say it."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "conf.d").mkdir()
        for number, lines in enumerate(files):
            (folder / "conf.d" / f"{number}.conf").write_text("".join(f"{line}\n" for line in lines))
        (folder / "hosts").write_text("".join(f"{line}\n" for line in hosts))
        line = dnsmasq_line(folder, port)
        checked = subprocess.run([*line, "--test"], capture_output=True, text=True, timeout=30)
        answering, code, told = None, 0, "dnsmasq: syntax check OK.\n"
        try:
            answering = our_dnsmasq(folder)
        except ConfigurationRefusedError as error:
            code, told = error.exit, f"\ndnsmasq: {error}\n"
        assert (checked.returncode, checked.stderr) == (code, told)
        if answering is None:
            return
        with served(line, folder, port, "x"):
            agree(port, answering, [*NAMES, *BACK, "_s._tcp.a.x", "_tcp.a.x", "za.x", "short", "elsewhere.test"])


ZONE_LINES = st.one_of(
    st.builds("{} {} A {}".format, some_name, st.sampled_from(["", "60", "0"]), st.sampled_from(FOUR)),
    st.builds("*.{} AAAA {}".format, some_name, st.sampled_from(SIX)),
    st.builds("*.{} A {}".format, some_name, st.sampled_from(FOUR)),
    st.builds(
        "{}{} CNAME {}".format, st.sampled_from(["", "*."]), some_name, st.sampled_from([*SMALL, "a.y", "q.test"])
    ),
    st.builds('{} TXT "a\\; b" c'.format, some_name),
    st.builds("_s._tcp.{} SRV 1 2 3 {}.".format, some_name, some_name),
    st.builds("{} NS ns.elsewhere.test.".format, st.sampled_from(["c.x", "b.c.x"])),
    st.builds("{} MX 5 {}.".format, some_name, some_name),
)


# one after the other more aliases than BIND follows; from the third on as many as it does
CHAIN = [f"{name} CNAME {target}" for name, target in itertools.pairwise([*NAMES[13:26], "ns.x"])]


# A name's records that do not stand together, the last ones in another file than the first: its TTL is their first's.
TTLS = [
    "a.x 60 A 10.0.0.1",
    "b.x  A 10.0.0.1",
    "a.x 0 A 10.0.0.2",
    "a.x 60 A 10.0.0.3",
    "b.x 60 A 10.0.0.2",
    "b.x 0 A 10.0.0.3",
]


def absolute(line: str) -> str:
    owner, rest = line.split(" ", 1)
    return f"{owner}. {rest}." if " CNAME " in line else f"{owner}. {rest}"


@settings(deadline=None, max_examples=4, phases=STARTED_ONCE, derandomize=True)
@given(st.lists(ZONE_LINES, max_size=30), st.booleans())
@example(lines=TTLS, broken=False)
@example(lines=["a.*.b.x A 10.0.0.1"], broken=False)  # no name of a host: named-checkzone takes it, named does not
@example(lines=["a.x CNAME a.x", "b.x CNAME c.x", "c.x CNAME b.x", "*.c.x CNAME a.c.x", *CHAIN], broken=False)
def test_bind_and_ours_answer_alike(lines: list[str], broken: bool) -> None:
    """Wildcards, names between names, cuts, aliases into another zone, and a zone that does not load."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        head = "$TTL 300\n@ SOA ns hostmaster 7 3600 600 86400 30\n@ NS ns\nns A 192.0.2.1\n"
        half = len(lines) // 2
        (folder / "x").write_text(
            f"{head}$INCLUDE {folder}/more\n" + "".join(f"{absolute(each)}\n" for each in lines[:half])
        )
        (folder / "more").write_text("".join(f"{absolute(each)}\n" for each in lines[half:]))
        (folder / "y").write_text(head + "a A 192.0.2.9\n*.w CNAME a.x.\n")
        (folder / "z").write_text(head + ("a A nonsense\n" if broken else "a A 192.0.2.8\n"))
        zones = (f'zone "{each}" {{ type primary; file "{folder}/{each}"; }};\n' for each in "xyz")
        (folder / "named.conf").write_text("".join(zones))
        checked = subprocess.run(
            [tool("named-checkzone"), "-k", "fail", "-i", "local", "x", f"{folder}/x"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        answering = our_bind(folder)
        assert (ours(answering, "x", "SOA")[0] == "NOERROR") == (checked.returncode == 0), checked.stdout
        with served(named_line(folder, port), folder, port, "y"):
            others = ["a.y", "q.w.y", "w.y", "a.z", "nowhere.z", "elsewhere.test", "d.a.x", "d.d.a.x", "_s._tcp.a.x"]
            agree(port, answering, [*NAMES, *others])


@pytest.mark.parametrize("backend", ["dnsmasq", "bind"])
def test_what_the_product_renders_is_answered_alike(backend: str, tmp_path: Path) -> None:
    cluster, records = load_records(inputs(tmp_path, VALID / "everything.toml", backend))
    port = free_port()
    here = msgspec.structs.replace(cluster.dns, file=f"{tmp_path}/named.conf", zones=f"{tmp_path}/zones")
    cluster = msgspec.structs.replace(cluster, dns=here)
    files = render_files(cluster, records, {})
    names = [one.name.replace("*", "any.thing") for one in records]
    names += [f"nothing.{name}" for name in names] + [name.partition(".")[2] for name in names]
    if backend == "dnsmasq":
        (tmp_path / "conf.d").mkdir()
        (tmp_path / "conf.d" / "kubernetes.conf").write_text(files["dnsmasq.conf"])
        (tmp_path / "hosts").touch()
        line, answering = dnsmasq_line(tmp_path, port), our_dnsmasq(tmp_path)
    else:
        for path, text in on_server(cluster, files).items():
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_text(text)
        line, answering = named_line(tmp_path, port), our_bind(tmp_path)
    with served(line, tmp_path, port, cluster.dns.domain):
        agree(port, answering, sorted(set(names)))
