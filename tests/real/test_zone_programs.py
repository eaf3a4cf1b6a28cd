"""The real BIND and dnsmasq are asked for every record of what is rendered; they run unprivileged, on loopback."""

from __future__ import annotations

import contextlib
import getpass
import socket
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.model import Cluster
from lib.config.records import load_records
from lib.config.records_model import Own, OwnA, Record
from lib.zones import on_server, render_files
from tests.records import ROOT, complete, inputs, many, owns, sample
from tests.tools import tool

VALID = ROOT / "tests" / "configs" / "records" / "valid"
HOST = "127.0.0.1"
Asked = dict[tuple[str, str], tuple[int, set[tuple[str | int, ...]]]]


def free_port() -> int:
    """Return a port that is free for UDP and TCP."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as packets:
            stream.bind((HOST, 0))
            port: int = stream.getsockname()[1]
            with contextlib.suppress(OSError):
                packets.bind((HOST, port))
                return port


def dnsmasq_line(folder: Path, cluster: Cluster, files: Mapping[str, str], port: int) -> list[str]:
    """Write the file where dnsmasq reads it, and return how it is started."""
    (folder / "kubernetes.conf").write_text(files["dnsmasq.conf"])
    line = [tool("dnsmasq"), f"--conf-file={folder}/kubernetes.conf"]
    tested = subprocess.run([*line, "--test"], capture_output=True, text=True)
    assert (tested.returncode, "syntax check OK" in tested.stderr) == (0, True), tested.stderr
    here = (f"--port={port}", f"--listen-address={HOST}", "--bind-interfaces", "--no-resolv", "--no-hosts")
    return [*line, "--keep-in-foreground", "--log-facility=-", "--pid-file", f"--user={getpass.getuser()}", *here]


def named_line(folder: Path, cluster: Cluster, files: Mapping[str, str], port: int) -> list[str]:
    """Write the files where BIND reads them, have them checked, and return how it is started."""
    for path, text in on_server(cluster, files).items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
    for zone in folder.glob("zones/*"):
        run(tool("named-checkzone"), "-i", "local", zone.name.removesuffix(".1.zone"), str(zone))
    (folder / "main.conf").write_text(
        f'options {{ directory "{folder}"; listen-on port {port} {{ {HOST}; }}; listen-on-v6 {{ none; }};\n'
        "pid-file none; session-keyfile none; recursion no; dnssec-validation no; }; controls { };\n"
        f'include "{folder}/named.conf";\n'
    )
    run(tool("named-checkconf"), "-z", str(folder / "main.conf"))
    return [tool("named"), "-g", "-n", "1", "-c", str(folder / "main.conf")]


def run(*line: str) -> None:
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def serving(cluster: Cluster, records: Sequence[Record]) -> Iterator[int]:
    """Run the chosen back end with what is rendered; its port is free for others afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        dns_here = msgspec.structs.replace(cluster.dns, file=f"{folder}/named.conf", zones=f"{folder}/zones")
        cluster = msgspec.structs.replace(cluster, dns=dns_here)
        files = render_files(cluster, records, {})
        start = dnsmasq_line if cluster.dns.backend == "dnsmasq" else named_line
        line = start(folder, cluster, files, port)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                until_it_answers(process, port, cluster.dns.domain, folder / "log")
                yield port
            finally:
                process.terminate()
                process.wait(30)


def until_it_answers(process: subprocess.Popen[bytes], port: int, domain: str, log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(dns.exception.DNSException, OSError):
            message = dns.message.make_query(domain, "SOA")
            if dns.query.udp(message, HOST, 0.2, port).rcode() != dns.rcode.SERVFAIL:
                return
        time.sleep(0.02)
    pytest.fail(f"it does not answer:\n{log.read_text()}")


def ask(port: int, name: str, kind: str, tcp: bool = False) -> dns.message.Message:
    message = dns.message.make_query(name, kind)
    if tcp:
        return dns.query.tcp(message, HOST, 10, port)
    return dns.query.udp_with_fallback(message, HOST, 10, port)[0]


def answered(answer: dns.message.Message, kind: str) -> tuple[int, set[tuple[str | int, ...]]] | None:
    """Return TTL and data of the first rrset of that type: what the name itself was answered with."""
    for rrset in answer.answer:
        if dns.rdatatype.to_text(rrset.rdtype) == kind:
            return rrset.ttl, {data_of(kind, one) for one in rrset}
    return None


def data_of(kind: str, one: object) -> tuple[str | int, ...]:
    if kind == "TXT":
        return (b"".join(one.strings).decode(),)  # type: ignore[attr-defined]
    if kind == "SRV":
        target = one.target.to_text(omit_final_dot=True)  # type: ignore[attr-defined]
        return (one.priority, one.weight, one.port, target)  # type: ignore[attr-defined]
    return (str(one).removesuffix("."),)


def wanted(records: Sequence[Record]) -> Asked:
    """Return what is to be answered by name and type; a wildcard is asked for a name of two labels below it."""
    found: defaultdict[tuple[str, str], set[tuple[str | int, ...]]] = defaultdict(set)
    ttls = {}
    for one in records:
        key = (one.name.replace("*.", "any.thing."), one.type)
        found[key].add(one.data)
        ttls[key] = one.ttl
    return {key: (ttls[key], data) for key, data in found.items()}


def says_all(port: int, records: Sequence[Record], ways: Sequence[bool] = (False, True)) -> None:
    for (name, kind), meant in wanted(records).items():
        for tcp in ways:
            assert answered(ask(port, name, kind, tcp), kind) == meant, (name, kind, tcp)


CASES = [("bind", "everything"), ("bind", "bind"), ("bind", "empty"), ("dnsmasq", "everything"), ("dnsmasq", "empty")]


@pytest.mark.parametrize(("backend", "name"), CASES)
def test_every_record_is_answered(backend: str, name: str, tmp_path: Path) -> None:
    cluster, records = load_records(inputs(tmp_path, VALID / f"{name}.toml", backend))
    with serving(cluster, records) as port:
        says_all(port, records)


@pytest.mark.parametrize("backend", ["bind", "dnsmasq"])
@settings(deadline=None, max_examples=5)
@given(st.data())
def test_any_records_are_answered(backend: str, data: st.DataObject) -> None:
    cluster = sample(backend)
    records = complete(cluster, data.draw(owns(backend)))
    with serving(cluster, records) as port:
        says_all(port, records, [False])


@pytest.mark.parametrize("backend", ["bind", "dnsmasq"])
def test_five_thousand_records_are_answered(backend: str) -> None:
    cluster = sample(backend, reverse=("172.16.0.0/16",))
    records = complete(cluster, many(2500))
    with serving(cluster, records) as port:
        says_all(port, records, [False])


@pytest.mark.parametrize("backend", ["bind", "dnsmasq"])
@pytest.mark.parametrize("cidr", ["10.10.0.0/16", "10.10.0.0/22", "10.10.1.0/25", "10.10.1.0/26"])
def test_reverse_names_in_networks_of_any_length(backend: str, cidr: str) -> None:
    cluster = sample(backend, cidr=cidr)
    records = complete(cluster, Own())
    assert any(one.type == "PTR" for one in records)
    with serving(cluster, records) as port:
        says_all(port, [one for one in records if one.type == "PTR"])
        # an address beside the network is not ours to deny
        assert ask(port, "9.77.10.10.in-addr.arpa", "PTR").rcode() != dns.rcode.NXDOMAIN or cidr.endswith("/16")
        if cidr.endswith(("/25", "/26")):
            assert ask(port, "200.1.10.10.in-addr.arpa", "PTR").rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize("backend", ["bind", "dnsmasq"])
def test_what_is_not_there_is_denied_here_and_what_has_another_type_is_not(backend: str) -> None:
    """A resolver that is told NXDOMAIN for AAAA may take the name itself for missing."""
    cluster = sample(backend)
    records = complete(cluster, Own(a=(OwnA(name="printer", address="10.10.1.9"),)))
    with serving(cluster, records) as port:
        for name, kind, code in (
            ("nowhere.sddc.info", "A", dns.rcode.NXDOMAIN),
            ("99.1.10.10.in-addr.arpa", "PTR", dns.rcode.NXDOMAIN),
            ("printer.sddc.info", "AAAA", dns.rcode.NOERROR),
            ("any.apps.sddc.info", "AAAA", dns.rcode.NOERROR),
            ("k8s-api.sddc.info", "AAAA", dns.rcode.NOERROR),
        ):
            answer = ask(port, name, kind)
            assert (name, answer.rcode(), answered(answer, kind)) == (name, code, None)
        assert answered(ask(port, "apps.sddc.info", "A"), "A") is None
        assert answered(ask(port, "fooapps.sddc.info", "A"), "A") is None
