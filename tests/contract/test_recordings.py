"""The simulated REST API against what a real Proxmox VE answered, exchange by exchange."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lib.lab.replay import replay

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "pve"
RECORDING = FOLDER / "rest-9.2.json"

# What follows from requests that were made on the recorded host but are not in the recording.
BEFORE = "the guest was changed and its disk grown in between"
EXCEPTIONS = {
    129: BEFORE,
    141: BEFORE,
    142: BEFORE,
    143: BEFORE,
    145: BEFORE,
    148: "tasks of requests that are not in the recording",
    149: "tasks of requests that are not in the recording",
}

pytestmark = pytest.mark.skipif(not RECORDING.exists(), reason=f"no recording at {RECORDING}")


def test_every_answer_is_as_recorded() -> None:
    results = replay(RECORDING)
    differing = {result.number: result for result in results if not result.agrees}
    unexpected = {number: result for number, result in differing.items() if number not in EXCEPTIONS}
    assert not unexpected, "\n".join(f"{each.number} {each.sent}: {each.differences}" for each in unexpected.values())
    assert set(differing) == set(EXCEPTIONS), "an exception is none any more: take it off the list"


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (1, {"status": 201}),
        (15, {"reason": "something else"}),
        (14, {"body": {"data": {"VM.Audit": 1}}}),
        (116, {"task": {"exitstatus": "WARNINGS: 1", "type": "qmcreate", "id": "9300", "user": "root@pam"}}),
    ],
)
def test_a_difference_is_seen(tmp_path: Path, number: int, change: dict[str, Any]) -> None:
    recording = copy.deepcopy(json.loads(RECORDING.read_text()))
    recording["exchanges"][number] |= change
    changed = tmp_path / "rest.json"
    changed.write_text(json.dumps(recording))
    assert not replay(changed)[number].agrees
