"""The lab as a process: OpenSSH's and proxmoxer's own clients against it, faults, latency, kill -9."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from proxmoxer import ProxmoxAPI

from lib.errors import StepError, UnreachableError, UsageError
from lib.lab import attach, start
from tests.lab.simulated import CLUSTER
from tests.tools import found, tool

ADDRESS = CLUSTER.proxmox.hosts[0].address
Ssh = Callable[..., subprocess.CompletedProcess[str]]


def client(root: Path, *words: str, program: str = "ssh", stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool(program), "-q", "-F", str(root / "ssh_config"), *words],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=30,
    )


def journal(root: Path, kind: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in (root / ".lab" / "journal.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


@contextlib.contextmanager
def proxmox(root: Path, lab: dict[str, Any]) -> Iterator[ProxmoxAPI]:
    url = next(iter(lab["api"].values())).removeprefix("https://")
    password = (root / lab["root_password_file"]).read_text().strip()
    api = ProxmoxAPI(url, user="root@pam", password=password, verify_ssl=str(root / lab["ca_file"]))
    yield api
    api._store["session"].close()


@pytest.fixture(autouse=True)
def no_faults(running: Path) -> Iterator[None]:
    yield
    if start.running(running):
        start.ask(running, "DELETE", "/fault")


def fault(root: Path, kind: str, match: str = "", times: int = 1) -> None:
    start.ask(root, "POST", "/fault", {"kind": kind, "match": match, "times": times})


def test_lab_json_says_where_everything_is(running: Path) -> None:
    lab = json.loads((running / ".lab" / "lab.json").read_text())
    keys = ["pid", "pve_version", "api", "ssh", "dns", "kubernetes", "ca_file", "ssh_key_file", "root_password_file"]
    assert list(lab) == [*keys, "latency_ms"]
    assert list(lab["api"]) == [host.name for host in CLUSTER.proxmox.hosts]
    assert list(lab["ssh"]) == [*(host.address for host in CLUSTER.proxmox.hosts), CLUSTER.dns.server]
    assert list(lab["dns"]) == [CLUSTER.dns.server]
    for key in ("ca_file", "ssh_key_file", "root_password_file"):
        assert (running / lab[key]).is_file()
    for name in ("ssh_key", "root_password", "control.json"):
        assert (running / ".lab" / name).stat().st_mode & 0o777 == 0o600
    assert (running / ".lab").stat().st_mode & 0o777 == 0o700


def test_openssh_runs_a_command_and_an_unknown_one(running: Path) -> None:
    assert client(running, ADDRESS, "hostname").stdout == f"{CLUSTER.proxmox.hosts[0].name}\n"
    unknown = client(running, ADDRESS, "nosuchcommand")
    assert unknown.returncode == 127
    assert unknown.stderr == "bash: line 1: nosuchcommand: command not found\n"
    shell = client(running, ADDRESS)
    assert shell.returncode == 1
    assert "no shell" in shell.stderr
    line = journal(running, "ssh")[-1]
    assert {"t", "kind", "host", "user", "argv", "exit", "ms"} == set(line)
    assert (line["host"], line["argv"], line["exit"]) == (ADDRESS, ["nosuchcommand"], 127)


def test_nothing_is_executed_here(running: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for line in (
        f"touch {trap}",
        f"true; touch {trap}",
        f"sh -c 'touch {trap}'",
        f"echo $(touch {trap})",
        f"cp /etc/hosts {trap}",
    ):
        client(running, ADDRESS, line)
    assert not trap.exists()


def test_sftp_carries_files_there_and_back(running: Path, tmp_path: Path) -> None:
    small, big, back = tmp_path / "small", tmp_path / "big", tmp_path / "back"
    small.write_bytes(b"content\n")
    big.write_bytes(os.urandom(3 << 20))
    script = f"put {small} /root/s\nrename /root/s /root/t\nget /root/t {back}\nput {big} /root/big\n"
    script += "chmod 600 /root/t\nls -l /root\n"
    done = client(running, "-b", "-", ADDRESS, program="sftp", stdin=script)
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == b"content\n"
    assert "-rw-------" in done.stdout
    told = client(running, ADDRESS, "sha256sum /root/big").stdout.split()[0]
    assert told == hashlib.sha256(big.read_bytes()).hexdigest()
    missing = client(running, "-b", "-", ADDRESS, program="sftp", stdin="get /none\n")
    assert missing.returncode != 0
    assert {"write", "read", "rename", "list"} <= {line["op"] for line in journal(running, "sftp")}


def test_a_stranger_is_not_let_in(running: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    config = (running / "ssh_config").read_text().replace(str(running / ".lab" / "ssh_key"), str(tmp_path / "key"))
    (tmp_path / "ssh_config").write_text(config)
    refused = client(tmp_path, "-o", "BatchMode=yes", ADDRESS, "hostname")
    assert refused.returncode == 255
    public = (tmp_path / "key.pub").read_text()
    client(
        running, "-b", "-", ADDRESS, program="sftp", stdin="get /root/.ssh/authorized_keys " + str(tmp_path / "known")
    )
    (tmp_path / "known").write_text((tmp_path / "known").read_text() + public)
    client(running, "-b", "-", ADDRESS, program="sftp", stdin=f"put {tmp_path / 'known'} /root/.ssh/authorized_keys\n")
    assert client(tmp_path, ADDRESS, "hostname").returncode == 0, "as with ssh-copy-id"


def test_proxmoxer_works(running: Path) -> None:
    lab = json.loads((running / ".lab" / "lab.json").read_text())
    with proxmox(running, lab) as api:
        assert api.version.get()["version"] == lab["pve_version"]
        assert {node["node"] for node in api.nodes.get()} == set(lab["api"])
    assert journal(running, "api")[-1]["path"] == "/nodes"


def test_faults_break_ssh(running: Path) -> None:
    fault(running, "exit", "uname")
    assert client(running, ADDRESS, "hostname").returncode == 0
    assert client(running, ADDRESS, "uname -r").returncode == 1
    assert client(running, ADDRESS, "uname -r").returncode == 0
    fault(running, "ssh-drop", f"{ADDRESS} mkdir")
    assert client(running, ADDRESS, "mkdir /root/dropped").returncode == 255
    assert client(running, ADDRESS, "test -d /root/dropped").returncode == 0, "what was done stays done"
    fault(running, "ssh-refuse", ADDRESS)
    assert client(running, ADDRESS, "hostname").returncode == 255
    fault(running, "timeout", "hostname")
    began = time.monotonic()
    assert client(running, ADDRESS, "timeout -k 5 1 hostname").returncode == 124
    assert 0.9 < time.monotonic() - began < 10
    fault(running, "partition", ADDRESS, 0)
    assert client(running, ADDRESS, "hostname").returncode == 255
    assert client(running, CLUSTER.proxmox.hosts[1].address, "hostname").returncode == 0
    start.ask(running, "DELETE", "/fault")
    assert client(running, ADDRESS, "hostname").returncode == 0
    with pytest.raises(UsageError, match="nonsense"):
        fault(running, "nonsense")


def test_a_full_disk_is_told_over_sftp(running: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    fault(running, "disk-full", f"{ADDRESS} /root/full")
    script = f"put {tmp_path / 'x'} /root/full\n"
    full = client(running, "-b", "-", ADDRESS, program="sftp", stdin=script)
    assert full.returncode != 0
    server = found("sftp-server", shutil.which("sftp-server", path="/usr/lib/openssh:/usr/libexec/openssh") or "")
    real = subprocess.run(
        ["sftp", "-q", "-D", server, "-b", "-"],
        input=f"put {tmp_path / 'x'} /dev/full\n",
        capture_output=True,
        text=True,
    )
    assert full.stderr.replace("/root/", "/dev/") == real.stderr, "as OpenSSH's own server tells it"
    assert client(running, "-b", "-", ADDRESS, program="sftp", stdin=script).returncode == 0


def test_control_needs_its_secret(running: Path) -> None:
    path = running / ".lab" / "control.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"secret": "wrong"}))
    try:
        with pytest.raises(UnreachableError, match="401"):
            start.ask(running, "GET", "/status")
    finally:
        path.write_text(kept)
    assert start.ask(running, "GET", "/status")["hosts"] == len(CLUSTER.proxmox.hosts)


def test_killed_it_comes_back_as_it_was(running: Path) -> None:
    before = start.running(running)
    assert before is not None
    with proxmox(running, before) as api:
        api.pools.post(poolid="kept")
    client(running, ADDRESS, "mkdir /root/kept")
    os.kill(before["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 5
    while start.running(running) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert start.running(running) is None
    after = start.ensure(running)
    assert after["pid"] != before["pid"]
    assert (after["api"], after["ssh"]) == (before["api"], before["ssh"]), "a client finds it where it was"
    assert client(running, ADDRESS, "test -d /root/kept").returncode == 0
    with proxmox(running, after) as api:
        assert "kept" in [pool["poolid"] for pool in api.pools.get()]


def test_started_twice_at_once_there_is_one(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).resolve().parents[2] / "cluster.toml", tmp_path)
    try:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _: start.ensure(tmp_path), range(2)))
        assert found[0]["pid"] == found[1]["pid"]
        for key, other, made in (("pve", "8.4", "9.2"), ("hosts", 2, "its default"), ("perverse", 1, "its default")):
            with pytest.raises(UsageError, match=rf"--{key}: was made with {made} \(got {other}\)"):
                start.check(tmp_path, {key: other})
        start.check(tmp_path, {"pve": "9.2", "task_seconds": 1.0, "latency_ms": 5.0})
        assert start.reset(tmp_path)
        assert not (tmp_path / ".lab" / "world.sqlite").exists()
        assert start.start(tmp_path, pve="8.4", hosts=2)["pve_version"].startswith("8.4")
    finally:
        start.stop(tmp_path)


def test_it_ends_where_its_folder_is_removed_and_leaves_the_next_one_alone(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).resolve().parents[2] / "cluster.toml", tmp_path)
    first = start.start(tmp_path)
    shutil.rmtree(tmp_path / ".lab")
    try:
        second = start.ensure(tmp_path)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{first['pid']}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not Path(f"/proc/{first['pid']}").exists()
        assert start.running(tmp_path) == second
    finally:
        start.stop(tmp_path)


def test_a_broken_cluster_toml_is_told_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text("[proxmox]\nnonsense = 1\n")
    with pytest.raises(StepError, match=r"cluster\.toml:1") as caught:
        start.start(tmp_path)
    assert "Traceback" not in str(caught.value)


def test_latency_is_paid_by_every_protocol(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).resolve().parents[2] / "cluster.toml", tmp_path)
    seconds: dict[str, dict[int, float]] = {"ssh": {}, "api": {}}
    try:
        for milliseconds in (0, 60):
            lab = start.start(tmp_path, latency_ms=milliseconds, task_seconds=0)
            (tmp_path / "ssh_config").write_text(attach.ssh_config(tmp_path, lab))
            assert client(tmp_path, ADDRESS, "hostname").returncode == 0
            began = time.monotonic()
            client(tmp_path, ADDRESS, "hostname")
            seconds["ssh"][milliseconds] = time.monotonic() - began
            with proxmox(tmp_path, lab) as api:
                api.version.get()
                began = time.monotonic()
                api.version.get()
                seconds["api"][milliseconds] = time.monotonic() - began
            start.stop(tmp_path)
    finally:
        start.stop(tmp_path)
    # A request on an open connection is one round trip; a new SSH connection with one command at least eight.
    # Lower bounds alone: a busy machine may take any time on top.
    assert seconds["api"][60] >= 0.055
    assert seconds["ssh"][60] >= 0.4
