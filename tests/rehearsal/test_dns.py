"""`invoke dns` through the real command line: deployed, mended, refused, put back, cut off; the lab answers."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from lib.command import Command, read, write
from lib.lab.faults import Faults
from tests.rehearsal.deployed import FILE, PRINTER, SERVER, STAGE, Rehearsal, left, sent, step, told, until
from tests.rehearsal.test_interruption import started

READS = {"systemctl is-active", "dnsmasq --test", "grep -aRH", "grep -H", f"cat {FILE}", f"ls -A {STAGE}"}


@pytest.fixture(scope="module")
def dns(product: Path, tmp_path_factory: pytest.TempPathFactory, seed: int | None) -> Rehearsal:
    return Rehearsal(product, tmp_path_factory.mktemp("dns"), seed, "dns")


def test_what_dns_needs_is_built_before_and_every_record_deployed(dns: Rehearsal) -> None:
    assert [phase["name"] for phase in dns.cold["phases"]] == ["foundation", "dns"]
    assert dns.cold["outcome"] == "changed"
    assert step(dns.cold, "base_template")["outcome"] == "changed"
    if dns.seed is None:  # else an earlier run may have deployed them
        assert ("A k8s-worker-4", None, "10.10.1.43") in told(step(dns.cold, "zones"))
        assert any("restarted" in (one["after"] or "") for one in step(dns.cold, "zones")["changes"])
    with dns.lab():
        assert dns.is_clean()
        assert dns.run("dns.check").returncode == 0, "a run writes nothing into dns/"
        again = dns.json("dns")
        assert again["outcome"] == "unchanged"
        assert "refreshed" not in {one["outcome"] for phase in again["phases"] for one in phase["steps"]}
        asked = dns.run("dns.query")
        assert asked.returncode == 0, asked.stdout
        assert asked.stdout.startswith("groundwork dns.query · rehearsal in the lab (")
        assert "38 asked over UDP and TCP, 0 not as expected" in asked.stdout


def test_a_look_sends_no_write_and_what_it_shows_is_then_done(dns: Rehearsal) -> None:
    with dns.lab():
        dns.append("dns/records.toml", PRINTER)
        before = len(sent(dns.checkout))
        planned = dns.zones("--dry-run")
        assert {" ".join(line.split()[:2]) for line in sent(dns.checkout)[before:]} <= {
            " ".join(line.split()[:2]) for line in READS
        }
        assert told(planned) == {("A printer", None, "10.10.1.9"), ("PTR 10.10.1.9", None, "printer.sddc.info")}
        assert "the files in dns/ are stale" in dns.run("dns", "--only", "--dry-run").stdout
        assert told(dns.zones()) == told(planned)
        assert dns.is_clean()
        asked = dns.run("dns.query", "--name", "10.10.1.9")
        assert (asked.returncode, "printer.sddc.info" in asked.stdout) == (0, True)
        asked = dns.run("dns.query", "--name", "plotter")
        assert (asked.returncode, "plotter is no name of ours" in asked.stderr) == (1, True)


def test_only_checks_what_dns_relies_on(dns: Rehearsal) -> None:
    with dns.lab() as lab:
        document = dns.json("dns", "--only")
        assert [[one["name"] for one in phase["steps"]] for phase in document["phases"]] == [
            ["validation"],
            ["name_server", "zones"],
        ]
        dns.append("dns/records.toml", PRINTER)
        lab.fault("500", "*/cluster/status*", 0)
        failed = dns.json("dns", "--only", code=1)
        assert step(failed, "validation")["outcome"] == "failed"
        assert step(failed, "zones")["outcome"] == "blocked"
        assert "printer" not in dns.file()


def test_force_deploys_where_nothing_differs_also_on_a_line_with_others(dns: Rehearsal) -> None:
    with dns.lab():
        assert "restarted" in dns.zones("--force", "--dry-run")["changes"][-1]["after"]
        for words in (("dns", "--only", "--force"), ("foundation", "dns", "--force")):
            before = sent(dns.checkout).count("systemctl restart dnsmasq")
            assert step(dns.json(*words), "zones")["outcome"] == "changed"
            assert sent(dns.checkout).count("systemctl restart dnsmasq") == before + 1


def test_records_changed_by_hand_are_shown_and_overwritten(dns: Rehearsal) -> None:
    with dns.lab():
        mine = dns.file()
        theirs = mine.replace("10.10.1.43", "10.10.1.9") + "host-record=old.sddc.info,10.10.1.8\nno-negcache\n"
        with dns.server() as host:
            host.run(Command(("tee", FILE), stdin=theirs.encode()))
        drift = step(dns.json("drift"), "zones")
        assert told(drift) >= {
            ("A k8s-worker-4", "10.10.1.9", "10.10.1.43"),
            ("A old", "10.10.1.8", None),
            (FILE, "no-negcache", None),
        }
        assert told(dns.zones()) == told(drift)
        assert dns.file() == mine


def test_a_file_of_others_that_answers_for_our_names_is_named_and_left(dns: Rehearsal) -> None:
    with dns.lab(), dns.server() as host:
        dns.append("dns/records.toml", PRINTER)
        foreign = b"host-record=k8s-worker-4.sddc.info,10.10.1.99\n"
        host.run(Command(("tee", "/etc/dnsmasq.d/old.conf"), stdin=foreign))
        failed = dns.json("dns", "--only", code=1)
        error = step(failed, "name_server")["error"]
        assert error["subject"] == "/etc/dnsmasq.d/old.conf"
        assert "k8s-worker-4.sddc.info" in error["problem"]
        assert error["fix"]
        assert host.run(read("cat", "/etc/dnsmasq.d/old.conf")).stdout == foreign.decode()
        assert "printer" not in dns.file()


def test_what_would_take_much_away_has_to_be_allowed(dns: Rehearsal) -> None:
    with dns.lab():
        with dns.server() as host:
            more = "".join(f"host-record=guest-{n}.sddc.info,10.10.3.{n},60\n" for n in range(1, 31))
            host.run(Command(("tee", FILE), stdin=(dns.file() + more).encode()))
        refused = dns.zones(code=4)
        assert "30 of 68 records would go" in refused["error"]["problem"]
        assert "--allow remove-records" in refused["error"]["fix"]
        assert dns.zones("--allow", "remove-records")["outcome"] == "changed"


def test_wrong_records_are_told_before_anything_is_done(dns: Rehearsal) -> None:
    with dns.lab():
        dns.append("dns/records.toml", '\n[[cname]]\nname = "x"\ntarget = "nowhere"\n')
        result = dns.run("dns")
        assert result.returncode == 2
        assert "dns/records.toml:" in result.stderr
        assert "nowhere" in result.stderr


# kind, what it hits, how often; what the error says; whether the server was told to restart
BROKEN = [
    ("exit", "systemctl restart", 1, "old answers proven"),
    ("exit", "dnsmasq --test --conf-file=/etc/.groundwork", 1, "refuses what was to be deployed"),
    ("ssh-drop", f"mv -f {STAGE}/new", 1, "old answers proven"),
    ("ssh-drop", "systemctl restart", 1, "old answers proven"),
    ("disk-full", f"{STAGE}/new", 1, "No space left on device"),
    ("dns-servfail", "printer", 0, "got SERVFAIL"),
    ("dns-refused", "printer", 0, "got REFUSED"),
    ("dns-truncated", "printer", 0, "got truncated"),
]


@pytest.mark.parametrize(("kind", "match", "times", "says"), BROKEN)
def test_what_breaks_is_put_back_and_told_and_the_next_run_finishes(
    dns: Rehearsal, kind: str, match: str, times: int, says: str
) -> None:
    with dns.lab() as lab:
        before = dns.file()
        seconds = 2 if kind.startswith("dns") else 6  # half of it is what a wrong answer is waited for
        dns.replace("rollback_after = 120", f"rollback_after = {seconds}")
        dns.append("dns/records.toml", PRINTER)
        lab.fault(kind, match, times)
        failed = dns.zones(code=1)
        assert says in failed["error"]["problem"]
        assert failed["error"]["fix"]
        assert dns.file() == before
        assert dns.is_clean()
        lab.clear()
        dns.replace(f"rollback_after = {seconds}", "rollback_after = 120")
        assert told(dns.zones()) == {("A printer", None, "10.10.1.9"), ("PTR 10.10.1.9", None, "printer.sddc.info")}
        assert dns.is_clean()


def test_a_login_with_sudo_deploys_puts_back_and_looks_for_a_lost_answer(dns: Rehearsal) -> None:
    with dns.lab() as lab:
        dns.replace("sudo = false", "sudo = true ")
        dns.append("dns/records.toml", PRINTER)
        before, earlier = dns.file(), len(sent(dns.checkout))
        lab.fault("exit", "systemctl restart")
        assert "old answers proven" in dns.zones(code=1)["error"]["problem"]
        assert dns.file() == before
        lab.fault("ssh-drop", f"{STAGE}/proven")
        done = step(dns.json("dns", "--only"), "zones")
        assert (done["outcome"], done["error"]) == ("changed", None)
        assert dns.is_clean()
        lines = [line for line in sent(dns.checkout)[earlier:] if "systemd-run" in line]
        assert [line.split(" systemd-run ")[1].split(" sh ")[0] for line in lines] == [
            "--quiet --collect",
            "--quiet --collect --wait",
            "--quiet --collect",
        ]


@pytest.mark.parametrize(("kind", "match"), [("dns-servfail", "k8s-worker-4"), ("timeout", "k8s-worker-4")])
def test_what_is_answered_at_the_second_try_changes_nothing(dns: Rehearsal, kind: str, match: str) -> None:
    with dns.lab() as lab:
        lab.fault(kind, match, 1)
        assert dns.zones()["outcome"] == "unchanged"


@pytest.mark.parametrize("absent", [False, True])
def test_a_service_that_was_dead_before_or_is_not_there_is_named(dns: Rehearsal, absent: bool) -> None:
    with dns.lab(), dns.server() as host:
        if absent:
            dns.replace('service = "dnsmasq"', 'service = "unbound"')
        else:
            host.run(write("systemctl", "stop", "dnsmasq"))
        failed = dns.json("dns", "--only", code=1)
        assert "does not run, and nothing has been changed yet" in step(failed, "name_server")["error"]["problem"]
        assert step(failed, "zones")["outcome"] == "blocked"


def test_who_asks_127_0_0_53_is_told_and_a_server_that_asks_itself_so_is_refused(dns: Rehearsal) -> None:
    """Its own look at this is a slow one, which a run within a day relies on: `--rerun name_server` looks again."""
    with dns.lab(), dns.server() as host, dns.server("10.10.1.21") as node:
        node.run(write("pvesh", "set", "/nodes/node1/dns", "--search", "sddc.info", "--dns1", "127.0.0.53"))
        host.run(Command(("tee", "/etc/dnsmasq.conf"), stdin=b"conf-dir=/etc/dnsmasq.d\n"))
        host.run(Command(("tee", "/etc/resolv.conf"), stdin=b"nameserver 127.0.0.53\n"))
        told = dns.run("dns", "--only", "--rerun", "name_server")
        assert told.returncode == 0, told.stderr
        assert "node1 asks 127.0.0.53" in told.stdout
        assert f"{SERVER} asks 127.0.0.53 for other names" in told.stdout
        host.run(write("mkdir", "-p", "/run/systemd/resolve"))
        host.run(Command(("tee", "/run/systemd/resolve/resolv.conf"), stdin=f"nameserver {SERVER}\n".encode()))
        failed = dns.json("dns", "--only", "--rerun", "name_server", code=1)
        assert "a loop for every other name" in step(failed, "name_server")["error"]["problem"]
        assert step(failed, "zones")["outcome"] == "blocked"


def test_another_host_key_is_refused(dns: Rehearsal) -> None:
    with dns.lab():
        path = dns.checkout / ".lab" / "known_hosts"
        lines = path.read_text().splitlines()
        other = lines[0].rsplit(" ", 1)[1]
        path.write_text(
            "\n".join(f"{line.rsplit(' ', 1)[0]} {other}" if SERVER in line.split()[0] else line for line in lines)
            + "\n"
        )
        failed = dns.json("dns", "--only", code=1)
        assert "host key has changed" in step(failed, "name_server")["error"]["problem"]
        assert f"invoke trust --replace {SERVER}" in step(failed, "name_server")["error"]["fix"]


@pytest.mark.parametrize("at", [f"tee {STAGE}/new", f"mv -f {STAGE}/new", f"{STAGE}/proven"])  # all: nox -s chaos
def test_killed_anywhere_it_is_old_or_new_and_the_next_run_finishes(dns: Rehearsal, at: str) -> None:
    victim: list[int] = []

    def strike(number: int, line: str, faults: Faults) -> None:
        if at in line and victim:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim[0], signal.SIGKILL)

    with dns.lab(strike):
        dns.replace("rollback_after = 120", "rollback_after = 2")
        before = dns.file()
        dns.append("dns/records.toml", PRINTER)
        process = started(dns.checkout, dns.environment, "dns", "--only")
        victim.append(process.pid)
        assert process.wait(60) == -signal.SIGKILL
        victim.clear()
        with dns.server() as host:
            assert left(host)
            if at.startswith("mv -f"):
                until(lambda: not left(host))
                assert dns.file() == before
        dns.replace("rollback_after = 2", "rollback_after = 120")
        finished = dns.zones()
        assert finished["outcome"] == "changed"
        assert "printer" in dns.file()
        assert dns.is_clean()
        assert dns.zones()["outcome"] == "unchanged"
