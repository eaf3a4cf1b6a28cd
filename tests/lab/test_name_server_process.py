"""The simulated name server over its sockets: both protocols, faults, a dead service, scripts that outlive us."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from lib.lab import start
from tests.lab.simulated import CLUSTER
from tests.lab.test_process import client, fault, journal

ADDRESS, FILE = CLUSTER.dns.server, CLUSTER.dns.file
KNOWN = "switch.provisioning.invalid"  # in somebody else's file, there from the beginning


@pytest.fixture(autouse=True)
def no_faults(running: Path) -> Iterator[None]:
    yield
    start.ask(running, "DELETE", "/fault")


def port_of(root: Path) -> int:
    lab: dict[str, Any] = json.loads((root / ".lab" / "lab.json").read_text())
    return int(lab["dns"][ADDRESS])


def ask(root: Path, name: str, tcp: bool = False, seconds: float = 10) -> dns.message.Message:
    send = dns.query.tcp if tcp else dns.query.udp
    answer: dns.message.Message = send(dns.message.make_query(name, "A"), "127.0.0.1", seconds, port_of(root))
    return answer


def ssh(root: Path, *words: str, stdin: str | None = None) -> int:
    return client(root, ADDRESS, *words, stdin=stdin).returncode


def test_both_protocols_answer_and_are_journaled(running: Path) -> None:
    for tcp in (False, True):
        answer = ask(running, KNOWN, tcp)
        assert [str(one) for rrset in answer.answer for one in rrset] == ["192.0.2.2"]
        line = journal(running, "dns")[-1]
        assert {"t", "kind", "host", "name", "type", "rcode"} == set(line)
        assert (line["host"], line["name"], line["type"], line["rcode"]) == (ADDRESS, KNOWN, "A", "NOERROR")


def test_faults_are_answered_so(running: Path) -> None:
    for code in ("SERVFAIL", "REFUSED"):
        fault(running, f"dns-{code.lower()}", f"{ADDRESS} {KNOWN} A")
        assert dns.rcode.to_text(ask(running, KNOWN).rcode()) == code
        assert ask(running, KNOWN).rcode() == dns.rcode.NOERROR
    fault(running, "dns-truncated", KNOWN, 0)
    assert ask(running, KNOWN).flags & dns.flags.TC
    assert ask(running, KNOWN, tcp=True).answer
    fault(running, "timeout", KNOWN)
    with pytest.raises(dns.exception.Timeout):
        ask(running, KNOWN, seconds=0.2)
    assert journal(running, "dns")[-1]["rcode"] is None
    fault(running, "disk-full", f"{ADDRESS} {FILE}")
    assert ssh(running, "tee", FILE, stdin="# x\n") == 1
    fault(running, "partition", ADDRESS, 0)
    assert ssh(running, "true") == 255


def test_many_records_do_not_fit_a_packet(running: Path) -> None:
    lines = "".join(f"host-record=many.test,10.9.{n // 200}.{n % 200 + 1}\n" for n in range(300))
    assert ssh(running, "tee", FILE, stdin=lines) == 0
    assert ssh(running, "systemctl", "restart", CLUSTER.dns.service) == 0
    cut = ask(running, "many.test")
    assert cut.flags & dns.flags.TC
    assert not cut.answer
    assert sum(len(rrset) for rrset in ask(running, "many.test", tcp=True).answer) == 300
    assert ssh(running, "rm", FILE) == 0


def test_a_dead_service_refuses_and_the_port_stays_ours(running: Path) -> None:
    port = port_of(running)
    assert ssh(running, "systemctl", "stop", CLUSTER.dns.service) == 0
    with pytest.raises(ConnectionRefusedError):
        ask(running, KNOWN, tcp=True)
    with socket.socket(type=socket.SOCK_DGRAM) as packets:
        packets.connect(("127.0.0.1", port))
        packets.settimeout(5)
        packets.send(dns.message.make_query(KNOWN, "A").to_wire())
        with pytest.raises(ConnectionRefusedError):
            packets.recv(512)
    with socket.socket(type=socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    assert ssh(running, "systemctl", "start", CLUSTER.dns.service) == 0
    assert ask(running, KNOWN).answer
    assert ask(running, KNOWN, tcp=True).answer


def test_a_script_outlives_its_connection_and_a_killed_lab(running: Path) -> None:
    """After kill -9 the service is there, and the script goes on at the line that it was at."""
    script = (
        f"set -e\ntouch /root/began\nsleep 1\nrm {FILE}\nsystemctl restart {CLUSTER.dns.service}\ntouch /root/done\n"
    )
    assert ssh(running, "tee", FILE, stdin="host-record=loaded.test,10.9.0.1\n") == 0
    assert ssh(running, "tee", "/root/rollback.sh", stdin=script) == 0
    assert ssh(running, "systemctl", "restart", CLUSTER.dns.service) == 0
    line = ["ssh", "-q", "-F", str(running / "ssh_config"), ADDRESS, "nohup sh /root/rollback.sh"]
    with subprocess.Popen(line, stdin=subprocess.DEVNULL) as left:
        until(lambda: ssh(running, "test", "-e", "/root/began") == 0)
        left.kill()
    found = start.running(running)
    assert found
    os.kill(found["pid"], signal.SIGKILL)
    until(lambda: start.running(running) is None)
    start.ensure(running)
    until(lambda: ssh(running, "test", "-e", "/root/done") == 0)
    assert ssh(running, "test", "-e", FILE) == 1
    assert ask(running, "loaded.test").rcode() != dns.rcode.NOERROR, "the script put the old state back"
    ran = [each["argv"][0] for each in journal(running, "script")]
    assert ran == ["touch", "sleep", "rm", "systemctl", "touch"], "each line once"


def test_a_script_ends_with_its_timeout(running: Path) -> None:
    assert ssh(running, "tee", "/root/slow.sh", stdin="sleep 1\ntouch /root/late\n") == 0
    assert ssh(running, "timeout", "-k", "5", "0.1", "sh", "/root/slow.sh") == 124
    assert ssh(running, "sleep", "1.3") == 0
    assert ssh(running, "test", "-e", "/root/late") == 1
    assert ssh(running, "timeout", "5", "nohup", "sh", "/root/none.sh") == 2


def until(done: Any) -> None:
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)
