"""What the client of the API remembers, against a simulated cluster in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.clients.pve_session import Credential
from lib.secrets import Secret
from tests.lab.simulated import Simulated
from tests.steps.direct import DirectPve

GUESTS = "/cluster/resources"


class Watched(DirectPve):
    """Looks at the guests whenever something is waited for, as another step may do meanwhile."""

    def task(self, upid: str, what: str, timeout: float) -> None:
        assert guests(self) == [700]
        super().task(upid, what, timeout)


def guests(pve: DirectPve) -> list[Any]:
    """Return the VMIDs of the guests, as they were read since the last change."""
    return [each["vmid"] for each in pve.once(GUESTS, type="vm")]


def test_what_was_read_while_a_task_ran_is_read_anew_after_it(tmp_path: Path) -> None:
    lab = Simulated(tmp_path)
    answer = lab.api.call("root@pam", "POST", "/access/users/root@pam/token/all", {"privsep": "0"}, "node1")
    assert answer.body is not None
    pve = Watched(lab, Credential("root@pam", Secret(answer.body["data"]["value"]), "all"))
    pve.post("/nodes/node1/qemu", vmid=700)
    assert guests(pve) == [700]
    lab.world.put("meta", "lab", lab.world.lab | {"task_scale": 0.02})
    pve.run("DELETE", "/nodes/node1/qemu/700", "the guest goes", 10)
    assert guests(pve) == []
