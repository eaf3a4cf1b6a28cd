"""Own a bare simulated cluster in memory, and a way to run a command line on one of its hosts."""

from __future__ import annotations

import shlex
from pathlib import Path

from lib.config.cluster import load_cluster
from lib.lab import keys, topology
from lib.lab.dns import machine
from lib.lab.faults import Faults
from lib.lab.programs.host import Host, Output
from lib.lab.programs.table import run
from lib.lab.pve.api import Api
from lib.lab.topology import Shape
from lib.lab.world import World

CLUSTER = load_cluster(Path(__file__).resolve().parents[2] / "cluster.toml")
FOLDER = "/etc/systemd/system"


class Simulated:
    """A world and its hosts, without a process."""

    def __init__(self, folder: Path, pve: str = "9.2") -> None:
        hosts = topology.hosts_of(CLUSTER)
        self.keys = keys.prepare(folder, {host.name: host.address for host in hosts})
        self.world = World()
        topology.build(self.world, CLUSTER, Shape(pve=pve, task_scale=0.0), self.keys)
        machine.build(self.world, CLUSTER, self.keys)
        self.api = Api(self.world)
        names = [*(host.name for host in hosts), *self.world.keys("nameserver")]
        self.hosts = {name: Host(self.world, name, self.api, Faults(self.world)) for name in names}

    def run(self, line: str, on: str = "node1", stdin: bytes = b"") -> Output:
        """Run a command line."""
        return run(self.hosts[on], shlex.split(line), stdin)

    def text(self, line: str, on: str = "node1") -> str:
        """Run a command line that must succeed; return what it printed."""
        output = self.run(line, on)
        assert output.exit == 0, output
        return output.stdout if isinstance(output.stdout, str) else output.stdout.decode()

    def unit(self, name: str, text: str, on: str = "node1") -> None:
        """Write a unit file."""
        self.hosts[on].files.write(f"{FOLDER}/{name}", text.encode())
