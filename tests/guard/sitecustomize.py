"""Own the guard against real networks: whatever a test starts may talk to loopback and to nothing else.

Python imports a module of this name at start when its folder is on PYTHONPATH;
so the guard stands in every process of a test, the lab included. It is an audit
hook: neither a library nor an `except` of the code under test gets around it.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

CAUGHT = 99  # exit code of a guarded process that tried


def reached(event: str, args: tuple[Any, ...]) -> str:
    """Return where the audited call goes if that is outside this machine, else an empty string."""
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        host = address[0] if isinstance(address, tuple) else ""  # a path: a Unix socket
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return ""
    name = host.decode() if isinstance(host, bytes) else str(host or "")
    try:
        literal = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return "" if name in ("", "localhost", os.uname().nodename) else name
    local = literal.is_loopback or literal.is_unspecified or event == "socket.getaddrinfo"
    return "" if local else name


def _end(event: str, args: tuple[Any, ...]) -> None:
    host = reached(event, args)
    if host:
        sys.stderr.write(f"a test reached for the real network: {event} {host}\n")
        sys.stderr.flush()
        os._exit(CAUGHT)


if __name__ == "sitecustomize":
    sys.addaudithook(_end)
