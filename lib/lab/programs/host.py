"""Own what a simulated program gets and gives: `Host` (the machine it runs on) and `Output`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from lib.lab.files import Files
from lib.lab.pve import cluster
from lib.lab.world import Document, World

if TYPE_CHECKING:
    from lib.lab.faults import Faults
    from lib.lab.pve.api import Api


class Output(msgspec.Struct, frozen=True):
    """How a program ended: exit code, what it printed, and the seconds it takes on real hardware."""

    exit: int = 0
    stdout: str | bytes = ""
    stderr: str = ""
    seconds: float = 0.0
    pause: float = 0.0  # seconds that it takes in any lab, however fast
    script: str = ""  # the process that it is the beginning of: it ends when that does


class Host:
    """The machine that a program runs on."""

    def __init__(self, world: World, node: str, api: Api | None, faults: Faults) -> None:
        self.world = world
        self.node = node
        self.api = api
        self.faults = faults
        self.files = Files(world, node)
        self.cwd = "/root"
        self.service_changed: Callable[[], None] = lambda: None  # the name service was started, stopped or reloaded

    @property
    def machine(self) -> Document:
        """What is known of the machine, a node or a name server, for reading alone."""
        return self.world.peek("node", self.node) or self.world.peek("nameserver", self.node) or {}

    @property
    def address(self) -> str:
        """The host's address."""
        return str(self.machine.get("address", self.node))

    @property
    def users(self) -> list[str]:
        """Who may log in."""
        return list(self.machine.get("users", ["root"]))

    def is_up(self) -> bool:
        """Tell whether who tries now reaches the host: it is on, and no fault has cut it off."""
        if self.world.peek("node", self.node) is not None:
            return cluster.is_reached(self.world, self.node)
        cut = self.faults.take("partition", f"{self.node} {self.address}")
        return bool(self.machine.get("online", True)) and cut is None

    def system(self) -> Document:
        """Return the host's system document (packages, units, mounts, mapped), for reading alone."""
        return self.world.peek("host", self.node) or {}

    def change(self, **fields: object) -> None:
        """Set fields of the system document."""
        self.world.put("host", self.node, self.system() | fields)

    def path(self, text: str) -> str:
        """Return the absolute path of an argument."""
        return text if text.startswith("/") else f"{self.cwd}/{text}"

    def now(self) -> float:
        """Return the host's clock."""
        return time.time() + float(self.machine.get("clock_offset", 0.0))

    def set_clock(self, moment: float) -> None:
        """Set the host's clock, in seconds since 1970."""
        kind = "node" if self.world.peek("node", self.node) else "nameserver"
        self.world.put(kind, self.node, self.machine | {"clock_offset": moment - time.time()})


Program = Callable[[Host, list[str], bytes], Output]


def strerror(error: OSError) -> str:
    """Return the C library's words for an OSError."""
    return error.strerror or str(error)
