"""The whole deployment through the real client onto real name servers: proven, refused, put back, cut off."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import msgspec
import pytest

from lib.config.model import Cluster
from lib.config.records_model import Own, OwnA, OwnTxt
from lib.engine.plan import StepResult
from lib.steps import deployment
from lib.steps.deployment import Deployment
from tests.real.name_server import Served, served, until


@pytest.fixture(params=["dnsmasq", "bind"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "server", request.param) as one:
        yield one


def address(server: Served, name: str) -> str:
    """Return what the server says a name's address is."""
    message = dns.message.make_query(f"{name}.sddc.info", "A")
    answer = dns.query.udp(message, "127.0.0.1", 5, server.port)
    return str(answer.answer[0][0]) if answer.answer else dns.rcode.to_text(answer.rcode())


def files(server: Served) -> dict[str, str]:
    """Return all below the server's configuration, hidden ones too."""
    etc = server.home / "etc"
    return {str(path.relative_to(etc)): path.read_text() for path in sorted(etc.rglob("*")) if path.is_file()}


def killed(server: Served, step: str) -> None:
    """Make a run in a process of its own that is killed (SIGKILL) where a deployment comes to that step."""
    child = os.fork()
    if child == 0:
        setattr(Deployment, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        os.write(2, repr(server.run()).encode())  # it came to an end of its own: pytest shows which
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def outcomes(results: dict[str, StepResult]) -> list[str]:
    return [result.outcome for result in results.values()]


def test_records_are_deployed_changed_and_mended(server: Served) -> None:
    before = files(server)
    planned = server.run(dry_run=True)["zones"]
    assert planned.outcome == "pending"
    assert files(server) == before
    assert ("A k8s-vip", None, "10.10.1.30") in [(c.attribute, c.before, c.after) for c in planned.changes]
    assert any("restarted" in (c.after or "") for c in planned.changes) == (server.cluster.dns.backend == "dnsmasq")
    first = server.run()
    assert outcomes(first) == ["unchanged", "changed"], first
    assert address(server, "k8s-vip") == "10.10.1.30"
    assert address(server, "any.apps") == "10.10.1.50"
    deployed = files(server)
    assert before.keys() <= deployed.keys()
    asked = (server.home / "asked").read_text().split()
    assert outcomes(server.run()) == ["unchanged", "unchanged"]
    assert (server.home / "asked").read_text().split() == [*asked, "is-active"]

    server.own = Own(a=(OwnA(name="printer", address="10.10.1.9"),))
    changed = server.run()["zones"]
    assert changed.outcome == "changed"
    told = {(c.attribute, c.before, c.after) for c in changed.changes if not c.attribute.startswith("service")}
    assert told == {("A printer", None, "10.10.1.9"), ("PTR 10.10.1.9", None, "printer.sddc.info")}
    assert address(server, "printer") == "10.10.1.9"
    assert len(files(server)) == len(deployed), "nothing old is left behind"


def test_what_was_changed_by_hand_is_shown_and_overwritten(server: Served) -> None:
    server.place()
    path = next(path for path in server.folder.rglob("*") if path.is_file() and "10.10.1.43" in path.read_text())
    text = path.read_text()
    path.write_text(text.replace("10.10.1.43", "10.10.1.9", 1))
    mended = server.run()["zones"]
    assert mended.outcome == "changed"
    assert ("A k8s-worker-4", "10.10.1.9", "10.10.1.43") in [(c.attribute, c.before, c.after) for c in mended.changes]
    assert address(server, "k8s-worker-4") == "10.10.1.43"


@pytest.mark.parametrize("mode", ["dead", "idle"])
def test_what_does_not_load_or_is_not_answered_is_put_back(server: Served, mode: str) -> None:
    """A service that dies of the new files, and one that says it has read them and has not."""
    server.cluster = _with(server, rollback_after=20 if mode == "dead" else 4)
    server.place()
    before = files(server)
    server.own = Own(a=(OwnA(name="printer", address="10.10.1.9"),))
    server.say(mode)
    failed = server.run()["zones"]
    assert failed.outcome == "failed"
    assert failed.error is not None
    assert "the old files are back, and the old answers proven" in failed.error.problem
    assert failed.error.fix
    if mode == "idle":
        assert "A printer.sddc.info: got NXDOMAIN, want 10.10.1.9" in failed.error.problem
    assert files(server) == before
    assert address(server, "k8s-vip") == "10.10.1.30"
    assert address(server, "printer") == "NXDOMAIN"


def test_what_the_server_s_own_check_refuses_is_never_moved(server: Served) -> None:
    before = files(server)
    for program in ["dnsmasq"] if server.cluster.dns.backend == "dnsmasq" else ["named-checkzone", "named-checkconf"]:
        (server.home / f"refuse-{program}").write_text(".groundwork-" if "zone" not in program else "sddc.info")
        failed = server.run()["zones"]
        assert failed.outcome == "failed"
        assert failed.error is not None
        assert f"{program}: " in failed.error.problem
        assert files(server) == before
        assert "restart" not in (server.home / "asked").read_text()
        assert "reload" not in (server.home / "asked").read_text()


def test_a_full_disk_while_staging_leaves_nothing(server: Served) -> None:
    before = files(server)
    (server.home / "refuse-tee").write_text("/new")
    failed = server.run()["zones"]
    assert failed.outcome == "failed"
    assert failed.error is not None
    assert "No space left on device" in failed.error.problem
    assert files(server) == before


def test_a_folder_that_the_login_may_not_write_to_is_told_before_anything_is_done(server: Served) -> None:
    before = files(server)
    (server.home / "refuse-test").write_text(f"-w {server.folder}")
    error = server.run()["zones"].error
    assert error is not None
    assert error.subject.startswith(f"{server.folder} on ")
    assert "dns.sudo" in error.fix
    assert files(server) == before
    assert (server.home / "asked").read_text().split() == ["is-active"]


def test_an_empty_set_of_records_is_never_deployed(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    server.place()
    before = files(server)
    monkeypatch.setattr(Served, "records", lambda _: ())
    error = server.run(allow=frozenset({"remove-records"}))["zones"].error
    assert error is not None
    assert "would be empty" in error.problem
    assert files(server) == before


def test_a_host_without_what_bounds_a_command_is_told(tmp_path: Path) -> None:
    with served(tmp_path / "server", "dnsmasq", "bare") as server:
        error = server.run()["name_server"].error
        assert error is not None
        assert "timeout" in error.problem
        assert "coreutils" in error.fix


def test_a_client_killed_before_the_proof_is_undone_by_the_server_itself(server: Served) -> None:
    server.place()
    before = files(server)
    server.own = Own(txt=(OwnTxt(name="@", text="half"),))
    killed(server, "_prove")
    assert files(server) != before
    planned = server.run(dry_run=True)["zones"]
    assert planned.changes[0].attribute == "unfinished deployment"
    (server.home / "refuse-cp").write_text("/")  # the disk may be full by then
    server.wake(server.cluster.dns.rollback_after)
    until(lambda: not server.stage.exists())
    assert files(server) == before
    (server.home / "refuse-cp").unlink()
    assert server.run()["zones"].outcome == "changed"
    assert not server.stage.exists()


@pytest.mark.parametrize("mark", ["armed", "fired", "proven", "staged"])
def test_what_an_interrupted_run_has_left_is_ended(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a power cut: nobody runs the rollback any more. What was not proven is put back, and made anew."""
    with served(tmp_path / "server", "dnsmasq") as server:
        server.folder.joinpath("kubernetes.conf").write_text("# old\n")
        killed(server, {"proven": "_clear", "staged": "_arm"}.get(mark, "_prove"))
        if mark == "fired":
            monkeypatch.setattr(deployment, "SCRIPT_SECONDS", 0.5)  # nothing will come here
            armed = next(server.stage.glob("armed-*"))
            armed.rename(armed.with_name(armed.name.replace("armed", "fired")))
        result = server.run()["zones"]
        assert result.outcome == "changed", result
        assert result.changes[0].attribute == "unfinished deployment"
        assert not server.stage.exists()
        assert address(server, "k8s-vip") == "10.10.1.30"
        assert sorted(path.name for path in server.folder.iterdir()) == ["kubernetes.conf", "provisioning.conf"]


@pytest.mark.parametrize(("manner", "backend"), [("sudo", "bind"), ("service", "dnsmasq"), ("init.d", "bind")])
def test_a_login_with_sudo_and_a_server_without_systemd_are_deployed_and_undone(
    tmp_path: Path, manner: str, backend: str
) -> None:
    """By our own retreat, and by the server itself where it ends what a session has left."""
    with served(tmp_path / "server", backend, manner) as server:
        first = server.run()
        assert outcomes(first) == ["unchanged", "changed"], first
        assert address(server, "k8s-vip") == "10.10.1.30"
        readable = [path.stat().st_mode & 0o755 for path in server.folder.rglob("*")]
        assert set(readable) <= {0o755, 0o644}, "also where what we make is for nobody else"
        before = files(server)
        server.own = Own(a=(OwnA(name="printer", address="10.10.1.9"),))
        server.say("dead")
        error = server.run()["zones"].error
        assert error is not None
        assert "the old files are back, and the old answers proven" in error.problem
        assert files(server) == before
        killed(server, "_prove")
        if manner == "sudo":
            server.end_sessions()
        server.wake(server.cluster.dns.rollback_after)
        until(lambda: not server.stage.exists())
        assert files(server) == before
        until(lambda: address(server, "printer") == "NXDOMAIN")  # BIND may be loading yet


def test_a_rollback_that_still_sleeps_has_no_hold_on_the_next_deployment(tmp_path: Path) -> None:
    with served(tmp_path / "server", "bind") as server:
        assert server.run()["zones"].outcome == "changed"
        first = server.cluster.dns.rollback_after
        server.cluster = _with(server, rollback_after=first + 1)
        server.own = Own(a=(OwnA(name="printer", address="10.10.1.9"),))
        killed(server, "_prove")
        deployed = files(server)
        assert server.rollbacks() == 2
        server.wake(first)
        until(lambda: server.rollbacks() == 1)
        assert files(server) == deployed
        assert address(server, "printer") == "10.10.1.9"


def test_a_server_that_is_dead_before_we_came_is_refused(server: Served) -> None:
    before = files(server)
    server.stop()
    results = server.run()
    assert outcomes(results) == ["failed", "blocked"]
    error = results["name_server"].error
    assert error is not None
    assert "does not run" in error.problem
    assert files(server) == before


def _with(server: Served, rollback_after: int) -> Cluster:
    dns_here = msgspec.structs.replace(server.cluster.dns, rollback_after=rollback_after)
    return msgspec.structs.replace(server.cluster, dns=dns_here)
