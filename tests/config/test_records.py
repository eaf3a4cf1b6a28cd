"""dns/records.toml: a file for every rule, each refused with its line; and what follows from both inputs."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lib.config import records_derived, records_rules
from lib.config.records import load_records
from lib.config.records_model import Record, address_of, pointer, reverse_zone, strings
from lib.errors import ConfigurationError
from tests.records import ROOT, inputs

HERE = ROOT / "tests" / "configs" / "records"
INVALID = sorted((HERE / "invalid").glob("*.toml"))
VALID = sorted((HERE / "valid").glob("*.toml"))


def expected(path: Path) -> list[str]:
    return re.findall(r"^# expect: (.*)$", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_every_rule_is_refused_at_its_line_and_nothing_else_is(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_records(inputs(tmp_path, path))
    told = [f"{p.subject}: {p.problem.split(' (')[0]} [{p.where}]" for p in caught.value.problems]
    assert told == expected(path), str(caught.value)


@pytest.mark.parametrize("room", [records_derived, records_rules], ids=lambda room: room.__name__)
def test_there_is_a_file_for_every_complaint_in_the_code(room: ModuleType) -> None:
    met = "\n".join(line for path in INVALID for line in expected(path))
    heads = set()
    for node in ast.walk(ast.parse(inspect.getsource(room))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            told = re.findall(r"^(?:is|has|makes|leads|goes|stands|repeats|cannot) [^(]*[^( ]", node.value)
            heads |= set(told)
    assert heads
    assert [head for head in sorted(heads) if head not in met] == []


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_what_is_right_is_taken(path: Path, tmp_path: Path) -> None:
    cluster, records = load_records(inputs(tmp_path, path))
    own = set(records) - set(load_records(inputs(tmp_path, HERE / "valid" / "empty.toml", cluster.dns.backend))[1])
    assert len(own) >= path.read_text().count("\n[[")


def test_the_sample_says_what_follows_from_it() -> None:
    cluster, records = load_records(ROOT)
    domain, dns = cluster.dns.domain, cluster.dns
    found = set(records)
    guests = {(each.name, each.address) for each in cluster.guests()}
    hosts = {(each.name, each.address) for each in cluster.proxmox.hosts}
    services = {(each.name, each.address) for each in cluster.platform.services.values()}
    endpoint = (cluster.kubernetes.endpoint, cluster.kubernetes.virtual_ip)
    for name, address in guests | hosts | services | {endpoint}:
        assert Record(f"{name}.{domain}", "A", dns.ttl, (address,)) in found
        reverse = ".".join(address.split(".")[::-1]) + ".in-addr.arpa"
        assert Record(reverse, "PTR", dns.ttl, (f"{name}.{domain}",)) in found
    for alias, target in (
        *((alias, endpoint[0]) for alias in cluster.kubernetes.aliases),
        ("dashboard.k8s", "ingress.k8s"),
        ("metrics.k8s", "grafana.k8s"),
    ):
        assert Record(f"{alias}.{domain}", "CNAME", dns.ttl, (f"{target}.{domain}",)) in found
    assert Record(f"_kubernetes._tcp.{domain}", "SRV", 0, (0, 0, 6443, f"{endpoint[0]}.{domain}")) in found
    assert Record(f"*.apps.{domain}", "A", 0, (cluster.platform.services["ingress"].address,)) in found


def test_a_whole_name_and_one_below_the_domain_are_the_same(tmp_path: Path) -> None:
    text = '[[a]]\nname = "Printer.SDDC.info."\naddress = "10.10.1.9"\n[[cname]]\nname = "x"\ntarget = "printer"\n'
    _, records = load_records(inputs(tmp_path, text))
    assert Record("printer.sddc.info", "A", 3600, ("10.10.1.9",)) in records


def test_one_file_does_not_hide_the_other(tmp_path: Path) -> None:
    root = inputs(tmp_path, '[[cname]]\nname = "x"\ntraget = "y"\n')
    cluster = root / "cluster.toml"
    cluster.write_text(cluster.read_text().replace("vmid = 9001", "vmid = 9999"))
    with pytest.raises(ConfigurationError) as caught:
        load_records(root)
    assert [problem.where.split(":")[0] for problem in caught.value.problems] == ["cluster.toml", "dns/records.toml"]
    (root / "dns" / "records.toml").unlink()
    with pytest.raises(ConfigurationError) as caught:
        load_records(root)
    assert [problem.subject for problem in caught.value.problems] == ["images.golden.vmid", "dns/records.toml"]


def test_what_goes_wrong_in_cluster_toml_alone_is_told_there(tmp_path: Path) -> None:
    root = inputs(tmp_path, "")
    cluster = root / "cluster.toml"
    cluster.write_text(cluster.read_text().replace('wildcard = "*.apps"', 'wildcard = "*.k8s"'))
    with pytest.raises(ConfigurationError) as caught:
        load_records(root)
    assert {problem.where.split(":")[0] for problem in caught.value.problems} == {"cluster.toml"}
    assert "platform.services.grafana.name: is answered otherwise by the wildcard *.k8s" in str(caught.value)


def test_a_derived_name_may_be_too_long(tmp_path: Path) -> None:
    root = inputs(tmp_path, "")
    cluster = root / "cluster.toml"
    cluster.write_text(cluster.read_text().replace('"sddc.info"', f'"{".".join(["x" * 60] * 4)}"'))
    with pytest.raises(ConfigurationError, match="is longer than 253 characters with its domain"):
        load_records(root)


@pytest.mark.parametrize(
    ("networks", "address", "zone"),
    [
        (["10.10.1.0/24"], "10.10.1.21", "1.10.10.in-addr.arpa"),
        (["10.10.0.0/16"], "10.10.1.21", "10.10.in-addr.arpa"),
        (["10.0.0.0/8"], "10.10.1.21", "10.in-addr.arpa"),
        (["10.10.0.0/20"], "10.10.1.21", "1.10.10.in-addr.arpa"),
        (["10.0.0.0/12"], "10.10.1.21", "10.10.in-addr.arpa"),
        (["10.10.1.0/26"], "10.10.1.21", "21.1.10.10.in-addr.arpa"),
        (["10.10.1.0/26"], "10.10.1.64", None),
        (["10.0.0.0/8", "10.10.1.0/24"], "10.10.1.21", "1.10.10.in-addr.arpa"),
        (["fd00:10::/64"], "fd00:10::8", "0.0.0.0.0.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa"),
        (["fd00:10::/62"], "fd00:10::8", "0.0.0.0.0.0.0.0.0.1.0.0.0.0.d.f.ip6.arpa"),
        (["fd00:10::/64", "10.10.1.0/24"], "fd00:11::8", None),
    ],
)
def test_a_reverse_zone_answers_for_our_addresses_alone(networks: list[str], address: str, zone: str | None) -> None:
    from ipaddress import ip_address, ip_network

    found = tuple(ip_network(text) for text in networks)
    assert reverse_zone(ip_address(address), found) == zone
    assert address_of(pointer(ip_address(address))) == ip_address(address)


def test_a_text_is_cut_between_characters() -> None:
    text = "é☃x" * 200
    pieces = strings(text)
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode()) <= 255 for piece in pieces)


def test_the_command_ends_with_2_and_no_traceback(checkout: Path, run: Any) -> None:
    shutil.copy(HERE / "invalid" / "no-address.toml", checkout / "dns" / "records.toml")
    for task in ("dns.render", "dns.check"):
        result = run(task)
        assert result.returncode == 2
        assert "a[0].address: is not an IPv4 address of a host" in result.stderr
        assert "[dns/records.toml:4]" in result.stderr
        assert "Traceback" not in result.stderr
