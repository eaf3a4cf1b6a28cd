"""Own the SSH servers of the simulated hosts: who may log in, one command per session, faults, the journal.

What a command does is in lib/lab/programs/, files over SFTP in lib/lab/sftp.py.
Nothing that arrives is ever executed on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import shlex
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import msgspec

from lib.lab import faults as fault
from lib.lab.programs import scripts
from lib.lab.programs.host import Host, Output
from lib.lab.sftp import Sftp

if TYPE_CHECKING:
    from lib.lab.journal import Journal

Run = Callable[[Host, list[str], bytes], Output]
SECRET_OPTIONS = ("--password", "--cipassword", "--keyring", "--otp", "-password", "-cipassword")
SECRET_WORD = re.compile(  # the second form is in the line of `sh -c LINE`
    r"(?i)((?:password|secret|token|keyring|otp)\w*=|-(?:password|cipassword|keyring|otp)\s+).+", re.DOTALL
)
READS_STDIN = frozenset({"tee", "cat", "dd"})
SEEN_AS_HUNG = 86400.0
FOLLOWED_SECONDS = 0.02  # how often a script is looked after that somebody waits for


class Shell(msgspec.Struct, frozen=True):
    """What the sessions of one host share: the host, how a program is run, and where it is written down.

    `settle` lets scripts run as far as they get.
    """

    host: Host
    run: Run
    journal: Journal
    settle: Callable[[], object]


class Login(asyncssh.SSHServer):
    """Let root in (on a name server: its own user), with a key of authorized_keys or the password; nobody else."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Cut the connection where a fault says so."""
        self.connection = conn
        host = self._shell.host
        if not host.is_up() or host.faults.take("ssh-refuse", host.address):
            conn.abort()

    def begin_auth(self, username: str) -> bool:
        """Ask everybody for a key or password."""
        return True

    def public_key_auth_supported(self) -> bool:
        """Take keys."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Compare with authorized_keys as it is in the world now."""
        if username not in self._shell.host.users:
            return False
        home = "/root" if username == "root" else f"/home/{username}"
        with contextlib.suppress(OSError):
            offered = key.public_data
            text = self._shell.host.files.read(f"{home}/.ssh/authorized_keys").decode(errors="replace")
            for line in text.splitlines():
                with contextlib.suppress(asyncssh.KeyImportError):
                    if line.strip() and asyncssh.import_public_key(line).public_data == offered:
                        return True
        return False

    def password_auth_supported(self) -> bool:
        """Take root's password."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """Compare with the digest in the world."""
        if username not in self._shell.host.users:
            return False
        user = self._shell.host.world.get("user", f"{username}@pam") or {}
        given = hashlib.sha256(password.encode()).hexdigest()
        return hmac.compare_digest(given, str(user.get("password_sha256", "")))


async def listen(shell: Shell, host_key: Path, port: int) -> asyncssh.SSHAcceptor:
    """Serve one host on a loopback port (0: any free one)."""

    async def session(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await _session(shell, process)

    return await asyncssh.create_server(
        lambda: Login(shell),
        "127.0.0.1",
        port,
        server_host_keys=[asyncssh.read_private_key(str(host_key))],  # a file would be read for each connection
        gss_host=None,
        process_factory=session,
        sftp_factory=lambda channel: Sftp(channel, shell.host, shell.journal),
        encoding=None,
        allow_scp=True,
        agent_forwarding=False,
        line_editor=False,
        server_version="OpenSSH_10.0p2-simulated",
    )


async def _session(shell: Shell, process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the command of one session, as long as it takes; write it down, and answer."""
    began = time.monotonic()
    if not shell.host.is_up():
        process.get_extra_info("connection").abort()
        return
    line = process.command
    if line is None:
        process.stderr.write(
            b"This host is simulated: it runs single commands and no shell, as in: ssh HOST pvesm status\n"
        )
        process.exit(1)
        return
    argv, output, cut = await _begun(shell, process, line)
    limit = _limit(argv)
    left = False  # the client has closed its channel; its connection may well go on
    if output.script and not cut:
        ended = await _followed(shell, process, output.script, limit)
        left, output = ended is None, ended or output
    output = await _taken(output, limit, shell.host.world.task_scale)
    milliseconds = round((time.monotonic() - began) * 1000, 1)
    told = None if cut or left else output.exit
    user, shown = process.get_extra_info("username"), masked(argv)
    shell.journal.write("ssh", host=shell.host.address, user=user, argv=shown, exit=told, ms=milliseconds)
    if left:
        return
    if cut:
        process.get_extra_info("connection").abort()
        return
    process.stdout.write(output.stdout if isinstance(output.stdout, bytes) else output.stdout.encode())
    process.stderr.write(output.stderr.encode())
    process.exit(output.exit)


async def _begun(shell: Shell, process: asyncssh.SSHServerProcess[bytes], line: str) -> tuple[list[str], Output, bool]:
    """Run a line over the world; return its words, its output, and whether the answer is lost on the way."""
    try:
        argv = shlex.split(line)
    except ValueError as error:
        return [line], Output(2, "", f"bash: -c: line 1: {error}\n"), False
    stdin = await _stdin(process, argv)
    if shell.host.faults.take("slow", f"{shell.host.address} {line}"):
        await asyncio.sleep(fault.SLOW_SECONDS)
    return argv, *_execute(shell, line, argv, stdin)


async def _taken(output: Output, limit: float | None, scale: float) -> Output:
    """Take the time that a program takes, its `timeout` at most; return how it ended."""
    seconds = SEEN_AS_HUNG if output.seconds == SEEN_AS_HUNG else output.pause + output.seconds * scale
    if limit is not None and seconds > limit:
        seconds, output = limit, Output(124)
    if seconds > 0:
        await asyncio.sleep(seconds)
    return output


async def _followed(
    shell: Shell, process: asyncssh.SSHServerProcess[bytes], script: str, limit: float | None
) -> Output | None:
    """Wait until a script ends, or its `timeout` ends it; None where its client is gone before, and it goes on."""
    began = time.monotonic()
    shell.settle()
    while not process.is_closing():
        output = scripts.ended(shell.host.world, script)
        if output is not None:
            return output
        if limit is not None and time.monotonic() - began > limit:
            scripts.kill(shell.host.world, script)
            return Output(124)
        await asyncio.sleep(FOLLOWED_SECONDS)
    return None


async def _stdin(process: asyncssh.SSHServerProcess[bytes], argv: list[str]) -> bytes:
    """Read standard input for the programs that do; others never wait for it."""
    words = {word.rpartition("/")[2] for word in argv[:8]}
    return await process.stdin.read() if words & READS_STDIN and len(argv) < 12 and _wants_stdin(argv) else b""


def _wants_stdin(argv: list[str]) -> bool:
    return argv[-1] == "-" or argv[-1] == "cat" or "tee" in argv or "dd" in argv


def _execute(shell: Shell, line: str, argv: list[str], stdin: bytes) -> tuple[Output, bool]:
    """Run the program over the world; return its output, and whether the answer is lost on the way."""
    host = shell.host
    subject = f"{host.address} {line}"
    if host.faults.take("timeout", subject):
        return Output(124, seconds=SEEN_AS_HUNG), False
    if host.faults.take("exit", subject):
        return Output(1, "", "Input/output error (a fault of the lab)\n"), False
    try:
        output = shell.run(host, argv, stdin)
    except Exception:  # noqa: BLE001  (a bug of one simulated program must not take the host away)
        traceback.print_exc()
        output = Output(125, "", "This is a bug of the lab's simulated program; see .lab/lab.log\n")
    return output, host.faults.take("ssh-drop", subject) is not None


def _limit(argv: list[str]) -> float | None:
    """Return the seconds of a leading `[sudo -n] timeout [-k N] SECONDS`."""
    argv = argv[2:] if argv[:2] == ["sudo", "-n"] else argv
    if not argv or argv[0].rpartition("/")[2] != "timeout":
        return None
    rest = argv[1:]
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in ("-k", "-s") else rest[1:]
    try:
        return float(rest[0].rstrip("s"))
    except (IndexError, ValueError):
        return None


def masked(argv: list[str]) -> list[str]:
    """Return the arguments with the values of secret options, variables and headers replaced."""
    shown = [SECRET_WORD.sub(r"\1***", word) for word in argv]
    return ["***" if index and argv[index - 1] in SECRET_OPTIONS else word for index, word in enumerate(shown)]
