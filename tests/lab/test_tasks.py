"""The tasks `invoke lab.…`, as a user types them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.contract.recordings import COMMANDS, REST


def test_start_status_fault_env_stop_and_reset(checkout: Path, run: Run) -> None:
    assert run("lab.status").stdout == "No lab runs.\n"
    assert run("lab.env").returncode == 1
    started = run("lab.start", "--task-seconds", "0")
    assert started.returncode == 0, started.stderr
    lab: dict[str, Any] = json.loads((checkout / ".lab" / "lab.json").read_text())
    assert lab["latency_ms"] == 0
    assert all(url in started.stdout for url in lab["api"].values())
    assert "already runs" in run("lab.start").stdout
    assert scale(run) == 0

    assert run("lab.start", "--task-seconds", "0.5").returncode == 0
    assert scale(run) == 0.5
    run("lab.stop")
    assert run("lab.start", "--latency-ms", "1").returncode == 0
    assert scale(run) == 0.5, "what is not given stays"
    other = run("lab.start", "--hosts", "2", "--task-seconds", "0")
    assert other.returncode == 2
    assert "--hosts: was made with its default (got 2)" in other.stderr
    assert "Fix: invoke lab.reset" in other.stderr

    lab = json.loads((checkout / ".lab" / "lab.json").read_text())
    exported = dict(word.split("=", 1) for word in shlex.split(run("lab.env").stdout) if word != "export")
    assert exported["PROXMOX_VE_ENDPOINT"] == next(iter(lab["api"].values())) + "/"
    assert Path(exported["SSL_CERT_FILE"]).is_file()
    configured = run("lab.ssh-config").stdout
    assert all(f"Host {address}" in configured and f"Port {port}" in configured for address, port in lab["ssh"].items())

    assert run("lab.fault", "reset", "--match", "/version", "--times", "3").returncode == 0
    (fault,) = json.loads(run("lab.status", "--json").stdout)["faults"]
    assert (fault["kind"], fault["match"], fault["times"]) == ("reset", "/version", 3)
    assert run("lab.fault", "--clear").returncode == 0
    assert json.loads(run("lab.status", "--json").stdout)["faults"] == []

    assert run("lab.reset").returncode == 0
    assert run("lab.status").stdout == "No lab runs.\n"
    assert not (checkout / ".lab" / "world.sqlite").exists()
    assert "8.4" in run("lab.start", "--pve", "8.4", "--hosts", "2").stdout
    assert run("lab.stop").stdout == "The lab is stopped.\n"
    assert run("lab.stop").stdout == "No lab runs.\n"


def scale(run: Run) -> float:
    return float(json.loads(run("lab.status", "--json").stdout)["task_scale"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("lab.fault", "nonsense"), "no such kind"),
        (("lab.fault", "reset", "--times", "often"), "no number"),
        (("lab.start", "--pve", "7"), "no such release"),
        (("lab.start", "--latency-ms", "nan"), "no number"),
        (("lab.start", "--hosts", "-1"), "no number"),
        (("lab.start", "--hosts", "0"), "no number of 1 or more"),
        (("lab.replay", "none.json"), "no file"),
    ],
)
def test_a_bad_value_is_told_with_exit_2(run: Run, words: tuple[str, ...], told: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "\n  Fix: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not REST.is_file(), reason="the recordings are not beside this checkout (../shared/pve)")
@pytest.mark.parametrize("recording", [REST, COMMANDS], ids=lambda path: path.stem)
def test_replay_prints_how_many_agree(run: Run, recording: Path, tmp_path: Path) -> None:
    done = run("lab.replay", str(recording))
    agree, _, total, what, word = done.stdout.splitlines()[-1].split()
    assert (done.returncode, agree, word) == (0, total, "agree."), done.stdout
    document = json.loads(recording.read_text())
    document[what][0] |= {"status": 200, "exit": 9}
    changed = tmp_path / recording.name
    changed.write_text(json.dumps(document))
    done = run("lab.replay", str(changed))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"{int(total) - 1} of {total} {what} agree."


def test_a_file_that_is_no_recording_is_told_with_exit_2(run: Run, tmp_path: Path) -> None:
    for text in ("{}", "[]", "no JSON", '{"exchanges": 5}', '{"commands": [{"command": "ls"}]}'):
        (tmp_path / "none.json").write_text(text)
        done = run("lab.replay", str(tmp_path / "none.json"))
        assert (done.returncode, "no recording" in done.stderr) == (2, True)
