"""`invoke dns` onto the lab's BIND through the real command line: deployed, changed, refused where it is not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.command import Command, read, write
from tests.rehearsal.deployed import BIND_FILE, PRINTER, Rehearsal, step, told

LOCAL = "/etc/bind/named.conf.local"
INCLUDE = f'include "{BIND_FILE}";'


@pytest.fixture(scope="module")
def bind(product: Path, tmp_path_factory: pytest.TempPathFactory, seed: int | None) -> Rehearsal:
    return Rehearsal(product, tmp_path_factory.mktemp("bind"), seed, "dns", "--only", bind=True)


def test_records_are_deployed_changed_and_asked_for(bind: Rehearsal) -> None:
    assert ("A *.apps", None, "10.10.1.50") in told(step(bind.cold, "zones"))
    with bind.lab(), bind.server() as host:
        assert bind.zones()["outcome"] == "unchanged"
        bind.append("dns/records.toml", PRINTER)
        assert told(bind.zones()) == {("A printer", None, "10.10.1.9"), ("PTR 10.10.1.9", None, "printer.sddc.info")}
        zones = host.run(read("ls", "-A", f"{BIND_FILE}.zones")).stdout.split()
        assert zones == ["1.10.10.in-addr.arpa.2.zone", "sddc.info.2.zone"]
        assert host.run(read("cat", LOCAL)).stdout.count(INCLUDE) == 1


def test_a_server_that_does_not_include_our_file_is_told_and_its_own_files_are_left(bind: Rehearsal) -> None:
    """Before anything is done where our zones should be there already, and else by the check before the reload."""
    with bind.lab(), bind.server() as host:
        host.run(Command(("tee", LOCAL), stdin=b"// ours was here\n"))
        host.run(write("systemctl", "reload", "named"))
        for text in (None, "// empty\n"):
            if text:
                host.run(Command(("tee", BIND_FILE), stdin=text.encode()))
            before = host.run(read("cat", BIND_FILE)).stdout
            failed = bind.json("dns", "--only", code=1)
            error = step(failed, "zones" if text else "name_server")["error"]
            assert f"does not read {BIND_FILE}" in error["problem"]
            assert INCLUDE in error["fix"]
            assert host.run(read("cat", BIND_FILE)).stdout == before
            assert host.run(read("cat", LOCAL)).stdout == "// ours was here\n"
            assert host.run(read("ls", "-A", "/etc")).stdout.count("groundwork") == 0


def test_a_file_that_named_conf_includes_and_is_not_there_is_to_be_made(bind: Rehearsal) -> None:
    with bind.lab(), bind.server() as host:
        host.run(write("rm", BIND_FILE))
        error = step(bind.json("dns", "--only", code=1), "name_server")["error"]
        assert "refuses its configuration" in error["problem"]
        assert f"touch {BIND_FILE}" in error["fix"]


def test_another_back_end_than_what_runs_there_is_told(bind: Rehearsal) -> None:
    with bind.lab():
        bind.replace('backend = "bind"', 'backend = "dnsmasq"')
        error = step(bind.json("dns", "--only", code=1), "name_server")["error"]
        assert "has no dnsmasq" in error["problem"]
        assert "dns.backend" in error["fix"]
