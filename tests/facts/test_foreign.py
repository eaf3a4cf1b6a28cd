"""Who else on a name server speaks for our names."""

from __future__ import annotations

import pytest

from lib.config.records_model import Record
from lib.facts.dnsmasq_files import read_files
from lib.facts.foreign import Claim, in_bind, in_dnsmasq, is_loop

MAIN, FOLDER = "/etc/dnsmasq.conf", "/etc/dnsmasq.d"
OWN = "/etc/dnsmasq.d/kubernetes.conf"
RECORDS = (
    Record("vip.example.net", "A", 60, ("10.0.0.30",)),
    Record("*.apps.example.net", "A", 0, ("10.0.0.50",)),
    Record("api.example.net", "CNAME", 60, ("vip.example.net",)),
    Record("30.0.0.10.in-addr.arpa", "PTR", 60, ("vip.example.net",)),
)


def claims(printed: str) -> list[Claim]:
    return list(in_dnsmasq(read_files(printed, MAIN, FOLDER), OWN, RECORDS))


@pytest.mark.parametrize(
    ("line", "name", "same"),
    [
        ("host-record=vip.example.net,10.0.0.99", "vip.example.net", False),
        ("host-record=vip.example.net,10.0.0.30,60", "vip.example.net", True),
        ("host-record=other.example.net,10.0.0.30", "30.0.0.10.in-addr.arpa", False),
        ("address=/vip.example.net/10.0.0.99", "vip.example.net", False),
        ("address=/x.apps.example.net/10.0.0.99", "*.apps.example.net", False),
        ("cname=api.example.net,vip.example.net", "api.example.net", True),
        ("cname=other.example.net,api.example.net,elsewhere.example.net", "api.example.net", False),
        ("txt-record=vip.example.net,hello", "vip.example.net", False),
        ("ptr-record=30.0.0.10.in-addr.arpa,other.example.net", "30.0.0.10.in-addr.arpa", False),
    ],
)
def test_a_line_of_another_file_that_answers_for_one_of_our_names(line: str, name: str, same: bool) -> None:
    [claim] = claims(f"/etc/dnsmasq.d/other.conf:{line}")
    assert (claim.place, claim.name, claim.same) == ("/etc/dnsmasq.d/other.conf", name, same)


@pytest.mark.parametrize(
    "printed",
    [
        f"{OWN}:host-record=vip.example.net,10.0.0.99",
        "/etc/dnsmasq.d/.hidden:host-record=vip.example.net,10.0.0.99",
        "/etc/dnsmasq.d/old.conf~:host-record=vip.example.net,10.0.0.99",
        "/etc/dnsmasq.d/other.conf:# host-record=vip.example.net,10.0.0.99",
        "/etc/dnsmasq.d/other.conf:host-record=vip.example.org,10.0.0.99",
        "/etc/dnsmasq.d/other.conf:server=/example.net/10.0.0.99",
        "/etc/dnsmasq.d/other.conf:dhcp-range=10.0.0.100,10.0.0.200",
        "/etc/hosts:10.0.0.30 vip.example.net vip",
        "/etc/hosts:10.0.0.30 vip vip.example.net",
        f"{MAIN}:no-hosts\n/etc/hosts:127.0.1.1 vip.example.net",
        f"{MAIN}:conf-dir={FOLDER},*.conf\n{FOLDER}/vip.txt:host-record=vip.example.net,10.0.0.99",
    ],
)
def test_what_takes_no_name(printed: str) -> None:
    assert claims(printed) == []


def test_a_host_of_the_server_s_own_with_another_address() -> None:
    [claim] = claims("/etc/hosts:127.0.1.1 vip.example.net")
    assert not claim.same


@pytest.mark.parametrize(
    ("zone", "file", "name"),
    [
        ("example.net", "/etc/bind/ours/example.net.7.zone", None),
        ("example.net", "/etc/bind/db.example.net", "example.net"),
        ("apps.example.net", "/etc/bind/db.apps", "*.apps.example.net"),
        ("lab.example.net", "/etc/bind/db.lab", None),
        ("net", "/etc/bind/db.net", None),
    ],
)
def test_a_zone_of_others_that_takes_our_names(zone: str, file: str, name: str | None) -> None:
    printed = f'options {{\n}};\nzone "{zone}" {{\n\ttype primary;\n\tallow-transfer {{\n\t}};\n\tfile "{file}";\n}};\n'
    claims = list(in_bind(printed, "/etc/bind/ours", ["example.net", "0.0.10.in-addr.arpa"], RECORDS))
    assert [claim.name for claim in claims] == ([name] if name else [])


@pytest.mark.parametrize(
    ("asked", "behind", "loop"),
    [("127.0.0.53", "10.0.0.1", True), ("127.0.0.53", "9.9.9.9", False), ("9.9.9.9", "10.0.0.1", False)],
)
def test_a_resolver_that_asks_itself(asked: str, behind: str, loop: bool) -> None:
    printed = f"/etc/resolv.conf:nameserver {asked}\n/run/systemd/resolve/resolv.conf:nameserver {behind}\n"
    assert is_loop(printed, "10.0.0.1") is loop
