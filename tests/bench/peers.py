"""Own the comparison with peers: what one of our no-op lines looks at, looked at by Ansible, pyinfra, and `ssh` alone.

The observations are taken from the lab's journal of our own line in the same run: its
commands as they were, its reads of the API as `pvesh get` on the same host, as scripts do
it. Printed as ratios to our line, and promised nowhere. A peer that is not here is named.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.__main__ import Bench, Figure, many_hosts
from tests.product import copy_product, invoke, stop_lab

HOSTS = (4, 32)
LATENCIES = (0, 5, 20)  # milliseconds
TASKS = ("foundation", "doctor")
ROUNDS, SLOW = 2, 5.0
TOOLS = os.environ.get("GROUNDWORK_PEERS", "")  # the folder of their programs, where it is not on PATH
Looks = dict[str, list[str]]
PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "strategy": "free",
        "tasks": [{"ansible.builtin.raw": "{{ item }}", "loop": "{{ commands }}", "changed_when": False}],
    }
]
DEPLOY = "from pyinfra import host\nfrom pyinfra.operations import server\nserver.shell(commands=host.data.commands)\n"


def looks(bench: Bench, task: str) -> Looks:
    """Return what a no-op of the task reads, as command lines by host; each once, and what failed left out."""
    lab = json.loads((bench.home / ".lab" / "lab.json").read_text())
    address = dict(zip(lab["api"], lab["ssh"], strict=False))  # the last one is the name server
    found: Looks = {}
    for line in bench.counted(lambda: bench.line(task)):
        if line["kind"] == "ssh" and line["exit"] == 0:
            host, words = str(line["host"]), list(map(str, line["argv"]))  # type: ignore[call-overload]
        elif line["kind"] == "api" and line["method"] == "GET" and line["status"] == 200:
            host, words = address[line["node"]], ["pvesh", "get", str(line["path"]), "--output-format", "json"]
        else:
            continue
        if (text := shlex.join(words)) not in found.setdefault(host, []):
            found[host].append(text)
    return found


class Peer:
    """One way to run the command lines; a folder of its own for what it reads and leaves."""

    def __init__(self, bench: Bench, folder: Path, wanted: Looks) -> None:
        self.bench, self.folder, self.wanted = bench, folder, wanted
        self.config = folder / "ssh_config"
        self.config.write_text(invoke(bench.home, bench.environment, "lab.ssh-config").stdout)

    def run(self, *argv: str, **environment: str) -> None:
        """Run a program of the peer's to its end."""
        done = subprocess.run(
            argv,
            cwd=self.folder,
            env=self.bench.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode != 0:
            sys.exit(f"{argv[0]} ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def ssh(self, program: str) -> None:
        """Start one process for each command, one after the other."""
        for host, lines in self.wanted.items():
            for line in lines:
                self.run(program, "-F", str(self.config), host, line)

    def ansible(self, program: str) -> None:
        """Run a playbook of `raw`: the other modules need a Python on the host."""
        hosts = {host: {"commands": lines} for host, lines in self.wanted.items()}
        (self.folder / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
        (self.folder / "play.yml").write_text(json.dumps(PLAY))
        with tempfile.TemporaryDirectory(prefix="cp-") as sockets:  # no connection is left of the round before
            self.run(
                *(program, "-i", "inventory.yml", "-u", "root", "--forks", str(len(hosts)), "play.yml"),
                ANSIBLE_SSH_ARGS=f"-F {self.config} -C -o ControlMaster=auto -o ControlPersist=60s",
                ANSIBLE_SSH_CONTROL_PATH_DIR=sockets,
            )

    def pyinfra(self, program: str) -> None:
        """Run one operation with every command."""
        hosts = [
            (host, {"commands": lines, "ssh_config_file": str(self.config)}) for host, lines in self.wanted.items()
        ]
        (self.folder / "inventory.py").write_text(f"hosts = {hosts!r}\n")
        (self.folder / "deploy.py").write_text(DEPLOY)
        self.run(program, "-y", "--ssh-user", "root", "--parallel", str(len(hosts)), "inventory.py", "deploy.py")


PEERS: dict[str, Callable[[Peer, str], None]] = {
    "ansible-playbook": Peer.ansible,
    "pyinfra": Peer.pyinfra,
    "ssh": Peer.ssh,
}


def here() -> dict[str, str]:
    """Return where each peer's program is; name those that are not here."""
    path = os.pathsep.join(filter(None, (TOOLS, os.environ["PATH"])))
    found = {name: shutil.which(name, path=path) for name in PEERS}
    for name, program in found.items():
        if program is None:
            print(f"  {name}: not here, not measured")
    return {name: program for name, program in found.items() if program}


def seconds(work: Callable[[], object]) -> float:
    """Return how long the work takes, at best of some rounds; what is slow is not done again."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
        if best > SLOW:
            break
    return best


def compare(bench: Bench, folder: Path, programs: dict[str, str], title: str, task: str) -> None:
    """Print our line, and each peer against it."""
    wanted = looks(bench, task)
    ours = seconds(lambda: bench.line(task))
    count = sum(map(len, wanted.values()))
    print(
        Figure(f"`invoke {task}`, {title}: {count} looks, hosts: {len(wanted)}", ours, None, " s"),
        flush=True,
    )
    for name, program in programs.items():
        peer = Peer(bench, Path(tempfile.mkdtemp(dir=folder)), wanted)
        taken = seconds(functools.partial(PEERS[name], peer, program))
        print(Figure(f"  {name} against it", taken / ours, None, " x"), flush=True)


def main() -> None:
    """Measure every peer at each width and latency."""
    programs = here()
    with tempfile.TemporaryDirectory(prefix="groundwork-peers-") as name:
        folder = Path(name)
        product = copy_product(folder / "product")
        text = (product / "cluster.toml").read_text()
        for count in HOSTS:
            bench = Bench(folder / f"hosts-{count}", product, many_hosts(text, count))
            try:
                for latency in LATENCIES:
                    bench.line("lab.start", "--task-seconds", "0", "--latency-ms", str(latency))
                    bench.line("foundation")
                    for task in TASKS:
                        compare(bench, folder, programs, f"{count} hosts, {latency} ms", task)
            finally:
                stop_lab(bench.home)


if __name__ == "__main__":
    main()
