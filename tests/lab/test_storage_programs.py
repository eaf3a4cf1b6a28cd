"""The way of an RBD image on a simulated host: created, mapped, formatted, mounted at boot; and what refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lab.simulated import Simulated
from tests.tools import tool

DEVICE = "/dev/rbd/rbd/x"
MAP = "[Service]\nType=oneshot\nExecStart=/usr/bin/rbd map rbd/x\nExecStop=/usr/bin/rbd unmap rbd/x\n"
INSTALL = "[Install]\nWantedBy=multi-user.target\n"
MOUNT = (
    "[Unit]\nRequires=map.service\n[Mount]\nWhat=/dev/rbd/rbd/x\nWhere=/mnt/x-y\nType=ext4\nOptions=noatime,_netdev\n"
)


def created(lab: Simulated) -> None:
    lab.text("rbd create --size 16384 --image-feature layering rbd/x")


def test_created_formatted_and_mounted_by_units(simulated: Simulated) -> None:
    lab = simulated
    created(lab)
    assert json.loads(lab.text("rbd info --format json rbd/x"))["size"] == 16 << 30
    lab.unit("map.service", MAP + INSTALL)
    lab.unit(r"mnt-x\x2dy.mount", MOUNT + INSTALL)
    lab.text("systemctl daemon-reload")
    lab.text("systemctl enable --now map.service")
    assert json.loads(lab.text("rbd device list --format json"))[0]["device"] == "/dev/rbd0"
    assert json.loads(lab.text("rbd status --format json rbd/x", "node2"))["watchers"]
    assert lab.run(f"blkid -p -o export {DEVICE}").exit == 2
    assert json.loads(lab.text(f"wipefs --json --no-act {DEVICE}")) == {"signatures": []}
    assert json.loads(lab.text("rbd diff --format json rbd/x")) == []
    assert lab.run(r"systemctl start 'mnt-x\x2dy.mount'").exit == 1, "nothing to mount yet"
    lab.text(f"mkfs.ext4 -q -L x {DEVICE}")
    assert "TYPE=ext4" in lab.text(f"blkid -p -o export {DEVICE}")
    assert json.loads(lab.text("rbd diff --format json rbd/x"))
    lab.text(r"systemctl enable --now 'mnt-x\x2dy.mount'")
    found = json.loads(lab.text("findmnt --json --mountpoint /mnt/x-y"))["filesystems"][0]
    assert (found["source"], found["fstype"]) == ("/dev/rbd0", "ext4")
    assert lab.text(r"systemctl is-enabled 'mnt-x\x2dy.mount'") == "enabled\n"
    assert lab.text("ls /mnt/x-y") == "lost+found\n"


def test_an_exclusive_mapping_keeps_other_hosts_from_another_one(simulated: Simulated) -> None:
    lab = simulated
    created(lab)
    assert lab.run("rbd map --exclusive rbd/x").exit == 22, "it has no lock yet"
    lab.text("rbd feature enable rbd/x exclusive-lock")
    assert lab.run("rbd feature enable rbd/x exclusive-lock").exit == 22
    lab.text("rbd map -o exclusive rbd/x")
    refused = lab.run("rbd map --exclusive rbd/x", "node2")
    assert (refused.exit, "Read-only file system" in refused.stderr) == (30, True)
    lab.text("rbd unmap rbd/x")
    lab.text("rbd map --exclusive rbd/x", "node2")


def test_what_is_in_use_is_refused(simulated: Simulated) -> None:
    lab = simulated
    created(lab)
    lab.text("rbd map rbd/x")
    lab.text(f"mkfs.ext4 -q {DEVICE}")
    lab.text("mkdir /mnt/x")
    lab.text(f"mount {DEVICE} /mnt/x")
    assert lab.run("rbd unmap rbd/x").exit == 16
    assert lab.run("rbd rm rbd/x", "node2").exit == 16
    assert "is mounted" in lab.run(f"mkfs.ext4 -F {DEVICE}").stderr
    lab.text("umount /mnt/x")
    lab.text("rbd unmap rbd/x")
    lab.text("rbd rm rbd/x")
    assert lab.run("rbd info rbd/x").exit == 2
    assert lab.run("findmnt --json --mountpoint /mnt/x").exit == 1


@pytest.mark.parametrize(
    ("line", "exit", "told"),
    [
        ("rbd create --size 1 nopool/x", 2, "error opening pool 'nopool'"),
        ("rbd info rbd/none", 2, "error opening image none"),
        ("rbd map rbd/none", 2, "error opening image none"),
        ("rbd nonsense", 22, "error"),
        ("wipefs /dev/none", 1, "No such file or directory"),
        ("mount /dev/none /mnt", 32, "special device /dev/none does not exist"),
        ("umount /mnt", 32, "not mounted"),
        ("systemctl start none", 5, "Unit none.service not found"),
        ("systemctl enable none", 1, "does not exist"),
        ("systemctl nonsense", 1, "Unknown command verb"),
        ("/opt/rbd ls", 127, "No such file or directory"),
        ("blkid --nonsense", 1, "unrecognized option"),
    ],
)
def test_refusals(simulated: Simulated, line: str, exit: int, told: str) -> None:
    output = simulated.run(line)
    assert output.exit == exit
    assert told in output.stderr


def test_a_unit_is_known_only_after_it_was_written(simulated: Simulated) -> None:
    assert simulated.run("systemctl is-enabled map.service").exit != 0
    simulated.unit("map.service", MAP + INSTALL)
    assert simulated.run("systemctl enable --now map.service").exit == 1, "its image is not there"
    assert simulated.run("systemctl is-active map.service").stdout == "failed\n"


BESIDE_THE_REAL = {"blkid", "wipefs", "mkfs.ext4", "findmnt"}  # in the two tests below


def _real(*argv: str) -> str:
    return subprocess.run([tool(argv[0]), *argv[1:]], capture_output=True, text=True, timeout=20).stdout


def test_blkid_and_wipefs_print_what_the_real_ones_print(simulated: Simulated, tmp_path: Path) -> None:
    scratch = tmp_path / "x"
    with scratch.open("wb") as file:
        file.truncate(600 << 20)
    empty = _real("wipefs", "--json", "--no-act", str(scratch))
    _real("mkfs.ext4", "-q", "-L", "x", str(scratch))
    created(simulated)
    simulated.text("rbd map rbd/x")
    assert simulated.text(f"wipefs --json --no-act {DEVICE}") == empty
    simulated.text(f"mkfs.ext4 -q -L x {DEVICE}")

    def exported(text: str) -> dict[str, Any]:
        found = dict(line.split("=", 1) for line in text.splitlines())
        return found | {"DEVNAME": "", "UUID": len(found["UUID"])}

    real, ours = _real("blkid", "-p", "-o", "export", str(scratch)), simulated.text(f"blkid -p -o export {DEVICE}")
    assert exported(real) == exported(ours)
    assert list(exported(real)) == list(exported(ours))
    real, ours = _real("wipefs", "--json", "--no-act", str(scratch)), simulated.text(f"wipefs --json --no-act {DEVICE}")
    kept = {key: value for key, value in json.loads(real)["signatures"][0].items() if key != "uuid"}
    assert {key: value for key, value in json.loads(ours)["signatures"][0].items() if key != "uuid"} == kept
    assert len(real.splitlines()) == len(ours.splitlines())


def test_findmnt_prints_what_the_real_one_prints(simulated: Simulated) -> None:
    real, ours = _real("findmnt", "--json", "--target", "/"), simulated.text("findmnt --json --target /")
    assert list(json.loads(real)["filesystems"][0]) == list(json.loads(ours)["filesystems"][0])
    assert [line[:12] for line in real.splitlines()[:4]] == [line[:12] for line in ours.splitlines()[:4]]
