"""No test can reach a real network by accident, neither here nor in a process that it starts."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.guard.sitecustomize import CAUGHT

ELSEWHERE = "192.0.2.1"  # TEST-NET-1: belongs to nobody


def test_this_process_is_guarded() -> None:
    with pytest.raises(pytest.fail.Exception, match=ELSEWHERE), socket.socket() as one:
        one.connect((ELSEWHERE, 9))
    with pytest.raises(pytest.fail.Exception, match=r"example\.invalid"):
        socket.getaddrinfo("example.invalid", 443)


def test_loopback_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


def test_started_processes_are_guarded(environment: dict[str, str]) -> None:
    code = f"import socket\ntry:\n    socket.create_connection(('{ELSEWHERE}', 9), 1)\nexcept BaseException:\n    pass"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30)
    assert result.returncode == CAUGHT
    assert ELSEWHERE in result.stderr
