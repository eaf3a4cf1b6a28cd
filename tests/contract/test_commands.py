"""What qm, pveum, pvesm and pvesh print beyond what a recording has of them.

Read in src/PVE/CLI/{qm,pvesm,pveum}.pm and src/PVE/GuestHelpers.pm (print_snapshot_tree, format_pending).
"""

from __future__ import annotations

import shlex

import pytest

from lib.lab.faults import Faults
from lib.lab.programs.host import Host as Machine
from lib.lab.programs.proxmox_columns import COLUMNS, columns
from lib.lab.programs.table import run
from tests.contract.host import Host
from tests.contract.recordings import VERSIONS, schema

KINDS = {("integer", "int"), ("number", "num"), ("boolean", "bool"), ("bytes", "bytes"), ("duration", "duration"),
         ("fraction_as_percentage", "percent"), ("timestamp", "time"), ("timestamp_gmt", "time")}  # fmt: skip


def said(host: Host, line: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of a command line; a usage is cut, as recordings cut it."""
    output = run(Machine(host.world, "pve", host.api, Faults(host.world)), shlex.split(line), b"")
    assert isinstance(output.stdout, str)
    return output.exit, output.stdout, output.stderr.partition("USAGE: ")[0]


@pytest.fixture
def host() -> Host:
    return Host().with_guest()


INVALID, UNPARSED = "400 Parameter verification failed.\n", "400 unable to parse option\n"
MISSES = "property is missing and it is not optional"
IMPORTS = "<vmid> <source> <storage> [OPTIONS]\n"
CREATE = "pvesh create <api_path> [OPTIONS] [FORMAT_OPTIONS]\n"
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
    ("pvesm alloc made 100 '' 1M", (0, "successfully created 'made:100/vm-100-disk-0.raw'\n", "")),
    ("pvesm alloc made 100 disk 1M", (255, "", "unable to parse volume filename 'disk'\n")),
    ("pvesm path nosuch:iso/x.iso", (255, "", "storage 'nosuch' does not exist\n")),
    (
        "pvesm path nosuch",
        (255, "", f"{INVALID}volume: invalid format - unable to parse volume ID 'nosuch'\n\npvesm path <volume>\n"),
    ),
    ("pvesm free nosuch:iso/x.iso", (255, "", "storage 'nosuch' does not exist\n")),
    ("qm list --output-format json", (255, "", f"Unknown option: output-format\n{UNPARSED}qm list  [OPTIONS]\n")),
    ("qm pending 100 --name x", (255, "", f"Unknown option: name\n{UNPARSED}qm pending <vmid>\n")),
    ("qm set 100 --node pve", (255, "", f"Unknown option: node\n{UNPARSED}qm set <vmid> [OPTIONS]\n")),
    ("qm set 100 --cor", (255, "", f"Option cores requires an argument\n{UNPARSED}qm set <vmid> [OPTIONS]\n")),
    ("qm set 100 --onboot no --numa", (0, "update VM 100: -numa 1 -onboot 0\n", "")),
    ("qm set 100 --onboot x", (255, "", "400 unable to parse boolean option\nqm set <vmid> [OPTIONS]\n")),
    ("qm set 100 --sshkeys /none", (2, "", "can't open '/none' - No such file or directory\n")),
    ("qm disk move 100", (255, "", "400 not enough arguments\nqm disk move <vmid> <disk> [<storage>] [OPTIONS]\n")),
    ("qm disk unlink", (255, "", "400 not enough arguments\nqm disk unlink <vmid> --idlist <string> [OPTIONS]\n")),
    ("qm conf 100 x", (255, "", "400 too many arguments\nqm config <vmid> [OPTIONS]\n")),
    ("qm disk", (255, "", "ERROR: incomplete command 'qm disk'\n")),
    ("qm disk nosuch", (255, "", "ERROR: unknown command 'qm disk nosuch'\n")),
    ("qm st", (255, "", "ERROR: incomplete command 'qm st'\n")),
    ("pveum user token x", (255, "", "ERROR: unknown command 'pveum user token x'\n")),
    (
        "pveum acl modify /",
        (255, "", f"{INVALID}roles: {MISSES}\npveum acl modify <path> --roles <string> [OPTIONS]\n"),
    ),
    ("pveum acl list", (0, "", "")),
    ("pveum acl list --output-format json", (0, "[]\n", "")),
    ("pvesh", (255, "", "ERROR: no command specified\n")),
    ("pvesh get", (255, "", "400 not enough arguments\npvesh get <api_path> [OPTIONS] [FORMAT_OPTIONS]\n")),
    ("pvesh get /cluster/nextid", (0, "101\n", "")),
    ("pvesh get /cluster/nextid --output-format yaml", (0, "--- '101'\n", "")),
    ("pvesh get /version --output-format yaml", (0, "---\nrelease: '9.2'\nrepoid: '0'\nversion: 9.2.1\n", "")),
    ("pvesh get /access/acl --output-format yaml", (0, "--- []\n", "")),
    ("pvesh get /version --quiet", (0, "", "")),
    ("pvesh ls /access/openid/x", (2, "", "no such resource '/access/openid/x'\n")),
    ("pvesh usage /version", (0, "USAGE: pvesh get /version \n", "")),
    ("pvesh usage /no", (2, "", "no such resource '/no'\n")),
    (
        "pvesh usage /access/acl --command set",
        (0, "USAGE: pvesh set /access/acl --path <string> --roles <string> [OPTIONS]\n", ""),
    ),
    ("qm agent 100 ping", (255, "", "No QEMU guest agent configured\n")),
    ("qm importdisk 999 /none made", (2, "", MISSING)),
    ("qm importdisk 100 /none made", (2, "", "/none: non-existent or non-regular file\n")),
    ("qm disk import 100 /none", (255, "", f"400 not enough arguments\nqm disk import {IMPORTS}")),
    ("pvesh ls /version", (2, "", "resource '/version' does not define child links\n")),
    ("pvesh ls /storage", (0, "-rw-d        local\n-rw-d        made\n", "")),
    ("pvesh create /access/users --nosuch 1", (255, "", f"Unknown option: nosuch\n{UNPARSED}{CREATE}")),
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


def test_answers_stand_in_a_frame_numbers_at_the_right(host: Host) -> None:
    assert said(host, "pvesh get /access/domains")[1].splitlines()[:3] == [
        "┌───────┬──────┬───────────────────────────────────┬─────┐",
        "│ realm │ type │ comment                           │ tfa │",
        "╞═══════╪══════╪═══════════════════════════════════╪═════╡",
    ]
    nodes = said(host, "pvesh get /nodes")[1].splitlines()
    assert nodes[1].startswith("│ node │ status │ ")
    assert "GiB │" in nodes[3]
    assert len({len(line) for line in nodes}) == 1
    made = said(host, "pveum user token add root@pam one --privsep 0")[1].splitlines()
    assert made[3] == "│ full-tokenid │ root@pam!one                         │"
    assert made[4] == "├──────────────┼──────────────────────────────────────┤"
    assert made[5] == '│ info         │ {"privsep":"0"}                      │'
    assert said(host, "pvesh get /version --noborder --noheader")[1].split() == (
        ["release", "9.2", "repoid", "0", "version", "9.2.1"]
    )


def test_permissions_are_told_by_path(host: Host) -> None:
    for line in ("pveum user add a@pve", "pveum acl modify /vms --users a@pve --roles PVETemplateUser --propagate 0"):
        assert said(host, line) == (0, "", "")
    out = said(host, "pveum user permissions a@pve")[1].splitlines()
    assert (out[1], out[3], out[4]) == (
        "│ ACL path │ Permissions │", "│ /vms     │ VM.Audit    │", "│          │ VM.Clone    │",
    )  # fmt: skip
    assert out[-1] == "Permissions marked with '(*)' have the 'propagate' flag set."


def test_volumes_of_guests_come_first(host: Host) -> None:
    host.world.put("storage", "local", {"type": "dir", "path": "/var/lib/vz", "content": "images,iso"})
    files = Machine(host.world, "pve", host.api, Faults(host.world)).files
    files.mkdir("/var/lib/vz/template/iso", parents=True)
    files.write("/var/lib/vz/template/iso/a.iso", b"12")
    assert said(host, "pvesm list local")[1] == (
        "Volid                         Format  Type            Size VMID\n"
        "local:100/vm-100-disk-0.qcow2 qcow2   images    1073741824 100\n"
        "local:iso/a.iso               iso     iso                2\n"
    )


def test_only_some_commands_end_as_their_task(host: Host) -> None:
    said(host, "qm template 100")
    assert said(host, "qm start 100") == (255, "", "you can't start a vm if it's a template\n")
    code, out, error = said(host, "pvesh create /nodes/pve/qemu/100/status/start")
    assert (code, out.split(":")[0], error) == (0, "UPID", "you can't start a vm if it's a template\n")


def test_the_whole_state_of_a_guest(host: Host) -> None:
    lines = said(host, "qm status 100 --verbose")[1].splitlines()
    assert {"name: guest", "qmpstatus: stopped", "status: stopped", "vmid: 100"} <= set(lines)
    assert not [line for line in lines if line.startswith(("cpu:", "ha:"))]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_shown_of_an_answer_is_what_the_schema_says(version: str) -> None:
    for path in COLUMNS:
        returns = schema(version)[path]["GET"]["returns"]
        known = (returns if returns["type"] == "object" else returns["items"]).get("properties", {})
        must = sorted(name for name, each in known.items() if not each.get("optional"))
        shown = columns(path, 9 if version == "9.2" else 8)
        assert list(shown) == [*must, *sorted(set(known) - set(must))], path
        for name, kind in shown.items():
            said = (known[name].get("renderer") or known[name].get("type") or "", kind)
            assert said in KINDS or said[0] in ("string", "object", "array"), (path, name, said)


def test_an_imported_image_is_an_unused_disk_or_the_one_that_is_named(host: Host) -> None:
    files = Machine(host.world, "pve", host.api, Faults(host.world)).files
    files.mkdir("/root", parents=True)
    files.write("/root/a.raw", b"0" * 1024)
    head = "importing disk 'a.raw' to VM 100 ...\n"
    told = f"{head}unused0: successfully imported disk 'made:100/vm-100-disk-0.raw'\n"
    assert said(host, "qm importdisk 100 a.raw made") == (0, told, "")
    told = f"{head}scsi1: successfully imported disk 'made:100/vm-100-disk-1.qcow2,size=1K'\n"
    assert said(host, "qm disk import 100 a.raw made --target-disk scsi1 --format qcow2") == (0, told, "")
    assert {"unused0", "scsi1"} <= set(host.config())
    assert said(host, "qm importdisk 100 a.raw nosuch") == (255, "", "storage 'nosuch' does not exist\n")


def test_what_a_token_may(host: Host) -> None:
    said(host, "pveum user token add root@pam one --privsep 0")
    assert "VM.Audit (*)" in said(host, "pveum user token permissions root@pam one --path /vms")[1]
