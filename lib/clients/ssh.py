"""Own SSH: one connection per host, commands and files over it.

How it begins, and whose host key is believed, is in lib/clients/ssh_connection.py.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import shlex
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast

import paramiko
from fabric import Connection

from lib.clients.ssh_connection import Login, connect, prepare, unreachable
from lib.clients.waiting import TRIES, OnWait, backoff, pause, together
from lib.command import Command, Result
from lib.errors import CommandError, LostAnswerError, RemoteError, UnreachableError
from lib.secrets import mask

T = TypeVar("T")
SESSIONS = 8  # at the same time on one connection; OpenSSH lets 10 by default
UNSENT = "SSH session not active"  # paramiko's words where the connection is gone and nothing went over it
SESSION_SECONDS = 60.0  # how long a server may take to let one more: an ended session leaves a moment later
# What goes wrong is raised and told by us; without a handler paramiko's own words would reach stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Host:
    """One host over one connection, on which several sessions may run at the same time."""

    def __init__(self, address: str, login: Login, on_wait: OnWait, bound: float) -> None:
        """Prepare; connects at the first use. `bound` is the upper limit of any one operation, in seconds."""
        self.address = address
        self._login = login
        self._on_wait = on_wait
        self._bound = bound
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._opening: Future[paramiko.Transport] | None = None
        self._places = threading.Semaphore(SESSIONS)
        self._left = SESSIONS

    # ------------------------------------------------------------ commands

    def run(self, command: Command) -> Result:
        """Run a command.

        Raises:
            CommandError: it ended with a code that is not accepted.
            UnreachableError: no connection.
        """
        command = replace(command, timeout=min(command.timeout, self._bound))
        result = self._retried(command.reads_only, lambda transport: self._execute(transport, command))
        if result.exit not in command.ok_codes:
            raise _command_error(self.address, command, result)
        return result

    def run_all(self, *commands: Command) -> list[Result]:
        """Run commands that do not depend on one another at the same time; raises as `run` does."""
        return together(*(functools.partial(self.run, command) for command in commands))

    def start(self, *argv: str) -> None:
        """Start a program that nobody waits for and that has no time limit; it outlives the connection.

        Whether it runs is to be seen by what it does. Raises UnreachableError.
        """

        def begin(transport: paramiko.Transport) -> None:
            channel = transport.open_session(timeout=min(15.0, self._bound))
            channel.settimeout(min(15.0, self._bound))
            try:
                channel.exec_command(shlex.join((*self._login.prefix, "nohup", *argv)))
            finally:
                channel.close()

        self._retried(False, begin)

    def _execute(self, transport: paramiko.Transport, command: Command) -> Result:
        channel = transport.open_session(timeout=min(15.0, command.timeout))
        try:
            channel.settimeout(command.timeout + 10)
            channel.exec_command(command.line(self._login.prefix))
            if command.stdin:
                channel.sendall(command.stdin)
            _end_input(channel)
            stdout = channel.makefile("rb").read()
            stderr = channel.makefile_stderr("rb").read()
            code = channel.recv_exit_status()
        finally:
            channel.close()
        if code == -1:
            raise EOFError("the connection was cut while the command ran")
        return Result(code, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    # --------------------------------------------------------------- files

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None where there is none."""

        def get(sftp: paramiko.SFTPClient) -> bytes | None:
            try:
                with sftp.open(path, "rb") as file:
                    file.prefetch()
                    return file.read()
            except FileNotFoundError:
                return None

        return self._retried(True, lambda transport: self._sftp(transport, path, get))

    def write(self, path: str, content: bytes, mode: int) -> None:
        """Put a file in place atomically: a temporary name beside it, its final mode, then rename."""
        temporary = str(PurePosixPath(path).with_name(f".{PurePosixPath(path).name}.groundwork"))

        def put(sftp: paramiko.SFTPClient) -> None:
            with sftp.open(temporary, "wb") as file:
                sftp.chmod(temporary, mode)
                file.write(content)
            sftp.posix_rename(temporary, path)

        self._retried(True, lambda transport: self._sftp(transport, path, put))

    def upload(self, local: Path, path: str) -> None:
        """Copy a local file to `path`; the caller checks it and renames it."""
        size = local.stat().st_size

        def put(sftp: paramiko.SFTPClient) -> None:
            sftp.put(
                str(local),
                path,
                callback=lambda done, _: self._on_wait(
                    f"upload of {local.name}", 0.0, f"{done * 100 // max(1, size)} %"
                ),
            )

        self._retried(True, lambda transport: self._sftp(transport, path, put))

    def _sftp(self, transport: paramiko.Transport, path: str, work: Callable[[paramiko.SFTPClient], T]) -> T:
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        with contextlib.closing(sftp):
            channel = sftp.get_channel()
            assert channel is not None
            channel.settimeout(self._bound)
            try:
                return work(sftp)
            except OSError as error:
                if _is_lost(error):
                    raise
                fix = f"is the disk full, or read-only? see `df {PurePosixPath(path).parent}` there, then run again"
                raise RemoteError(f"ssh {self.address}", f"{path} is refused ({error})", fix) from None

    # ---------------------------------------------------------- connection

    def connect(self) -> None:
        """Connect now rather than at the first use. Raises UnreachableError."""
        self._retried(True, lambda transport: None)

    def _retried(self, again: bool, work: Callable[[paramiko.Transport], T]) -> T:
        for attempt in range(1, TRIES + 1):
            transport = None
            try:
                with self._places:
                    transport = self._transport()
                    return self._in_session(transport, work)
            except UnreachableError as error:
                if attempt == TRIES or "key" in error.report.problem:
                    raise
                problem = error.report.problem
            except (EOFError, paramiko.SSHException, OSError) as error:
                self._drop(transport)
                problem = f"connection lost ({mask(str(error)) or type(error).__name__})"
                if attempt == TRIES or not (again or str(error) == UNSENT):
                    raise (RemoteError if again else LostAnswerError)(f"ssh {self.address}", problem) from None
            self._on_wait(f"ssh {self.address}", 0.0, problem)
            pause(backoff(attempt))
        raise AssertionError("unreachable")

    def _in_session(self, transport: paramiko.Transport, work: Callable[[paramiko.Transport], T]) -> T:
        """Do the work; where the server lets fewer sessions at once, give places up and wait for one that ends."""
        began = time.monotonic()
        while True:
            try:
                return work(transport)
            except paramiko.SSHException as error:
                waited = time.monotonic() - began
                if not _no_session(error) or waited > SESSION_SECONDS:
                    raise
                self._on_wait(f"a session on {self.address}", waited, str(error))
            with self._lock:
                one_less = self._left > 1
                self._left -= one_less
            if one_less:
                self._places.acquire()  # another one's: ours is given up for good
            pause(0.1)

    def _transport(self) -> paramiko.Transport:
        """Return the connection's transport; who comes while somebody connects shares what becomes of it."""
        with self._lock:
            if self._connection is not None and self._connection.is_connected:
                return cast(paramiko.Transport, self._connection.transport)
            opening, mine = self._opening, self._opening is None
            if opening is None:
                opening = self._opening = Future()
        if mine:
            made: Connection | None = None
            try:
                made = self._open()
                opening.set_result(made.transport)
            except BaseException as error:  # noqa: BLE001  (told to everybody who waits for it)
                opening.set_exception(error)
            finally:
                with self._lock:  # both at once: who finds neither opens a second one
                    self._connection, self._opening = made, None
        return opening.result()

    def _open(self) -> Connection:
        limit = min(10.0, self._bound)
        connection = prepare(self.address, self._login, limit)
        try:
            connect(connection, limit)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise unreachable(self.address, self._login, error) from None
        return connection

    def _drop(self, transport: paramiko.Transport | None) -> None:
        """End the connection that broke, unless another one has been made meanwhile."""
        with self._lock:
            if self._connection is not None and self._connection.transport is transport:
                self._connection.close()
                self._connection = None

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class Hosts:
    """The hosts of the cluster by address, each with its one connection."""

    def __init__(self, login: Login, on_wait: OnWait, bound: float = 3600.0) -> None:
        """Prepare; nothing is connected before its first use."""
        self._login = login
        self._on_wait = on_wait
        self._bound = bound
        self._hosts: dict[str, Host] = {}
        self._lock = threading.Lock()

    def on(self, address: str) -> Host:
        """Return the host of that address."""
        with self._lock:
            return self._hosts.setdefault(address, Host(address, self._login, self._on_wait, self._bound))

    def close(self) -> None:
        """End every connection."""
        for host in self._hosts.values():
            host.close()


def _end_input(channel: paramiko.Channel) -> None:
    """Tell the server that no more input comes, unless the session has ended already.

    Between what paramiko's own `shutdown_write` decides and what it sends its other thread may confirm the
    end of the session; of a session that has ended a server hears no more, it ends the whole connection.
    """
    inner: Any = channel
    with inner.lock:
        message = inner._send_eof()
        if message is not None:
            inner.transport._send_user_message(message)


def _no_session(error: Exception) -> bool:
    """Tell whether the server refused one more session; paramiko gives only one of several threads the reason."""
    return isinstance(error, paramiko.ChannelException) or str(error) == "Unable to open channel."


def _is_lost(error: OSError) -> bool:
    """Tell whether the connection broke; what the server refuses over SFTP is a plain OSError, too."""
    return isinstance(error, (ConnectionError, TimeoutError)) or str(error) == "Socket is closed"


def _command_error(address: str, command: Command, result: Result) -> CommandError:
    told = mask("\n    ".join((result.stderr or result.stdout).strip().splitlines()[-6:]))
    if result.exit in (124, 137):
        problem = f"`{command}` did not end within {command.timeout:.0f} s and was stopped"
        return CommandError(address, problem, result.exit, told, "is the host overloaded? --timeout raises the limit")
    problem = f"`{command}` ended with {result.exit}" + (f"\n    {told}" if told else "")
    fix = "mend the cause on that host, and run the same command again: it goes on from there"
    return CommandError(address, problem, result.exit, told, fix)
