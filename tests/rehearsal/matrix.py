"""Own the table of faults and steps: what each fault strikes there, and what becomes of the run; writes docs/faults.md.

test_faults.py runs every cell; `python -m tests.rehearsal.matrix` (part of `nox -s docs`) writes the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lib.lab.faults import KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
STEPS = ("validation", "tools_storage", "packer_user", "cloud_image", "base_template", "packer_config")
HEAD = """\
# Faults: what each step makes of them

Written by `nox -s docs`; every cell is a test, which runs `invoke foundation` as a user does, against the lab in the
state that the step begins with.

- *mended*: the same run ends well.
- *told*: the step fails with a subject and a `Fix:` line, exit code 1, and nothing that needs it is begun; the next
  run, without the fault, ends well.
- Anything else is why a fault of that kind cannot strike there.

Either way the run after that changes nothing, and the cluster, its hosts and the checkout hold exactly what an
undisturbed run leaves there: no guest, volume, token, ACL, mapped device, lock or temporary file more. A change whose
answer is lost is looked at once more in the same run. [The lab](lab.md#let-something-go-wrong) tells what the kinds do.
"""


@dataclass(frozen=True)
class Strike:
    """One fault aimed at something that a step does.

    `match` and `times` are as in `lab.fault`; one that has no end of its own ends with the run. It begins
    with the line of the journal that has `after` in it, or with the run where there is none.
    """

    match: str
    outcome: Literal["mended", "told"]
    times: int = 1
    after: str = ""


def mended(match: str) -> Strike:
    """Expect the run to end well."""
    return Strike(match, "mended")


def told(match: str) -> Strike:
    """Expect the step to fail with a fix."""
    return Strike(match, "told")


def cut_off(node: str, after: str = "") -> Strike:
    """Expect the step to fail because a host is gone, from some moment on."""
    return Strike(node, "told", 0, after)


NO_GUEST = "no guest runs yet"
NO_NAME = "asks no server of ours for a name"
NO_TASK = "starts no task"
NO_COMMAND = "runs no command on a host"
NO_FILE = "writes nothing on a host"
LOCAL = "asks nothing of the cluster"

QEMU = "POST /nodes/node1/qemu"
MATRIX: dict[str, dict[str, Strike | str]] = {
    "validation": {
        "reset": mended("GET /cluster/status"),
        "timeout": mended("GET /cluster/ceph/status"),
        "500": mended("GET /nodes/node3/network"),
        "595": mended("GET /nodes/node2/network"),
        "401": told("GET /cluster/status"),
        "lock": NO_TASK,
        "task-fail": NO_TASK,
        "ssh-drop": mended("10.10.1.23 *hostname"),
        "ssh-refuse": mended("10.10.1.22"),
        "exit": told("pveversion"),
        "disk-full": NO_FILE,
        "slow": mended("GET /cluster/status"),
        "partition": cut_off("node2"),
    },
    "tools_storage": {
        "reset": mended("*POST /storage (after)"),
        "timeout": told("apt-get install -y"),
        "500": told("POST /storage"),
        "595": mended("POST /storage"),
        "401": told("POST /storage"),
        "lock": NO_TASK,
        "task-fail": NO_TASK,
        "ssh-drop": mended("mkfs.ext4"),
        "ssh-refuse": mended("10.10.1.21"),
        "exit": told("mkfs.ext4"),
        "disk-full": told("10.10.1.21 /etc/systemd/system"),
        "slow": mended("rbd create"),
        "partition": cut_off("node1", after="rbd create"),
    },
    "packer_user": {
        "reset": mended("*POST /access/users/packer@pve/token/build-a (after)"),
        "timeout": mended("POST /access/roles"),
        "500": told("POST /access/users"),
        "595": mended("PUT /access/acl"),
        "401": told("PUT /access/acl"),
        "lock": NO_TASK,
        "task-fail": NO_TASK,
        "ssh-drop": NO_COMMAND,
        "ssh-refuse": NO_COMMAND,
        "exit": NO_COMMAND,
        "disk-full": NO_FILE,
        "slow": mended("POST /access/roles"),
        "partition": Strike("node1", "mended", 2, after="POST /access/roles"),
    },
    "cloud_image": {
        "reset": mended("*download-url (after)"),
        "timeout": told("virt-customize"),
        "500": told("download-url"),
        "595": mended("download-url"),
        "401": told("download-url"),
        "lock": mended("download"),
        "task-fail": told("download"),
        "ssh-drop": mended("virt-customize"),
        "ssh-refuse": "uses the connection that is there",
        "exit": told("virt-customize"),
        "disk-full": told("/mnt/rbd-iso/import/"),
        "slow": mended("virt-customize"),
        "partition": cut_off("node1", after="download-url"),
    },
    "base_template": {
        "reset": mended(f"*{QEMU} (after)"),
        "timeout": mended(f"{QEMU}/9002/template"),
        "500": told(QEMU),
        "595": mended("PUT /nodes/node1/qemu/9002/resize"),
        "401": told(f"{QEMU}/9002/template"),
        "lock": mended("qmcreate"),
        "task-fail": told("qmtemplate"),
        "ssh-drop": NO_COMMAND,
        "ssh-refuse": NO_COMMAND,
        "exit": NO_COMMAND,
        "disk-full": told("rbd/vm-9002"),
        "slow": mended(QEMU),
        "partition": cut_off("node1", after=QEMU),
    },
    "packer_config": dict.fromkeys(KINDS, LOCAL),
}
for _step in MATRIX.values():
    _step.setdefault("agent-silent", NO_GUEST)
    for _kind in ("dns-servfail", "dns-refused", "dns-truncated"):
        _step.setdefault(_kind, NO_NAME)


def strikes() -> list[tuple[str, str]]:
    """Return (step, kind) of every cell in which something is struck."""
    return [(step, kind) for step, cells in MATRIX.items() for kind, cell in cells.items() if isinstance(cell, Strike)]


def page() -> str:
    """Return the page."""
    lines = [HEAD, "| | " + " | ".join(STEPS) + " |", "| --- |" + " --- |" * len(STEPS)]
    for kind in KINDS:
        cells = [MATRIX[step][kind] for step in STEPS]
        shown = [f"**{cell.outcome}**" if isinstance(cell, Strike) else cell for cell in cells]
        lines.append(f"| `{kind}` | " + " | ".join(shown) + " |")
    lines += ["", "## What is struck", "", "| step | kind | match | |", "| --- | --- | --- | --- |"]
    for step, kind in strikes():
        cell = MATRIX[step][kind]
        assert isinstance(cell, Strike)
        match = f"`{cell.match}`" + {0: ", for good", 1: ""}.get(cell.times, f", {cell.times} times")
        match += f", from `{cell.after}` on" if cell.after else ""
        lines.append(f"| {step} | `{kind}` | {match} | {cell.outcome} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
