"""Own a real sshd on a loopback port with keys of its own, for tests that want OpenSSH's own word."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.clients.ssh_connection import Login
from tests.tools import tool


@contextlib.contextmanager
def sshd(folder: Path, *options: str, path: str = "/usr/bin:/bin", prefix: tuple[str, ...] = ()) -> Iterator[Login]:
    """Run sshd with `Name value` options added; yield how to log in to it as `host` on port 22.

    Its sessions have this PATH, and none of the user's own start-up files (which may be slow, and change it).
    """
    server, keygen = tool("sshd"), tool("ssh-keygen")
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = (
        f"ListenAddress 127.0.0.1:{port}",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        f"PidFile {folder / 'sshd.pid'}",
        "PermitRootLogin yes",
        "StrictModes no",
        "UsePAM no",
        f"SetEnv HOME={folder} PATH={path}",
        *options,
    )
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it separates its privileges there
    kind, text, *_ = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {text}\n")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([server, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        _wait(port, process, folder / "log")
        reach = {"host:22": ("127.0.0.1", port)}
        yield Login(getpass.getuser(), 22, folder / "user", (folder / "known_hosts",), reach, prefix)
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    pytest.fail(f"sshd does not answer:\n{log.read_text()}")
