"""What qm, pveum, pvesm and pvesh print beyond what a recording has of them.

Read in src/PVE/CLI/{qm,pvesm,pveum}.pm and src/PVE/GuestHelpers.pm (print_snapshot_tree, format_pending).
"""

from __future__ import annotations

import shlex

import pytest

from lib.lab.faults import Faults
from lib.lab.programs.host import Host as Machine
from lib.lab.programs.table import run
from tests.contract.host import Host


def said(host: Host, line: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a command line; a usage is cut, as recordings cut it."""
    output = run(Machine(host.world, "pve", host.api, Faults(host.world)), shlex.split(line), b"")
    assert isinstance(output.stdout, str)
    return output.exit, output.stdout, output.stderr.partition("USAGE: ")[0]


@pytest.fixture
def host() -> Host:
    return Host().with_guest()


MISSING = "Configuration file 'nodes/pve/qemu-server/999.conf' does not exist\n"
LINES = [
    ("qm set 100 --cores 2 --tags 'b;a'", (0, "update VM 100: -cores 2 -tags b;a\n", "")),
    ("qm listsnapshot 100", (0, f"`-> current{'':<45}You are here!\n", "")),
    ("qm nosuch", (255, "", "ERROR: unknown command 'qm nosuch'\n")),
    ("qm unlock 100", (0, "", "")),
    ("qm unlock 999", (2, "", MISSING)),
    ("qm rollback 100 nosuch", (255, "", "snapshot 'nosuch' does not exist\n")),
    ("qm config", (255, "", "400 not enough arguments\nqm config <vmid> [OPTIONS]\n")),
    ("pvesm alloc made 100 vm-100-disk-5.raw 1M", (0, "successfully created 'made:100/vm-100-disk-5.raw'\n", "")),
    ("pvesm alloc made 100 disk 1M", (255, "", "unable to parse volume filename 'disk'\n")),
    ("pvesm path nosuch:iso/x.iso", (255, "", "storage 'nosuch' does not exist\n")),
    ("pvesm path nosuch", (255, "", "unable to parse volume ID 'nosuch'\n")),
    ("pvesm list nosuch", (255, "", "storage 'nosuch' does not exist\n")),
    ("pveum useradd a@pve", (0, "", "")),
    ("pveum group modify nosuch", (255, "", "update group failed: group 'nosuch' does not exist\n")),
    ("pveum pool delete nosuch", (255, "", "delete pool failed: pool 'nosuch' does not exist\n")),
    ("pveum role modify PVEAdmin --privs VM.Audit", (255, "", "auto-generated role 'PVEAdmin' cannot be modified\n")),
    ("pvesh get /nosuch", (1, "", "No 'get' handler defined for '/nosuch'\n")),
]


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[line for line, _ in LINES])
def test_a_command(host: Host, line: str, expected: tuple[int, str, str]) -> None:
    assert said(host, line) == expected


def test_what_waits_is_shown_beside_what_is(host: Host) -> None:
    said(host, "qm set 100 --description 'one: 50%' --cores 2")
    assert "description: one%3A 50%25\n" in said(host, "qm config 100")[1]
    said(host, "qm start 100")
    said(host, "qm set 100 --cores 4 --delete scsihw --bios ovmf")
    lines = said(host, "qm pending 100")[1].splitlines()
    assert "cur cores: 2" in lines
    assert lines[lines.index("cur cores: 2") + 1] == "new cores: 4"
    assert "new bios: ovmf" in lines


def test_snapshots_are_a_tree(host: Host) -> None:
    said(host, "qm snapshot 100 one --description first")
    said(host, "qm snapshot 100 two")
    rows = [" ".join(row.split()) for row in said(host, "qm listsnapshot 100")[1].splitlines()]
    assert [row.split()[1] for row in rows] == ["one", "two", "current"]
    assert (rows[0].endswith("first"), rows[1].endswith("no-description")) == (True, True)


@pytest.mark.parametrize(("pve", "unit"), [("8.4", ""), ("9.2", " (KiB)")])
def test_the_state_of_storages(pve: str, unit: str) -> None:
    host = Host(pve)
    host.data("POST", "/storage", storage="off", type="dir", path="/mnt/off", content="images", disable=1)
    head, local, off = said(host, "pvesm status")[1].splitlines()
    assert head.split() == f"Name Type Status Total{unit} Used{unit} Available{unit} %".split()
    assert local.split()[:3] == ["local", "dir", "active"]
    assert off.split() == ["off", "dir", "disabled", "0", "0", "0", "N/A"]
    assert len(head) == len(local) == len(off)
