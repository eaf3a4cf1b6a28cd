"""Own how an SSH connection begins: the login, the way there, and the host keys, which are checked or shown.

What runs over a connection is in lib/clients/ssh.py.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import paramiko
from fabric import Config, Connection
from paramiko.config import SSHConfig
from paramiko.hostkeys import HostKeyEntry, HostKeys

from lib.errors import AGAIN, UnreachableError
from lib.secrets import mask

ALIVE_SECONDS = 30  # after so long without a word we give a sign: firewalls forget who says nothing for minutes


class Login(msgspec.Struct, frozen=True):
    """How to log in: user, port, key (None: agent and OpenSSH's own keys), and the files of known host keys.

    Of those files the first one that knows a host is believed. `reach` maps "address:port" to
    where it is really answered (the lab's loopback ports). `prefix` stands before every command (`sudo -n`).
    """

    user: str = "root"
    port: int = 22
    key: Path | None = None
    known_hosts: tuple[Path, ...] = ()
    reach: Mapping[str, tuple[str, int]] = {}
    prefix: tuple[str, ...] = ()


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise paramiko.SSHException(f"no known host key ({key.get_name()} {key.fingerprint})")


def connect(connection: Connection, limit: float) -> None:
    """Open a connection that was prepared, within so many seconds; raises what paramiko and sockets raise."""
    sock = None
    try:
        if not connection.gateway:
            sock = socket.create_connection((connection.host, connection.port), limit)
            # The handshake is many small messages: none of them shall wait for another's receipt.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect_kwargs["sock"] = sock
        connection.open()
        assert connection.transport is not None
        connection.transport.set_keepalive(ALIVE_SECONDS)
    except BaseException:
        if sock is not None:
            sock.close()
        raise


def unreachable(address: str, login: Login, error: Exception) -> UnreachableError:
    """Return what became of a connection that could not be opened, with its fix."""
    problem, fix = mask(str(error)), AGAIN
    if isinstance(error, paramiko.BadHostKeyException):
        got, want = error.key.fingerprint, error.expected_key.fingerprint
        problem = f"its host key has changed (got {got}, want {want})"
        fix = f"if it was reinstalled: invoke trust --replace {address}"
    elif isinstance(error, paramiko.AuthenticationException):
        problem = f"does not accept {login.user} with {login.key or 'any key of the SSH agent'}"
        fix = f"ssh-copy-id {login.user}@{address}, or set PROXMOX_SSH_KEY in .env"
    elif "protocol banner" in problem:
        problem = "ends the connection before it has said what it is"
        fix = "is sshd overloaded there (MaxStartups), or something between that does not let us pass?"
    elif isinstance(error, paramiko.SSHException):
        fix = "`invoke trust` shows and records it" if "host key" in problem else fix
    else:
        problem = f"cannot be reached ({str(error) or type(error).__name__})"
        fix = "is the host up, and sshd running?"
    return UnreachableError(f"ssh {address}", problem, fix)


def prepare(address: str, login: Login, connect_timeout: float) -> Connection:
    """Make a Fabric connection that takes the user's OpenSSH configuration and trusts known host keys alone."""
    host, port = login.reach.get(f"{address}:{login.port}", (address, login.port))
    options: dict[str, Any] = {"allow_agent": not login.reach}
    if login.key is not None:
        options |= {"key_filename": str(login.key), "look_for_keys": False}
    connection = Connection(
        host,
        user=login.user,
        port=port if login.reach or port != 22 else None,  # else the OpenSSH configuration says it
        config=Config(ssh_config=SSHConfig() if login.reach else _users(Path.home() / ".ssh" / "config"), lazy=True),
        connect_timeout=connect_timeout,
        connect_kwargs=options | {"banner_timeout": connect_timeout, "auth_timeout": connect_timeout},
    )
    for each in _chain(connection):
        each.client.set_missing_host_key_policy(_Refuse())
        name = _name_of(each)
        known = next(filter(None, (_known(path).lookup(name) for path in login.known_hosts)), None)
        for kind, key in (known or {}).items():
            each.client.get_host_keys().add(name, kind, key)
    return connection


def _name_of(connection: Connection) -> str:
    """Return the name that a host has in a file of known host keys."""
    return connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"


@functools.cache
def _users(path: Path) -> SSHConfig:
    """Return the user's OpenSSH configuration, read once for all hosts; a Fabric Config cannot be shared."""
    return SSHConfig.from_path(str(path)) if path.is_file() else SSHConfig()


def _known(path: Path) -> HostKeys:
    """Return the keys in a known_hosts file; where there is none, none is known."""
    return _keys(path, path.stat().st_mtime_ns) if path.is_file() else HostKeys()


@functools.cache
def _keys(path: Path, written: int) -> HostKeys:
    """Return the keys in a file, read once for all hosts until it is `written` anew; a line that is no key is none."""
    try:
        return HostKeys(str(path))
    except Exception:  # noqa: BLE001  (what a broken line raises depends on how it is broken)
        keys = HostKeys()
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(Exception):
                entry = HostKeyEntry.from_line(" ".join(line.split()))
                if entry is not None:
                    for name in entry.hostnames:
                        keys.add(name, entry.key.get_name(), entry.key)
        return keys


def _chain(connection: Connection) -> Iterator[Connection]:
    """Yield the connection and the jump hosts before it: Fabric trusts any key of those, too."""
    yield connection
    if isinstance(connection.gateway, Connection):
        yield from _chain(connection.gateway)


class HostKey(msgspec.Struct, frozen=True):
    """A host's public key as it presents itself: its name in known_hosts, type, base64 text, SHA-256 fingerprint.

    `known` is None where no key of that type is known, and tells else whether it is this one.
    """

    name: str
    kind: str
    text: str
    fingerprint: str
    known: bool | None


class _ShownError(paramiko.SSHException):
    def __init__(self, key: paramiko.PKey) -> None:
        self.key = key
        super().__init__("the host key was asked for, and nothing else")


class _Show(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise _ShownError(key)


def present(address: str, login: Login) -> HostKey:
    """Ask a host for its key, by the way that a run would take, without logging in there; trusts nothing.

    Raises:
        UnreachableError: it does not answer as an SSH server.
    """
    connection = prepare(address, login, 10.0)
    name = _name_of(connection)
    known = {kind: key.get_base64() for kind, key in (connection.client.get_host_keys().lookup(name) or {}).items()}
    connection.client.get_host_keys().clear()
    connection.client.set_missing_host_key_policy(_Show())
    try:
        connect(connection, 10.0)
    except _ShownError as shown:
        kind, text = shown.key.get_name(), shown.key.get_base64()
        return HostKey(name, kind, text, shown.key.fingerprint, known[kind] == text if kind in known else None)
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise unreachable(address, login, error) from None
    finally:
        connection.close()
    raise AssertionError("unreachable: no key is known there")
