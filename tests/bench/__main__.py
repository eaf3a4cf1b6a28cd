"""Own the promised speeds: ratios and counts, all from one run of `nox -s bench`; exit 1 where one is not kept.

Ratios compare processes of this run on this machine, taken in turns, so a slow
or busy machine makes both sides slow.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.product import bare_environment, copy_product, invoke, stop_lab

ROUNDS = 7
IMPORTS = "import invoke, fabric, proxmoxer"


@dataclass
class Figure:
    """One measured number, what it was promised to stay below (None: told, not promised), and its unit."""

    name: str
    value: float
    limit: float | None = None
    unit: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.limit is None or self.value <= self.limit

    def __str__(self) -> str:
        promise = (
            "" if self.limit is None else f"at most {self.limit:g}{self.unit}: {'kept' if self.kept else 'NOT KEPT'}"
        )
        return f"  {self.name:<62} {self.value:>8.3g}{self.unit:<3} {promise}".rstrip()


class Bench:
    """A checkout with a lab in it, and the clock."""

    def __init__(self, folder: Path, product: Path, cluster: str | None = None) -> None:
        self.home = folder / "checkout"
        folder.mkdir()
        subprocess.run(["cp", "-a", str(product), str(self.home)], check=True)
        self.environment = bare_environment(folder / "home")
        if cluster is not None:
            (self.home / "cluster.toml").write_text(cluster)

    def line(self, *words: str) -> float:
        """Run an `invoke` line and return its seconds."""
        began = time.perf_counter()
        result = invoke(self.home, self.environment, *words, timeout=600)
        taken = time.perf_counter() - began
        if result.returncode != 0:
            log = (self.home / ".lab" / "lab.log").read_text()[-2000:]
            told = f"{result.stdout}{result.stderr}\nlab.log ends:\n{log}"
            sys.exit(f"invoke {' '.join(words)} ended with {result.returncode}\n{told}")
        return taken

    def imports(self) -> float:
        """Return the seconds of a process that only imports what every run needs."""
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", IMPORTS], check=True, env=self.environment, cwd=self.home)
        return time.perf_counter() - began

    def first_answer(self) -> float:
        """Return the seconds from `invoke lab.start` to the API's first answer."""
        began = time.perf_counter()
        self.line("lab.start")
        lab = json.loads((self.home / ".lab" / "lab.json").read_text())
        trust = ssl.create_default_context(cafile=str(self.home / lab["ca_file"]))
        place = urlsplit(next(iter(lab["api"].values())))
        connection = http.client.HTTPSConnection(place.netloc, context=trust, timeout=10)
        connection.request("GET", "/api2/json/version")
        connection.getresponse().read()
        taken = time.perf_counter() - began
        connection.close()
        return taken

    def counted(self, work: Callable[[], object]) -> list[dict[str, object]]:
        """Return the journal's lines that the work made."""
        journal = self.home / ".lab" / "journal.jsonl"
        before = len(journal.read_text().splitlines())
        work()
        return [json.loads(line) for line in journal.read_text().splitlines()[before:]]


def many_hosts(text: str, count: int) -> str:
    """Return the sample's cluster.toml with `count` hosts in a network that has room for them."""
    tables = "".join(f'[[proxmox.hosts]]\nname = "node{n}"\naddress = "10.10.2.{n}"\n' for n in range(1, count + 1))
    text = re.sub(r"\[\[proxmox\.hosts\]\].*?(?=\n\[packer\])", tables, text, flags=re.DOTALL)
    text = re.sub(r'(?m)^cidr = "[^"]*"', 'cidr = "10.10.0.0/16"', text)
    return re.sub(r'(?m)^hosts = "[^"]*"', 'hosts = "10.10.2.1-10.10.2.99"', text)


def speed(product: Path, folder: Path) -> list[Figure]:
    """Measure start, no-op at two latencies, and what a no-op sends."""
    bench = Bench(folder / "four", product)
    try:
        starts = []
        for _ in range(3):
            starts.append(bench.first_answer())
            bench.line("lab.stop")
        bench.line("lab.start", "--task-seconds", "0")
        cold = bench.line("foundation")
        bench.line("foundation")
        bench.line("dns")
        rounds = [(bench.imports(), bench.line("foundation"), bench.line("dns", "--only")) for _ in range(ROUNDS)]
        base, quick, names = (statistics.median(times) for times in zip(*rounds, strict=True))
        sent = bench.counted(lambda: bench.line("foundation"))
        bench.line("lab.start", "--latency-ms", "20")
        far = statistics.median(bench.line("foundation") for _ in range(ROUNDS))
    finally:
        stop_lab(bench.home)
    kinds = Counter(str(line["kind"]) for line in sent)
    per_host = Counter(str(line["host"]) for line in sent if line["kind"] == "ssh")
    return [
        Figure("invoke lab.start to first answer, bare checkout", starts[0], 1.2, " s"),
        Figure("invoke lab.start to first answer, again (median)", statistics.median(starts), 1.2, " s"),
        Figure(f"process that does `{IMPORTS}`", base, None, " s"),
        Figure("cold `invoke foundation`, tasks without duration", cold, None, " s"),
        Figure("no-op `invoke foundation`, no latency", quick, None, " s"),
        Figure("  against the importing process", quick / base, 2.5, " x"),
        Figure("no-op `invoke dns --only`, every record asked, no latency", names, None, " s"),
        Figure("  against the importing process", names / base, 2.5, " x"),
        Figure("no-op `invoke foundation`, 20 ms latency", far, None, " s"),
        Figure("  more than without latency", far - quick, 0.8, " s"),
        Figure("requests of a no-op", kinds["api"]),
        Figure("SSH commands of a no-op", kinds["ssh"]),
        Figure("  hosts that they go to", len(per_host)),
        Figure("SFTP operations of a no-op", kinds["sftp"]),
    ]


def breadth(product: Path, folder: Path) -> list[Figure]:
    """Measure a full look at 4 and at 32 hosts, 20 ms away, in turns; without DNS, where more hosts are more names."""
    text = (product / "cluster.toml").read_text()
    benches = {count: Bench(folder / f"hosts-{count}", product, many_hosts(text, count)) for count in (4, 32)}
    try:
        for bench in benches.values():
            bench.line("lab.start", "--task-seconds", "0", "--latency-ms", "20")
            bench.line("foundation")
        taken = {"doctor --phases foundation": {4: 0.0, 32: 0.0}, "foundation": {4: 0.0, 32: 0.0}}
        for line, times in taken.items():
            rounds = [{count: bench.line(*line.split()) for count, bench in benches.items()} for _ in range(5)]
            times.update({count: statistics.median(one[count] for one in rounds) for count in benches})
    finally:
        for bench in benches.values():
            stop_lab(bench.home)
    return [
        figure
        for line, times in taken.items()
        for figure in (
            Figure(f"`invoke {line}`, 4 hosts, 20 ms", times[4], None, " s"),
            Figure("  32 hosts against 4", times[32] / times[4], 1.5, " x"),
        )
    ]


def main() -> int:
    """Measure and print everything; return 1 where a promise is not kept."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as name:
        product = copy_product(Path(name) / "product")
        for part in (speed, breadth):
            for figure in part(product, Path(name)):
                print(figure, flush=True)
                figures.append(figure)
    broken = [figure for figure in figures if not figure.kept]
    print(f"{len(figures)} figures, {len(broken)} promises not kept")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
