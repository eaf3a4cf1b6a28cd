"""Runs that are killed, that meet each other, or that meet keys, tokens and files that are not as they were."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.lab.faults import Faults
from tests.chaos.kills import Kill, kill_lab, kill_product
from tests.rehearsal.test_faults import end_of_tasks, set_before
from tests.rehearsal.test_foundation import client, document, journal
from tests.rehearsal.test_json import fits
from tests.stage import Stage


def started(checkout: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", *words],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def judge(kill: Kill, seed: int | None) -> None:
    assert kill.struck or seed is not None  # a perverse lab may let a run end before it comes there
    found = kill.wrong + kill.orphans
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line", [1, 32, 60, 75, 95, 125])  # every line: nox -s chaos
def test_killed_anywhere_the_next_run_converges(stage: Stage, line: int) -> None:
    judge(kill_product(stage, line), stage.seed)


def test_the_lab_survives_being_killed(stage: Stage) -> None:
    judge(kill_lab(stage, 100), stage.seed)


def test_ctrl_c_ends_with_130_and_the_next_run_finishes(
    checkout: Path, run: Callable[..., Any], environment: dict[str, str]
) -> None:
    run("lab.start", "--task-seconds", "0.02")
    path = checkout / ".lab" / "journal.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "invoke", "foundation", "--json"],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while b"rbd create" not in path.read_bytes().replace(b'", "', b" ") and time.monotonic() < deadline:
        threading.Event().wait(0.001)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    told = fits(printed.decode())
    assert told["errors"][0]["problem"] == "interrupted"
    assert {"unchanged", "changed", "pending"} >= {one["outcome"] for one in told["phases"][0]["steps"]}
    run("lab.start", "--task-seconds", "0")
    assert run("foundation").returncode == 0


def test_a_second_ctrl_c_waits_for_nothing(stage: Stage) -> None:
    making = threading.Event()

    def on_line(number: int, said: str, faults: Faults) -> None:
        if said == "POST /nodes/node1/qemu":
            making.set()

    set_before(stage, "base_template")
    with stage.lab(task_seconds=4, on_line=on_line):
        process = stage.begin()
        assert making.wait(60) or stage.seed is not None  # a perverse lab may let the run end before
        process.send_signal(signal.SIGTERM)  # what a cancelled job gets is taken as the first one
        assert process.stdout is not None
        told = next((line for line in process.stdout if "interrupted: waits for base_template" in line), "")
        assert told or stage.seed is not None
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.communicate(timeout=60)
        assert process.returncode == 130 or stage.seed is not None
        assert time.monotonic() - began < 30  # the guest is being made for longer than a minute
    end_of_tasks(stage, 1)
    with stage.lab():
        done = stage.run()
        assert done.returncode == 0, done.stdout + done.stderr
    assert stage.differences() == []


def test_two_runs_at_once(finished: Path, run: Callable[..., Any], environment: dict[str, str]) -> None:
    lock = finished / ".lab" / ".groundwork" / "lock"
    import fcntl

    with lock.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.truncate(0)
        held.write(json.dumps({"owner": "alice", "host": "desk", "pid": 7, "started": time.time() - 60}))
        held.flush()
        result = run("foundation")
        assert result.returncode == 5
        assert "alice on desk, pid 7" in result.stderr
        assert run("plan").returncode == 0
    assert run("foundation").returncode == 0


def test_another_operator_holds_the_cluster_lock(finished: Path, run: Callable[..., Any]) -> None:
    pve = client(finished)
    now = time.time()
    alive = {"owner": "bob", "host": "elsewhere", "pid": 1, "started": now - 30, "renewed": now}
    pve("POST", "/pools", {"poolid": "groundwork-lock", "comment": json.dumps(alive)})
    result = run("foundation")
    assert result.returncode == 5
    assert "bob on elsewhere" in result.stderr
    silent = alive | {"renewed": now - 3600}
    pve("PUT", "/pools", {"poolid": "groundwork-lock", "comment": json.dumps(silent)})
    assert run("foundation").returncode == 0
    assert [pool["poolid"] for pool in pve("GET", "/pools")] == ["groundwork"]


def test_a_changed_host_key_is_refused(finished: Path, run: Callable[..., Any]) -> None:
    path = finished / ".lab" / "known_hosts"
    lines = path.read_text().splitlines()
    keys = [line.rsplit(" ", 1)[1] for line in lines]
    swapped = [line.rsplit(" ", 1)[0] + " " + keys[(i + 1) % len(keys)] for i, line in enumerate(lines)]
    path.write_text("\n".join(swapped) + "\n")
    result = run("foundation", "--rerun", "validation")
    assert result.returncode == 1
    assert "host key" in result.stdout
    assert "invoke trust" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_a_lost_administrator_token_is_made_anew(finished: Path, run: Callable[..., Any]) -> None:
    (finished / ".lab" / ".groundwork" / "admin-token.json").unlink()
    assert run("foundation").returncode == 0
    assert len(client(finished)("GET", "/access/users/root@pam/token")) == 1


def test_when_invalid_keeps_a_good_token_and_replaces_a_dead_one(lab: Path, run: Callable[..., Any]) -> None:
    def token() -> str:
        return str(re.findall(r"(?m)^PROXMOX_TOKEN=(.+)$", (lab / ".lab/packer/.env").read_text())[0])

    path = lab / "cluster.toml"
    path.write_text(path.read_text().replace('token_refresh = "always"', 'token_refresh = "when-invalid"'))
    assert run("foundation").returncode == 0
    written = token()
    assert document(run("foundation", "--json"))["outcome"] == "unchanged"
    assert token() == written
    client(lab)("DELETE", "/access/users/packer@pve/token/build-a")
    repaired = run("foundation", "--json")
    assert repaired.returncode == 0, repaired.stdout
    assert token() != written


@pytest.mark.parametrize(
    ("text", "code"),
    [('{"version": 1, "st', 1), ('{"version": 2, "target": "x", "steps": {}}', 1), (None, 0)],
)
def test_state_truncated_newer_deleted(finished: Path, run: Callable[..., Any], text: str | None, code: int) -> None:
    path = finished / ".lab" / ".foundation-state.json"
    path.unlink() if text is None else path.write_text(text)
    result = run("foundation")
    assert result.returncode == code
    if code:
        assert "invoke foundation --reset-state" in result.stderr
    assert run("foundation", "--reset-state").returncode == 0


def test_files_that_hold_nonsense_are_written_anew(finished: Path, run: Callable[..., Any]) -> None:
    for name in ("packer/.env", "packer/variables.json", ".groundwork/admin-token.json", ".groundwork/lock"):
        (finished / ".lab" / name).write_bytes(bytes(range(128, 256)) * 4)
    assert run("plan", "--detailed-exitcode").returncode == 3
    assert run("foundation").returncode == 0
    assert document(run("foundation", "--json"))["outcome"] == "unchanged"


def test_a_file_that_cannot_be_written_fails_its_step_and_is_named(lab: Path, run: Callable[..., Any]) -> None:
    (lab / ".lab" / "packer").write_text("in the way")
    failed = run("foundation", "--json")
    assert failed.returncode == 1
    [step] = [step for step in document(failed)["phases"][0]["steps"] if step["outcome"] == "failed"]
    assert step["name"] == "packer_config"
    assert step["error"]["subject"] == str(lab / ".lab" / "packer" / ".env")
    (lab / ".lab" / "packer").unlink()
    assert run("foundation").returncode == 0


def test_everything_renamed_still_works(checkout: Path, run: Callable[..., Any]) -> None:
    path = checkout / "cluster.toml"
    text = path.read_text()
    for old, new in (
        ('"node', '"alpha'),
        ('"rbd"', '"vault"'),
        ("rbd-iso", "images-1"),
        ("vmbr0", "lan7"),
        ("sddc.info", "example.net"),
        ("10.10.1.", "192.168.44."),
        ("9002", "7002"),
        ("9001", "7001"),
        ('"groundwork"', '"forge"'),
        ("packer@pve", "baker@pve"),
        ("GroundworkPacker", "Bakery"),
        ('token = "build"', 'token = "oven"'),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    run("lab.start", "--task-seconds", "0")
    result = run("foundation", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    assert document(run("foundation", "--json"))["outcome"] == "unchanged"
    variables = json.loads((checkout / ".lab/packer/variables.json").read_text())
    assert variables["base_vmid"] == 7002
    assert variables["bridge"] == "lan7"
    told = json.dumps([{key: line[key] for key in line if key not in ("t", "ms")} for line in journal(checkout)])
    for word in (r"9002\b", r"vmbr0\b", r"10\.10\.1\.", r"rbd-iso\b", "groundwork;", r"packer@pve\b"):
        assert not re.search(rf"\b{word}", told.replace("groundwork-", "")), word


def test_a_rehearsal_writes_only_under_its_folder(lab: Path, run: Callable[..., Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in lab.rglob("*") if ".lab" not in path.parts and path.is_file()}
    assert run("foundation").returncode == 0
    after = {path: path.stat().st_mtime_ns for path in lab.rglob("*") if ".lab" not in path.parts and path.is_file()}
    assert {p for p in after if p.suffix != ".pyc"} == {p for p in before if p.suffix != ".pyc"}
    shutil.rmtree(lab / ".lab" / "packer")
    assert run("foundation").returncode == 0
