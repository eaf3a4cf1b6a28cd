"""The simulated command-line tools against what a real Proxmox VE host printed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lib.config.model import Host as ConfiguredHost
from lib.lab import keys, topology
from lib.lab.faults import Faults
from lib.lab.programs.host import Host
from lib.lab.programs.table import run
from lib.lab.pve.api import Api
from lib.lab.topology import Shape
from lib.lab.world import World
from tests.lab.simulated import CLUSTER

RECORDINGS = sorted((Path(__file__).resolve().parents[3] / "shared" / "pve").glob("cli-*.json"))
VOLATILE = (
    (re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"ctime=\d+"), "ctime=<time>"),
    (re.compile(r"creation-qemu=[\d.]+"), "creation-qemu=<version>"),
    (re.compile(r"running kernel: [^)]+"), "running kernel: <kernel>"),
    (re.compile(r"^(local +dir +active) .*$", re.MULTILINE), r"\1 <sizes>"),
)


def plain(text: str) -> str:
    for pattern, replacement in VOLATILE:
        text = pattern.sub(replacement, text)
    if text.startswith("[{"):  # Perl gives lists that come from a hash in no order
        text = json.dumps(sorted(json.loads(text), key=json.dumps))
    return text


def recorded_host(folder: Path) -> Host:
    """Return a host in the shape of the recording: named pve, no Ceph, no bridge, what the host had before."""
    alone = (ConfiguredHost(name="pve", address="127.0.0.1"),)
    cluster = msgspec.structs.replace(CLUSTER, proxmox=msgspec.structs.replace(CLUSTER.proxmox, hosts=alone))
    world = World()
    topology.build(world, cluster, Shape(task_scale=0.0), keys.prepare(folder, {"pve": "127.0.0.1"}))
    world.delete("storage", CLUSTER.proxmox.storage)
    world.delete("meta", "ceph")
    world.put("host", "pve", (world.get("host", "pve") or {}) | {"ceph": False})
    world.put("node", "pve", (world.get("node", "pve") or {}) | {"bridges": []})
    world.put("storage", "local", {"type": "dir", "path": "/var/lib/vz", "content": "iso,vztmpl,backup,images,rootdir"})
    world.put("user", "rec@nosuchrealm", {"enable": 1, "expire": 0})
    root = world.get("user", "root@pam") or {}
    world.put("user", "root@pam", {key: value for key, value in root.items() if key != "email"})
    return Host(world, "pve", Api(world), Faults(world))


def commands() -> list[Any]:
    return [entry for path in RECORDINGS for entry in json.loads(path.read_text())["commands"]]


@pytest.mark.skipif(not RECORDINGS, reason="the recordings are not beside this checkout (../shared/pve)")
def test_every_recorded_command_answers_as_recorded(tmp_path: Path) -> None:
    """In order, on one host: the commands build on each other."""
    host = recorded_host(tmp_path)
    differences = []
    for entry in commands():
        output = run(host, shlex.split(entry["command"]), b"")
        out = output.stdout if isinstance(output.stdout, str) else output.stdout.decode()
        got, want = (
            [(output.exit, plain(out), plain(output.stderr))],
            (entry["exit"], plain(entry["stdout"]), plain(entry["stderr"])),
        )
        if entry["command"] == "qm":  # the recording is cut; the table of subcommands is ours
            got, want = [(output.exit, out, output.stderr[:20])], (entry["exit"], "", entry["stderr"][:20])
        if got != [want]:
            differences.append(f"{entry['command']}\n  got  {got[0]}\n  want {want}")
    host.world.close()
    assert not differences, "\n".join(differences)
