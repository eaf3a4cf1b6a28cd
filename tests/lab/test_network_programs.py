"""What the simulated network programs print and how they end, beside the real ones; all of it on loopback."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.lab.simulated import Simulated
from tests.tools import tool

BODY = b"one\ntwo\n"
BESIDE_THE_REAL = {"ping", "getent", "ip", "wget", "curl"}
MEASURED = re.compile(r"(?<=time[= ])[\d.]+|[\d.]+/[\d.]+/[\d.]+/[\d.]+")


class Page(BaseHTTPRequestHandler):
    """One file, and nothing else."""

    def do_GET(self) -> None:
        there = self.path == "/a"
        self.send_response(200 if there else 404)
        self.send_header("Content-Length", str(len(BODY) if there else 0))
        self.end_headers()
        self.wfile.write(BODY if there else b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Return the address of a real web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def real(line: str, folder: Path) -> tuple[int, str, str]:
    """Run a line for real; return exit, stdout and stderr."""
    name, *words = shlex.split(line)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    done = subprocess.run([tool(name), *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout, done.stderr


def simulated_answer(lab: Simulated, line: str) -> tuple[int, str, str]:
    """Run a line on a simulated host; return the same."""
    output = lab.run(line)
    return output.exit, output.stdout if isinstance(output.stdout, str) else output.stdout.decode(), output.stderr


@pytest.mark.parametrize(
    "line",
    [
        "ping -c 1 -W 1 127.0.0.1",
        "ping -q -c 1 -W 1 127.0.0.1",
        "getent ahosts 127.0.0.1",
        "getent ahostsv4 127.0.0.1",
        "getent nosuch x",
        "ip nosuch",
        "ip addr show nosuch",
        "ip -j link show dev nosuch",
    ],
)
def test_the_same_words(simulated: Simulated, tmp_path: Path, line: str) -> None:
    wanted, got = real(line, tmp_path), simulated_answer(simulated, line)
    assert [MEASURED.sub("…", str(part)) for part in got] == [MEASURED.sub("…", str(part)) for part in wanted]


@pytest.mark.parametrize("line", ["ip -j addr show lo", "ip -j link show dev lo"])
def test_the_same_keys(simulated: Simulated, tmp_path: Path, line: str) -> None:
    (wanted,), (got,) = json.loads(real(line, tmp_path)[1]), json.loads(simulated_answer(simulated, line)[1])
    kinds = {key: type(value) for key, value in wanted.items()}
    assert {key: type(value) for key, value in got.items()} == kinds
    if "addr_info" in wanted:
        assert got["addr_info"][0] == wanted["addr_info"][0]


@pytest.mark.parametrize(
    "line",
    [
        "wget -q -O - {site}/a",
        "wget -q -O - --timeout=8 --tries=1 {site}/none",
        "wget -q -O there {site}/a",
        "wget -q -O no/such {site}/a",
        "curl -fsS {site}/a",
        "curl -fsS {site}/none",
        "curl -fsS -o there {site}/a",
        "curl -fs -o no/such {site}/a",
    ],
)
def test_the_same_pages(simulated: Simulated, tmp_path: Path, site: str, line: str) -> None:
    meta = simulated.world.get("meta", "lab") or {}
    page = {"text": BODY.decode(), "size": len(BODY), "sha256": ""}
    simulated.world.put("meta", "lab", meta | {"internet": {f"{site}/a": page}})
    simulated.hosts["node1"].cwd = str(tmp_path)
    simulated.hosts["node1"].files.mkdir(str(tmp_path), parents=True)
    line = line.format(site=site)
    assert simulated_answer(simulated, line) == real(line, tmp_path)
    if " there " in line:
        assert simulated.hosts["node1"].files.read(str(tmp_path / "there")) == (tmp_path / "there").read_bytes()
