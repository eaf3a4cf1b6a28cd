"""Own a checkout whose DNS is deployed, for rehearsals of `invoke dns`: its lab, its lines, its name server."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lib.clients.ssh import Host
from lib.clients.ssh_connection import Login
from lib.command import read
from tests.labs import OnLine, Running, lab_in
from tests.perverse import settled
from tests.preloaded.client import invoke
from tests.product import bare_environment
from tests.rehearsal.test_json import fits

SERVER = "10.10.1.1"
FILE = "/etc/dnsmasq.d/kubernetes.conf"
BIND_FILE = "/etc/bind/kubernetes.conf"
STAGE = "/etc/.groundwork-kubernetes.conf"
BIND = {  # of cluster.toml: what stands there, and what stands there where the name server is BIND
    'backend = "dnsmasq"': 'backend = "bind"',
    f'file = "{FILE}"': f'file = "{BIND_FILE}"',
    'service = "dnsmasq"': 'service = "named"',
}
PRINTER = '\n[[a]]\nname = "printer"\naddress = "10.10.1.9"\n'


class Rehearsal:
    """A checkout whose DNS is deployed by `cold`, a line of words; each test gets its lab as it was then."""

    def __init__(self, product: Path, folder: Path, seed: int | None, *cold: str, bind: bool = False) -> None:
        self._file = BIND_FILE if bind else FILE
        self.seed = seed
        self.checkout = folder / "checkout"
        shutil.copytree(product, self.checkout)
        for old, new in BIND.items() if bind else ():
            self.replace(old, new)
        self._kept = folder / "kept"
        self.environment = bare_environment(folder / "home")
        self._inputs = {name: (self.checkout / name).read_text() for name in ("cluster.toml", "dns/records.toml")}
        with lab_in(self.checkout, seed=seed):
            self.cold = self.json(*cold)
        shutil.copytree(self.checkout / ".lab", self._kept)

    @contextlib.contextmanager
    def lab(self, on_line: OnLine | None = None) -> Iterator[Running]:
        """Run the lab in the state in which everything is deployed."""
        shutil.rmtree(self.checkout / ".lab")
        shutil.copytree(self._kept, self.checkout / ".lab")
        for name, text in self._inputs.items():
            (self.checkout / name).write_text(text)
        with lab_in(self.checkout, on_line=on_line, seed=self.seed) as running:
            yield running

    def run(self, *words: str) -> Any:
        return settled(lambda: invoke(self.checkout, self.environment, *words), self.seed, self.checkout)

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run a line with --json, and return its document, which fits the schema."""
        result = self.run(*words, "--json")
        assert result.returncode == code, result.stdout + result.stderr
        return fits(result.stdout)

    def zones(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run `invoke dns --only`, and return what became of the zones."""
        return step(self.json("dns", "--only", *words, code=code), "zones")

    def append(self, name: str, text: str) -> None:
        path = self.checkout / name
        path.write_text(path.read_text() + text)

    def replace(self, old: str, new: str) -> None:
        path = self.checkout / "cluster.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    @contextlib.contextmanager
    def server(self, address: str = SERVER) -> Iterator[Host]:
        """Log in to the name server, or to a Proxmox host."""
        folder = self.checkout / ".lab"
        ports = json.loads((folder / "lab.json").read_text())["ssh"]
        reach = {f"{address}:22": ("127.0.0.1", ports[address])}
        host = Host(address, Login("root", 22, folder / "ssh_key", (folder / "known_hosts",), reach), quiet, 60.0)
        yield host
        host.close()

    def file(self) -> str:
        """Return the text of `dns.file`."""
        with self.server() as host:
            return host.run(read("cat", self._file)).stdout

    def is_clean(self) -> bool:
        """Tell whether nothing of a deployment is left on the server, and nothing that is not in use."""
        with self.server() as host:
            if self._file == FILE:
                there, ours = host.run(read("ls", "-A", "/etc/dnsmasq.d")), ["kubernetes.conf", "provisioning.conf"]
            else:
                there = host.run(read("ls", "-A", f"{BIND_FILE}.zones"))
                ours = sorted(re.findall(rf'file "{BIND_FILE}.zones/([^"]+)"', self.file()))
            return sorted(there.stdout.split()) == ours and not left(host)


def quiet(what: str, seconds: float, last: str) -> None: ...


def left(host: Host) -> bool:
    return host.run(read("test", "-e", STAGE, ok=frozenset({0, 1}))).exit == 0


def step(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one step of a document."""
    found: dict[str, Any] = next(one for phase in document["phases"] for one in phase["steps"] if one["name"] == name)
    return found


def told(result: dict[str, Any]) -> set[tuple[str, str | None, str | None]]:
    """Return a step's changes but for the service's."""
    changes = ((one["attribute"], one["before"], one["after"]) for one in result["changes"])
    return {change for change in changes if not change[0].startswith("service")}


def sent(checkout: Path) -> list[str]:
    """Return the command lines that reached the name server, without their time limit."""
    lines = (json.loads(line) for line in (checkout / ".lab" / "journal.jsonl").read_text().splitlines())
    words = [line["argv"] for line in lines if line["kind"] == "ssh" and line["host"] == SERVER]
    return [" ".join(argv[4:] if argv[0] == "timeout" else argv) for argv in words]


def until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not look():
        assert time.monotonic() < end
        time.sleep(0.05)
