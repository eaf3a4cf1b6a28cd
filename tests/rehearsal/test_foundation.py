"""`invoke foundation` against the lab, as a user runs it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.lab.perverse import NEW_KEY
from tests.conftest import Begin
from tests.product import invoke
from tests.tools import tool

STEPS = ["validation", "tools_storage", "packer_user", "cloud_image", "base_template", "packer_config"]


def document(result: Any) -> dict[str, Any]:
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def outcomes(result: Any) -> dict[str, str]:
    return {step["name"]: step["outcome"] for phase in document(result)["phases"] for step in phase["steps"]}


def journal(checkout: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (checkout / ".lab" / "journal.jsonl").read_text().splitlines()]


def writes(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [line for line in lines if line["kind"] == "api" and line["method"] != "GET"]
    changing = (
        "rbd create",
        "rbd map",
        "mkfs",
        "mkdir",
        "mv ",
        "rm ",
        "apt-get",
        "systemctl enable",
        "virt-customize",
        "pveum",
    )
    found += [
        line for line in lines if line["kind"] == "ssh" and any(word in " ".join(line["argv"]) for word in changing)
    ]
    return found + [
        line for line in lines if line["kind"] == "sftp" and line["op"] in ("write", "rename", "remove", "mkdir")
    ]


@pytest.fixture
def begin() -> Begin:
    """Return the real command: what other files run may begin in a copy of a process, not what is run here."""
    return invoke


def test_cold_then_noop_then_deleted_state(lab: Path, run: Callable[..., Any]) -> None:
    cold = run("foundation", "--json")
    assert cold.returncode == 0, cold.stderr
    assert list(outcomes(cold)) == STEPS
    assert outcomes(cold)["base_template"] == "changed"
    for name in (".foundation-state.json", "packer/.env", "packer/variables.json"):
        assert (lab / ".lab" / name).stat().st_mode & 0o777 == 0o600
    again = run("foundation", "--json")
    assert again.returncode == 0, again.stderr
    assert document(again)["outcome"] == "unchanged"
    assert outcomes(again)["packer_user"] == "refreshed"
    assert "attributes compared" in again.stdout
    (lab / ".lab" / ".foundation-state.json").unlink()
    assert document(run("foundation", "--json"))["outcome"] == "unchanged"


def test_a_dry_run_sends_no_write(lab: Path, run: Callable[..., Any]) -> None:
    before = len(journal(lab))
    for words in (
        ("foundation", "--dry-run"),
        ("--dry", "foundation"),
        ("plan",),
        ("status",),
        ("drift",),
        ("foundation", "--status"),
    ):
        result = run(*words)
        assert result.returncode == 0, result.stderr
    assert writes(journal(lab)[before:]) == []
    assert not (lab / ".lab" / ".foundation-state.json").exists()
    assert run("plan", "--detailed-exitcode").returncode == 3


def test_drift_is_repaired_in_place(finished: Path, run: Callable[..., Any]) -> None:
    pve = client(finished)
    pve(
        "PUT",
        "/nodes/node1/qemu/9002/config",
        {"memory": "4096", "description": pve("GET", "/nodes/node1/qemu/9002/config")["description"]},
    )
    found = run("drift", "--json", "--detailed-exitcode")
    assert found.returncode == 3
    assert {"attribute": "memory", "before": "4096", "after": "2048"} in document(found)["phases"][0]["steps"][4][
        "changes"
    ]
    assert outcomes(run("foundation", "--json"))["base_template"] == "changed"
    assert pve("GET", "/nodes/node1/qemu/9002/config")["memory"] == "2048"


def test_what_is_set_beside_the_plain_attributes_is_compared_too(finished: Path, run: Callable[..., Any]) -> None:
    pve = client(finished)
    path = "/nodes/node1/qemu/9002/config"
    before = pve("GET", path)
    volume = before["scsi0"].partition(",")[0]
    pve("PUT", path, {"scsi0": f"{volume},cache=unsafe", "net0": "virtio,bridge=vmbr0,tag=5", "scsi1": "rbd:1"})
    pve("PUT", "/storage/rbd-iso", {"disable": "1"})
    pve("PUT", "/access/users/packer@pve", {"enable": "0"})
    found = document(run("drift", "--json"))["phases"][0]["steps"]
    told = {step["name"]: [change["attribute"] for change in step["changes"]] for step in found}
    assert told["tools_storage"] == ["storage disable"]
    assert told["packer_user"] == ["user", "token"]
    assert set(told["base_template"]) == {"net0", "disk options", "scsi1"}
    mended = run("foundation")
    assert mended.returncode == 0, mended.stdout
    assert "still owns a disk that it does not use (unused0: rbd:vm-9002-disk-" in mended.stdout
    after = pve("GET", path)
    assert after.pop("unused0")
    assert after["net0"].endswith(",bridge=vmbr0")  # Proxmox gives a card that is set without an address a new one
    apart = {"digest": "", NEW_KEY: "", "net0": ""}
    assert after | apart == before | apart
    assert document(run("foundation", "--json"))["outcome"] == "unchanged"


def test_a_foreign_guest_is_never_touched(lab: Path, run: Callable[..., Any]) -> None:
    pve = client(lab)
    pve("POST", "/nodes/node2/qemu", {"vmid": "9002", "name": "precious", "tags": "theirs"})
    result = run("foundation", "--force-rebuild", "--allow", "destroy-base-template", "--json")
    assert result.returncode == 4
    assert "somebody else's" in result.stdout
    assert run("plan").returncode == 4
    assert run("status").returncode == 1, "nothing is meant to be done: nothing is refused"
    assert pve("GET", "/nodes/node2/qemu/9002/config")["name"] == "precious"


def test_a_rebuild_is_refused_until_allowed(finished: Path, run: Callable[..., Any]) -> None:
    refused = run("foundation", "--force-rebuild", "--json")
    assert refused.returncode == 4
    assert document(refused)["outcome"] == "refused"
    assert "--allow destroy-base-template" in refused.stdout
    pve = client(finished)
    left = {"filename": "vm-9002-disk-9", "size": "1G", "vmid": "9002"}  # of an earlier guest, and nobody's now
    pve("POST", "/nodes/node1/storage/rbd/content", left)
    pve("POST", "/cluster/backup", {"id": "nightly", "schedule": "03:00", "storage": "local", "vmid": "9002"})
    done = run("foundation", "--force-rebuild", "--allow", "destroy-base-template", "--json")
    assert done.returncode == 0, done.stderr
    assert outcomes(done)["cloud_image"] == "changed"
    assert outcomes(done)["base_template"] == "changed"
    assert "rbd:vm-9002-disk-9" in {row["volid"] for row in pve("GET", "/nodes/node1/storage/rbd/content")}
    assert [job["vmid"] for job in pve("GET", "/cluster/backup")] == ["9002"]


def test_a_backup_is_made_before_a_template_is_destroyed(finished: Path, run: Callable[..., Any]) -> None:
    pve = client(finished)
    born = pve("GET", "/nodes/node1/qemu/9002/config")["meta"]
    anew = ("foundation", "--force-rebuild", "--allow", "destroy-base-template", "--backup")
    before = len(journal(finished))
    for storage in ("nosuch", "rbd"):  # rbd takes no backups
        failed = run(*anew, storage)
        assert failed.returncode == 1
        assert f"storage {storage}: takes no backups\n" in failed.stdout
        assert "--backup with one that does: local" in failed.stdout
        assert pve("GET", "/nodes/node1/qemu/9002/config")["meta"] == born
    assert "virt-customize" not in str(journal(finished)[before:])  # nothing was begun
    assert run(*anew, "local").returncode == 0
    kept = pve("GET", "/nodes/node1/storage/local/content?content=backup")
    assert {row["vmid"] for row in kept} == {9002}
    steps = [line["path"] for line in writes(journal(finished)) if line["kind"] == "api"]
    assert steps.index("/nodes/node1/vzdump") < steps.index("/nodes/node1/qemu/9002")


def test_a_run_goes_on_where_its_reader_has_left(
    lab: Path, run: Callable[..., Any], environment: dict[str, str], seed: int | None
) -> None:
    line = f"{sys.executable} -m invoke foundation | head -n 1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", line], cwd=lab, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert result.stderr == ""
    if seed is not None and result.returncode == 1:  # a perverse lab let it fail, to nobody's knowledge
        result = run("foundation")
    assert result.returncode == 0
    assert (lab / ".lab" / "packer" / ".env").exists()


def on_host(checkout: Path, run: Callable[..., Any], address: str = "10.10.1.21") -> Callable[..., str]:
    """Return a client of one of the lab's hosts that is not the product's: OpenSSH's."""
    config = checkout / ".lab" / "ssh_config"
    if not config.exists():
        config.write_text(run("lab.ssh-config").stdout)

    def call(*argv: str, given: str = "") -> str:
        line = (tool("ssh"), "-F", str(config), address, shlex.join(argv))
        return subprocess.run(line, input=given, capture_output=True, text=True, check=True).stdout

    return call


def test_only_what_is_proven_empty_or_marked_as_ours_is_formatted(lab: Path, run: Callable[..., Any]) -> None:
    host = on_host(lab, run)
    host("rbd", "create", "--size", "16384", "--image-feature", "layering", "rbd/rbd-iso")
    device = host("rbd", "map", "rbd/rbd-iso").strip()
    host("mkfs.ext4", "-q", device)
    host("wipefs", "--all", device)  # written, and no signature: somebody's data, or a formatting that was cut off
    refused = run("foundation")
    assert refused.returncode == 4
    assert "is not formatted" in refused.stdout
    assert host("wipefs", device) == ""
    host("rbd", "image-meta", "set", "rbd/rbd-iso", "groundwork-formatting", "1")
    assert run("foundation").returncode == 0
    assert "There are 0 metadatum" in host("rbd", "image-meta", "list", "rbd/rbd-iso")


def client(checkout: Path, password: str = "") -> Callable[..., Any]:
    """Return a client of the lab that is not the product's: requests, with root's password (or one given since)."""
    import requests

    lab = json.loads((checkout / ".lab" / "lab.json").read_text())
    base = lab["api"]["node1"] + "/api2/json"
    session = requests.Session()
    session.trust_env = False
    session.verify = os.fspath(checkout / lab["ca_file"])

    def send(method: str, url: str, data: dict[str, str] | None) -> Any:
        for _ in range(8):
            with contextlib.suppress(requests.ConnectionError):
                return session.request(method, url, data=data)
            if method != "GET" and not url.endswith("ticket"):
                return None  # a perverse lab has carried it out, and lost its answer
        raise AssertionError(f"no answer to {method} {url}")

    password = password or (checkout / lab["root_password_file"]).read_text().strip()
    ticket = send("POST", f"{base}/access/ticket", {"username": "root@pam", "password": password}).json()["data"]
    session.cookies.set("PVEAuthCookie", ticket["ticket"])
    session.headers["CSRFPreventionToken"] = ticket["CSRFPreventionToken"]

    def ask(method: str, path: str, params: dict[str, str] | None = None) -> Any:
        answer = send(method, base + path, params)
        if answer is None:
            return None
        assert answer.status_code == 200, (method, path, answer.status_code, answer.reason, answer.text)
        data = answer.json()["data"]
        if isinstance(data, list):  # what a perverse lab lists twice counts once
            return [row for number, row in enumerate(data) if row not in data[:number]]
        return data

    def call(method: str, path: str, params: dict[str, str] | None = None) -> Any:
        """Ask; a task has ended well when this returns, in a perverse lab at a later try."""
        for _ in range(8):
            found = ask(method, path, params)
            task = _newest(ask("GET", "/cluster/tasks")) if found is None and path.startswith("/nodes/") else found
            ended = _end(ask, task) if isinstance(task, str) and task.startswith("UPID:") else "OK"
            if "(the lab is perverse)" not in ended:
                assert ended == "OK", (method, path, ended)
                return found
        raise AssertionError(f"{method} {path} does not end well")

    return call


def _newest(tasks: list[dict[str, Any]]) -> str:
    """Return the task that was started last: the one of which an answer that was lost told."""
    return max((task["starttime"], task["upid"].split(":")[2], task["upid"]) for task in tasks)[2] if tasks else ""


def _end(ask: Callable[..., Any], task: str) -> str:
    """Wait for a task; return how it ended."""
    while True:
        status = ask("GET", f"/nodes/{task.split(':')[1]}/tasks/{task}/status")
        if status["status"] != "running":
            return str(status["exitstatus"])
