"""The SSH client against OpenSSH's own server."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from fabric import Connection
from msgspec.structs import replace
from paramiko.common import cMSG_CHANNEL_EOF

from lib.clients import ssh_connection
from lib.clients.ssh import Host
from lib.clients.ssh_connection import present
from lib.command import read, write
from lib.errors import CommandError, RemoteError, UnreachableError
from tests.real.sshd import sshd


def quiet(what: str, seconds: float, last: str) -> None: ...


@pytest.mark.parametrize("sessions", [1, 3, 10])
def test_many_commands_at_once_keep_to_what_the_server_lets(tmp_path: Path, sessions: int) -> None:
    with sshd(tmp_path / "sshd", f"MaxSessions {sessions}") as login:
        host = Host("host", login, quiet, 60.0)
        results = host.run_all(*(read("printf", "%s", str(number)) for number in range(24)))
        assert [result.stdout for result in results] == [str(number) for number in range(24)]
        assert (tmp_path / "sshd" / "log").read_text().count("Accepted publickey") == 1
        host.close()


def test_an_end_of_input_that_is_late_does_not_follow_the_end_of_its_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner: Any = paramiko.Transport
    send = inner._send_user_message

    def late(transport: paramiko.Transport, message: paramiko.Message) -> None:
        if message.asbytes()[:1] == cMSG_CHANNEL_EOF and threading.current_thread() is not transport:
            threading.Event().wait(0.3)  # the command ends meanwhile
        send(transport, message)

    monkeypatch.setattr(inner, "_send_user_message", late)
    with sshd(tmp_path / "sshd") as login:
        host = Host("host", login, quiet, 60.0)
        assert [host.run(write("printf", "done")).stdout for _ in range(3)] == ["done"] * 3
        assert (tmp_path / "sshd" / "log").read_text().count("Accepted publickey") == 1
        host.close()


def test_who_comes_when_a_connection_is_nearly_made_shares_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(connection: Connection) -> bool:
        if connection.transport is None:
            return False
        threading.Event().wait(0.5)  # the other one connects meanwhile
        return bool(connection.transport.active)

    with sshd(tmp_path / "sshd") as login:
        host = Host("host", login, quiet, 60.0)
        host.connect()
        host._transport().close()
        monkeypatch.setattr(Connection, "is_connected", property(late))
        both = [threading.Thread(target=host.connect) for _ in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join(30)
        assert (tmp_path / "sshd" / "log").read_text().count("Accepted publickey") == 2
        host.close()


@contextlib.contextmanager
def firewall(port: int, seconds: float) -> Iterator[int]:
    """Pass one connection on, and cut it when the client has been silent for so long; yield where it listens."""

    def pass_on() -> None:
        client, _ = listening.accept()
        with client, socket.create_connection(("127.0.0.1", port)) as server, contextlib.suppress(ConnectionError):
            heard = time.monotonic()
            while (left := heard + seconds - time.monotonic()) > 0:
                for source in select.select([client, server], [], [], left)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)
                    heard = time.monotonic() if source is client else heard

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=pass_on)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(30)


def test_a_command_that_says_nothing_for_long_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_connection, "ALIVE_SECONDS", 1)
    with sshd(tmp_path / "sshd") as login, firewall(login.reach["host:22"][1], 2.5) as port:
        known = tmp_path / "known_hosts"
        known.write_text(login.known_hosts[0].read_text().replace(str(login.reach["host:22"][1]), str(port)))
        host = Host("host", replace(login, known_hosts=(known,), reach={"host:22": ("127.0.0.1", port)}), quiet, 60.0)
        assert host.run(write("sleep", "4")).exit == 0
        host.close()


def test_exit_codes_files_and_what_a_timeout_ends(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd", "Subsystem sftp internal-sftp") as login:
        host, bounded = Host("host", login, quiet, 60.0), Host("host", login, quiet, 1.0)
        assert host.run(write("tee", str(tmp_path / "there"))).exit == 0
        host.write(str(tmp_path / "file"), b"content\n", 0o640)
        assert (tmp_path / "file").read_bytes() == b"content\n"
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
        assert host.read(str(tmp_path / "file")) == b"content\n"
        assert host.read(str(tmp_path / "none")) is None
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sshd", "there"]
        with pytest.raises(RemoteError, match=r"(?s)ssh host: /dev/full is refused .*Fix: is the disk full"):
            host.upload(tmp_path / "file", "/dev/full")
        with pytest.raises(RemoteError, match="No such file"):
            host.write("/none/of/these", b"", 0o600)
        with pytest.raises(CommandError, match="ended with 7"):
            host.run(read("sh", "-c", "exit 7"))
        with pytest.raises(CommandError, match="did not end within 1 s"):
            host.run(read("sleep", "60", timeout=1))
        with pytest.raises(CommandError, match="did not end within 1 s"):
            bounded.run(read("sleep", "60", timeout=30))
        bounded.close()
        host.close()


def test_a_stranger_is_not_believed_and_a_connection_that_broke_is_made_again(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as login:
        known = login.known_hosts[0]
        key = present("host", login)
        assert key.known is True
        assert f"{key.name} {key.kind} {key.text}\n" == known.read_text()
        host = Host("host", login, quiet, 60.0)
        host.connect()
        threading.Timer(0.2, host._transport().close).start()
        assert host.run(read("sh", "-c", "sleep 0.4; echo done")).stdout == "done\n"
        host.close()
        other = tmp_path / "other"
        other.write_text("")
        stranger = Host("host", type(login)(login.user, 22, login.key, (other,), login.reach), quiet, 60.0)
        with pytest.raises(UnreachableError, match="no known host key"):
            stranger.run(read("true"))


def test_what_was_never_sent_is_sent_on_another_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends between the look at it and the session on it: a write, too, is made as if nothing was."""
    with sshd(tmp_path / "sshd") as login:
        host = Host("host", login, quiet, 60.0)
        first = host.run(read("sh", "-c", "echo $SSH_CONNECTION")).stdout
        host._transport().close()
        monkeypatch.setattr(Connection, "is_connected", property(lambda connection: connection.transport is not None))
        assert host.run(write("tee", str(tmp_path / "there"))).exit == 0
        assert host.run(read("sh", "-c", "echo $SSH_CONNECTION")).stdout != first
        host.close()
