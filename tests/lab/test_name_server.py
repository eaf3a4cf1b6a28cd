"""The simulated name server: its files, programs and restarts, beside the real programs where these are here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from lib.config.cluster import load_cluster
from lib.config.model import Cluster
from lib.lab import keys, topology
from lib.lab.dns import machine, service
from lib.lab.faults import Faults
from lib.lab.programs.host import Host, Output
from lib.lab.programs.table import run
from lib.lab.topology import Shape
from lib.lab.world import World
from tests.lab.simulated import CLUSTER, Simulated

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [ROOT / "cluster.toml", *sorted((ROOT / "tests" / "configs" / "valid").glob("*.toml"))]
# What the tests here run with the real program and with the simulated one.
BESIDE_THE_REAL = {"dnsmasq", "named-checkconf", "named-checkzone"}

DNSMASQ_LINES = [
    "host-record=a.b,1.2.3.4",
    "host-record=a.b",
    "host-record=",
    "host-record",
    "host-record=a.b,1.2.3.4 # comment",
    "  host-record = a.b , 1.2.3.4 , 60  ",
    "# comment",
    "",
    "cname=a",
    "cname=a,b,5",
    "cname=a,a",
    "cname=a,b\ncname=a,c",
    "cname=a,b\ncname=b,a",
    "address=/a/1.2.3",
    "address=/a/#",
    "address=/*.a/1.2.3.4",
    "local=/a/",
    "local=a",
    "server=1.2.3.4",
    'txt-record=a,"b,c",d',
    'txt-record=a,"unclosed',
    "srv-host=_a._b,c,5,6,7",
    "srv-host=_a._b",
    "srv-host=_a._b,c,x",
    "srv-host=_a._b,c,70000",
    "ptr-record=a",
    "nonsense",
    "nonsense=1",
    "--host-record=a.b,1.2.3.4",
    "domain-needed=1",
    "domain-needed",
    "local-ttl=x",
    "local-ttl",
    "local-ttl=5",
    "conf-file=/none",
    "conf-dir=/none",
    "dhcp-range=10.0.0.5,10.0.0.9,12h",
    "\n\nhost-record=a\n",
]


def real(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        pytest.skip(f"no real {name} here")
    return found


class Server:
    """A name server of a cluster in memory, without a process."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        hosts = topology.hosts_of(cluster)
        kept = keys.prepare(folder, {host.name: host.address for host in hosts})
        self.world = World()
        topology.build(self.world, cluster, Shape(task_scale=0.0), kept)
        machine.build(self.world, cluster, kept)
        self.name = self.world.keys("nameserver")[0]
        self.host = Host(self.world, self.name, None, Faults(self.world))

    def write(self, path: str, text: str) -> None:
        self.host.files.write(path, text.encode())

    def run(self, *argv: str, stdin: bytes = b"") -> Output:
        return run(self.host, list(argv), stdin)

    def answer(self, name: str, kind: str = "A") -> tuple[str, set[str]]:
        answering = service.answering(self.world, self.name)
        assert answering, "the service is dead"
        found = answering.answer(name, kind)
        return found.rcode, {record.data for record in found.records if record.type == kind}


def with_backend(cluster: Cluster, backend: str) -> Cluster:
    file = {"dnsmasq": "/etc/dnsmasq.d/kubernetes.conf", "bind": "/etc/bind/named.conf.kubernetes"}[backend]
    name = {"dnsmasq": "dnsmasq", "bind": "named"}[backend]
    return msgspec.structs.replace(
        cluster, dns=msgspec.structs.replace(cluster.dns, backend=backend, file=file, service=name)
    )


@pytest.fixture
def dnsmasq(tmp_path: Path) -> Server:
    return Server(tmp_path, with_backend(CLUSTER, "dnsmasq"))


@pytest.fixture
def bind(tmp_path: Path) -> Server:
    return Server(tmp_path, with_backend(CLUSTER, "bind"))


def zone(domain: str, *lines: str, serial: int = 1) -> str:
    head = f"$TTL 60\n$ORIGIN {domain}.\n@ IN SOA ns hostmaster {serial} 3600 600 86400 30\n"
    head += "@ IN NS ns\nns IN A 192.0.2.1\n"
    return head + "".join(f"{line}\n" for line in lines)


# ----------------------------------------------------------------- a new lab


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_cluster_has_its_name_server_running(path: Path, tmp_path: Path) -> None:
    cluster = load_cluster(path)
    server = Server(tmp_path, cluster)
    assert service.server_of(server.world, cluster.dns.server) == server.name
    assert server.run("systemctl", "is-active", cluster.dns.service) == Output(0, "active\n", seconds=0.1)
    assert server.answer("deb.debian.org")[0] == "NOERROR"
    assert server.answer(f"nothing.{cluster.dns.domain}") == ("NXDOMAIN", set())
    check = "dnsmasq --test" if cluster.dns.backend == "dnsmasq" else "named-checkconf -z"
    assert server.run(*check.split()).exit == 0
    if cluster.dns.server not in [host.address for host in cluster.proxmox.hosts]:
        assert server.run("qm", "list").exit == 127, "it is no Proxmox host"


def test_hosts_find_names_at_the_name_server_and_none_where_it_is_dead(simulated: Simulated) -> None:
    name = simulated.world.keys("nameserver")[0]
    host = simulated.hosts[name]
    host.files.write(CLUSTER.dns.file, b"host-record=k8s-vip.sddc.info,10.10.1.30\n")
    assert simulated.run("getent hosts k8s-vip.sddc.info").exit == 2
    assert simulated.run(f"systemctl restart {CLUSTER.dns.service}", name).exit == 0
    assert "10.10.1.30" in simulated.text("getent hosts k8s-vip.sddc.info")
    simulated.run(f"systemctl stop {CLUSTER.dns.service}", name)
    assert simulated.run("getent hosts deb.debian.org").exit == 2
    assert simulated.run(f"ping -c 1 {CLUSTER.dns.server}").exit == 0, "the host itself is there"
    host.faults.add("partition", CLUSTER.dns.server, 0)
    assert simulated.run(f"ping -c 1 {CLUSTER.dns.server}").exit == 1


# ------------------------------------------------------------------ dnsmasq


@pytest.mark.parametrize("text", DNSMASQ_LINES)
def test_dnsmasq_takes_what_the_real_one_takes(dnsmasq: Server, text: str, tmp_path: Path) -> None:
    path = tmp_path / "one.conf"
    path.write_text(text + "\n")
    dnsmasq.host.files.mkdir(str(tmp_path), parents=True)
    dnsmasq.write(str(path), path.read_text())
    line = ["dnsmasq", "--test", f"--conf-file={path}"]
    done = subprocess.run([real("dnsmasq"), *line[1:]], capture_output=True, text=True, timeout=30)
    ours = dnsmasq.run(*line)
    assert (ours.exit, ours.stdout, ours.stderr) == (done.returncode, done.stdout, done.stderr)


def test_dnsmasq_reads_a_folder_as_the_real_one_does(dnsmasq: Server, tmp_path: Path) -> None:
    """Each file is wrong at a line of its own, so that the complaint says which was read first."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    dnsmasq.host.files.mkdir(str(folder), parents=True)
    names = ["b.conf", "a.conf", ".hidden", "old~", "#x#", "c.dpkg-old", "z.other"]
    for filters in ("", ",.conf,.dpkg-old", ",*.conf", ",b.conf,.other,.dpkg-old", ",a.conf,b.conf", ",*.conf,a.conf"):
        for name in names:
            (folder / name).write_text("\n" * names.index(name) + "nonsense\n")
            dnsmasq.write(str(folder / name), (folder / name).read_text())
        line = ["dnsmasq", "--test", "--conf-file=", f"--conf-dir={folder}{filters}"]
        done = subprocess.run([real("dnsmasq"), *line[1:]], capture_output=True, text=True, timeout=30)
        ours = dnsmasq.run(*line)
        assert (ours.exit, ours.stderr) == (done.returncode, done.stderr), filters


@pytest.mark.parametrize(
    ("line", "what"),
    [("mx-host=a,b,5", "mx-host"), ("filterwin2k", "filterwin2k"), ("local=//", "// (names without a dot)")],
)
def test_what_changes_answers_of_dnsmasq_and_is_not_simulated_is_refused(dnsmasq: Server, line: str, what: str) -> None:
    dnsmasq.write("/etc/dnsmasq.d/x.conf", f"{line}\n")
    told = f"{what} is not simulated by the lab at line 1 of /etc/dnsmasq.d/x.conf"
    assert told in dnsmasq.run("dnsmasq", "--test").stderr


def test_dnsmasq_reads_at_a_restart_alone_and_is_dead_after_one_with_nonsense(dnsmasq: Server) -> None:
    file = CLUSTER.dns.file
    dnsmasq.write(file, "host-record=new.sddc.info,10.10.1.5\n")
    dnsmasq.write("/etc/hosts", "10.10.1.6 fromhosts.sddc.info\n")
    assert dnsmasq.answer("new.sddc.info")[0] == "NXDOMAIN"
    assert dnsmasq.run("systemctl", "reload", "dnsmasq").exit == 0
    assert dnsmasq.answer("new.sddc.info")[0] == "NXDOMAIN", "SIGHUP does not read conf-dir"
    assert dnsmasq.answer("fromhosts.sddc.info") == ("NOERROR", {"10.10.1.6"}), "but it reads /etc/hosts"
    assert dnsmasq.run("systemctl", "restart", "dnsmasq").exit == 0
    assert dnsmasq.answer("new.sddc.info") == ("NOERROR", {"10.10.1.5"})
    assert dnsmasq.answer("switch.provisioning.invalid")[0] == "NOERROR", "somebody else's file is read, too"
    dnsmasq.write(file, "nonsense\n")
    assert dnsmasq.answer("new.sddc.info") == ("NOERROR", {"10.10.1.5"})
    assert dnsmasq.run("systemctl", "restart", "dnsmasq").exit == 1
    assert service.answering(dnsmasq.world, dnsmasq.name) is None
    assert dnsmasq.run("systemctl", "is-active", "dnsmasq").stdout == "failed\n"
    assert dnsmasq.run("systemctl", "reload", "dnsmasq").exit == 1, "what is dead cannot be reloaded"
    dnsmasq.host.files.remove(file)
    for line in (["service", "dnsmasq", "restart"], ["/etc/init.d/dnsmasq", "restart"]):
        assert dnsmasq.run(*line).exit == 0
        assert dnsmasq.run("timeout", "-k", "5", "30", *line).exit == 0
        assert dnsmasq.run("service", "dnsmasq", "status").exit == 0
        assert dnsmasq.answer("new.sddc.info")[0] == "NXDOMAIN"
    assert dnsmasq.run("/etc/init.d/other", "restart").exit == 127
    assert dnsmasq.run("systemctl", "restart", "other").exit == 5


# --------------------------------------------------------------------- BIND

CHECKCONF = [
    'zone "a.b" { type primary; file "/x/a.zone"; };\n',
    'zone "a.b" { type primary; file "/x/a.zone" };\n',
    'zone "a.b" { type primary; file "/x"; }\nzone "c" { type primary; file "/y"; };\n',
    'zone "a.b" { type primary; fiel "/x"; };\n',
    'zone "a.b" { type nonsense; file "/x"; };\n',
    'zone "a.b" { type primary; };\n',
    'zone "a.b" { file "/x"; };\n',
    'zone "a.b" { type primary; file "/x"; ',
    "nonsense;\n",
    'zone a.b { type primary; file "/x"; };\nzone "a.b" { type primary; file "/y"; };\n',
    'include "/none";\n',
    "options { recursion maybe; };\n",
    "options { };\noptions { };",
    'zone "a.b" { type primary; file "unclosed; };\n',
    'zone "a.b" { type primary; file ; };\n',
    'zone "a.b" { type primary; type primary; file "/x"; };\n',
    'zone "a..b" { type primary; file "/x"; };\n',
    "};\n",
    'zone "a.b" { type primary; file "/x"; ;};\n',
    "",
    '// c\n/* d\n */ # e\nzone "A.b." IN { type master; file "x"; };\nacl "x" { 10.0.0.0/8; };\n',
]


@pytest.mark.parametrize("text", CHECKCONF)
def test_named_checkconf_says_what_the_real_one_says(bind: Server, text: str, tmp_path: Path) -> None:
    path = tmp_path / "n.conf"
    path.write_text(text)
    bind.host.files.mkdir(str(tmp_path), parents=True)
    bind.write(str(path), text)
    done = subprocess.run([real("named-checkconf"), str(path)], capture_output=True, text=True, timeout=30)
    ours = bind.run("named-checkconf", str(path))
    assert (ours.exit, f"{ours.stdout!s}{ours.stderr}") == (done.returncode, done.stdout + done.stderr)


def test_named_checkconf_prints_what_the_real_one_prints(bind: Server, tmp_path: Path) -> None:
    """The lab's own configuration of a new host, in a folder; the real program sorts the statements at the top."""
    text = ""
    for path in ("/etc/bind/named.conf.options", "/etc/bind/named.conf.default-zones"):
        text += bind.host.files.read(path).decode()
    text += 'zone "k8s" { type primary; file "k8s.zone"; allow-transfer { none; 10.0.0.0/8; }; };\n'
    text = text.replace("/var/cache/bind", "/tmp")
    main = tmp_path / "n.conf"
    main.write_text(text)
    bind.host.files.mkdir(str(tmp_path), parents=True)
    bind.write(str(main), text)
    done = subprocess.run([real("named-checkconf"), "-p", "-x", str(main)], capture_output=True, text=True, timeout=30)
    ours = str(bind.run("named-checkconf", "-p", "-x", str(main)).stdout)
    assert sorted(ours.splitlines()) == sorted(done.stdout.splitlines())
    zones = r'zone "[^"]+" \{.*?\n\};'
    assert re.findall(zones, ours, re.DOTALL) == re.findall(zones, done.stdout, re.DOTALL)


CHECKZONE = {
    "right": zone("a.b", "www IN A 192.0.2.2", "*.w IN A 192.0.2.3"),
    "unknown type": zone("a.b", "x IN NONSENSE 1"),
    "bad address": zone("a.b", "x IN A 1.2.3"),
    "cname and other": zone("a.b", "x IN CNAME ns", "x IN A 1.2.3.4"),
    "two cnames": zone("a.b", "x CNAME y", "x CNAME z"),
    "two soas": zone("a.b", "@ SOA a b 2 2 3 4 5"),
    "no soa": "$TTL 60\nns A 1.2.3.4\n",
    "no ns": "$TTL 60\n@ SOA a b 1 2 3 4 5\n",
    "ns without address": "$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS nope\n",
    "elsewhere": zone("a.b", "other.org. A 1.1.1.1"),
    "dangling": zone("a.b", "x CNAME nope"),
    "missing include": zone("a.b", "$INCLUDE /none"),
    "unbalanced": zone("a.b", "x A 1.1.1.1 ("),
    "twice": zone("a.b", "x A 1.1.1.1", "x A 1.1.1.1"),
    "unclosed": zone("a.b", 'x TXT "un'),
    "empty": "",
    "directive": zone("a.b", "$NONSENSE"),
    "names of hosts": zone("a.b", "a_b TXT x", "_s._tcp SRV 1 2 3 ns", "*.w MX 5 .", "a_b.*.c TXT x", "p PTR a_b"),
} | {
    f"no host: {line}": zone("a.b", line)
    for line in ("a_b A 1.1.1.1", "-a AAAA ::1", "a.*.w MX 5 ns", "m MX 5 a_b", "s SRV 1 2 3 a_b", "d NS a_b")
}


@pytest.mark.parametrize("name", CHECKZONE)
def test_named_checkzone_ends_as_the_real_one_does(bind: Server, name: str, tmp_path: Path) -> None:
    """The words for a line that is wrong are dnspython's; how it ends, and what it says of the zone, are BIND's."""
    path = tmp_path / "a.zone"
    path.write_text(CHECKZONE[name])
    bind.host.files.mkdir(str(tmp_path), parents=True)
    bind.write(str(path), CHECKZONE[name])
    for strict in ([], ["-k", "fail"]):
        line = ["named-checkzone", *strict, "-i", "local", "a.b", str(path)]
        done = subprocess.run([real(line[0]), *line[1:]], capture_output=True, text=True, timeout=30)
        ours = bind.run(*line)
        assert (ours.exit, str(ours.stdout).splitlines()[-1:]) == (done.returncode, done.stdout.splitlines()[-1:])
        loaded = "loaded serial 1"
        assert (loaded in str(ours.stdout)) == (loaded in done.stdout)


def test_bind_keeps_the_old_zone_where_the_new_one_is_broken(bind: Server) -> None:
    file = "/etc/bind/named.conf.kubernetes"
    bind.host.files.mkdir("/etc/bind/zones")
    bind.write("/etc/bind/zones/a", zone("a.test", "www A 192.0.2.2"))
    bind.write(file, 'zone "a.test" { type primary; file "/etc/bind/zones/a"; };\n')
    assert bind.answer("www.a.test")[0] == "NXDOMAIN"
    assert bind.run("systemctl", "reload", "named").exit == 0
    assert bind.answer("www.a.test") == ("NOERROR", {"192.0.2.2"})
    bind.write("/etc/bind/zones/a", zone("a.test", "www A nonsense"))
    assert bind.run("rndc", "reload").exit == 0
    assert bind.answer("www.a.test") == ("NOERROR", {"192.0.2.2"})
    bind.write(file, "nonsense;\n")
    assert bind.run("rndc", "reload").exit == 1
    assert bind.answer("www.a.test") == ("NOERROR", {"192.0.2.2"})
    bind.write(file, 'zone "a.test" { type primary; file "/etc/bind/zones/a"; };\n')
    assert bind.run("systemctl", "restart", "named").exit == 0, "named starts with a zone that does not load"
    assert bind.answer("www.a.test") == ("SERVFAIL", set())
    bind.write(file, "nonsense;\n")
    assert bind.run("systemctl", "restart", "named").exit == 1
    assert service.answering(bind.world, bind.name) is None
    assert bind.run("rndc", "reload").exit == 1


def test_its_clock_is_set_as_a_host_s(simulated: Simulated) -> None:
    name = simulated.world.keys("nameserver")[0]
    nodes = simulated.world.keys("node")
    simulated.text("date -s @1000000000", name)
    assert simulated.text("date +%s", name).startswith("10000000")
    assert simulated.world.keys("node") == nodes, "it is no node of the cluster because of that"
