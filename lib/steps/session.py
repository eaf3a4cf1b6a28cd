"""Own the clients that one run's steps share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from lib.clients.pve import Pve
from lib.clients.pve_session import Credential
from lib.clients.ssh import Host, Hosts
from lib.clients.waiting import OnWait


class Session(msgspec.Struct, frozen=True):
    """One API session, one SSH connection per host, and the folder that rendered files go to.

    `name_server` is where zones are deployed, `dns_at` the address and port where it answers.
    """

    pve: Pve
    hosts: Hosts
    as_token: Callable[[Credential], Pve]
    on_wait: OnWait
    base: Path
    name_server: Host
    dns_at: tuple[str, int]
    timeout: float | None = None

    def limit(self, seconds: float) -> float:
        """Return the seconds one operation may take: its own limit, or the user's upper bound."""
        return seconds if self.timeout is None else min(seconds, self.timeout)
