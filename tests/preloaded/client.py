"""Own `invoke` lines that begin in a copy of a process that has the libraries already, for what is run by the hundred.

Each is a process of its own with its own arguments, environment, folder and streams, and loads Groundwork's code anew
from its checkout. What a user meets at the start of a command is for tests/product.py, which runs the real one.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.product import GUARD

SERVER = Path(__file__).with_name("server.py")


@functools.cache
def _server(pid: int) -> subprocess.Popen[str]:
    """Return this process's server; it ends when our end of its input is closed."""
    server = subprocess.Popen(
        [sys.executable, str(SERVER)],
        env=os.environ | {"PYTHONPATH": str(GUARD)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    atexit.register(server.communicate)
    return server


def invoke(
    checkout: Path, environment: dict[str, str], *words: str, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run an `invoke` line in the checkout, as tests.product.invoke does, one at a time."""
    server = _server(os.getpid())
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        for path in (out, err):
            path.touch()
        line = {"cwd": str(checkout), "env": environment, "words": words, "out": str(out), "err": str(err)}
        server.stdin.write(json.dumps(line) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], timeout)[0]:
            os.killpg(server.pid, signal.SIGKILL)
            _server.cache_clear()
            raise subprocess.TimeoutExpired(["invoke", *words], timeout, out.read_bytes(), err.read_bytes())
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(["invoke", *words], code, out.read_text(), err.read_text())
