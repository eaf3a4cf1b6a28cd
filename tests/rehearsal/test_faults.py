"""Every fault against every step of the foundation: mended or told with a fix, and then as if nothing had been."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from lib.lab import faults as fault
from lib.lab.faults import KINDS, Faults
from lib.lab.world import World
from tests.labs import lab_in
from tests.product import bare_environment, invoke
from tests.rehearsal.matrix import MATRIX, PAGE, STEPS, Strike, page, strikes
from tests.worlds import told

LASTING = 0
# What keeps a cold foundation from going on to a step: the state that this step begins with.
BEFORE = {
    "validation": None,
    "tools_storage": None,
    "packer_user": ("500", "POST /access/roles"),
    "cloud_image": ("task-fail", "download"),
    "base_template": ("task-fail", "qmcreate"),
}


class Stage:
    """A checkout whose lab can be put into the state that a step begins with; what it should become is `finished`."""

    def __init__(self, product: Path, folder: Path) -> None:
        self.checkout = folder / "checkout"
        shutil.copytree(product, self.checkout)
        self._environment = bare_environment(folder / "home")
        self._states = folder / "states"
        with lab_in(self.checkout):
            pass
        self._keep("None")
        with lab_in(self.checkout):
            assert self.run().returncode == 0
        self._keep("finished")
        self.finished = told(self.checkout)

    def run(self, *words: str) -> CompletedProcess[str]:
        return invoke(self.checkout, self._environment, "foundation", *words)

    def set(self, step: str) -> None:
        """Put the lab into the state before a step; the first time it is made, from a bare one."""
        wanted = BEFORE[step]
        if not (self._states / str(wanted)).exists() and wanted is not None:
            self.take("None")
            with lab_in(self.checkout) as lab:
                lab.fault(*wanted, LASTING)
                assert self.run().returncode == 1
                lab.clear()
            self._keep(str(wanted))
        self.take(str(wanted))

    def _keep(self, name: str) -> None:
        shutil.copytree(self.checkout / ".lab", self._states / name)

    def take(self, name: str) -> None:
        """Put the lab into a state that was kept."""
        shutil.rmtree(self.checkout / ".lab")
        shutil.copytree(self._states / name, self.checkout / ".lab")


@pytest.fixture(scope="module")
def stage(product: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(product, tmp_path_factory.mktemp("stage"))


def begins(kind: str, cell: Strike) -> Callable[[int, str, Faults], None]:
    """Return what adds the fault when the journal has come to its line."""
    waits = [True]

    def on_line(number: int, said: str, faults: Faults) -> None:
        if waits and cell.after and cell.after in said:
            waits.clear()
            faults.add(kind, cell.match, cell.times)

    return on_line


@pytest.mark.parametrize(("step", "kind"), strikes())
def test_a_fault_is_mended_or_told(stage: Stage, monkeypatch: pytest.MonkeyPatch, step: str, kind: str) -> None:
    cell = MATRIX[step][kind]
    assert isinstance(cell, Strike)
    monkeypatch.setattr(fault, "SLOW_SECONDS", 0.3)
    stage.set(step)
    with lab_in(stage.checkout, on_line=begins(kind, cell)) as lab:
        if not cell.after:
            lab.fault(kind, cell.match, cell.times)
        struck = stage.run(*(("--timeout", "3") if kind == "timeout" else ()))
        left = lab.clear()
        assert all(one["used"] and not one["times"] for one in left), f"it struck nothing, or too seldom: {left}"
        judge(struck, step, cell.outcome)
        if struck.returncode:
            after = stage.run()
            assert after.returncode == 0, after.stdout + after.stderr
        last = stage.run()
        assert "\nfoundation: unchanged" in last.stdout, last.stdout + last.stderr
    assert told(stage.checkout) == stage.finished


def judge(struck: CompletedProcess[str], step: str, outcome: str) -> None:
    printed = struck.stdout + struck.stderr
    assert "Traceback" not in printed
    assert (outcome, struck.returncode) in (("mended", 0), ("told", 1)), printed
    if outcome == "told":
        error = rf"  ✗ {step} +failed .*\n      \S.*: \S.*\n(?:        .*\n)*      Fix: \S"
        assert re.search(error, struck.stdout), printed


def test_what_asks_no_guest_and_no_name_is_not_struck(stage: Stage) -> None:
    stage.take("None")
    with lab_in(stage.checkout) as lab:
        for kind in ("agent-silent", "dns-servfail"):
            lab.fault(kind, "", LASTING)
        assert stage.run().returncode == 0
        assert [one["used"] for one in lab.clear()] == [0, 0]


@pytest.mark.parametrize(
    ("kind", "match", "times", "code", "says"),
    [
        ("reset", "*POST /pools (after)", 1, 0, ""),
        ("reset", "POST /pools", 3, 0, ""),
        ("500", "POST /pools", 1, 1, "Fix: see `journalctl"),
        ("reset", "*DELETE /pools/groundwork-lock (after)", 1, 0, ""),
        ("500", "DELETE /pools/groundwork-lock", 3, 0, ""),
        (
            "500",
            "DELETE /pools/groundwork-lock",
            4,
            0,
            "warning: cluster lock: pool groundwork-lock could",
        ),
    ],
)
def test_the_lock_survives_faults(stage: Stage, kind: str, match: str, times: int, code: int, says: str) -> None:
    stage.take("finished")
    with lab_in(stage.checkout) as lab:
        lab.fault(kind, match, times)
        struck = stage.run()
        assert lab.clear() == []
        assert struck.returncode == code
        printed = struck.stdout + struck.stderr
        assert says in printed
        assert ("warning" in printed) == says.startswith("warning")
        if says:
            assert stage.run().returncode == 0
    assert told(stage.checkout) == stage.finished


def test_an_administrator_s_token_that_the_cluster_forgot_is_made_anew(stage: Stage) -> None:
    stage.take("finished")
    world = World(stage.checkout / ".lab" / "world.sqlite")
    (token,) = (key for key in world.keys("token") if key.startswith("root@pam!"))
    world.delete("token", token)
    world.close()
    with lab_in(stage.checkout):
        assert "unchanged" in stage.run().stdout
    assert told(stage.checkout) == stage.finished


def test_every_kind_has_its_cell_for_every_step() -> None:
    assert tuple(MATRIX) == STEPS
    assert all(set(cells) == set(KINDS) for cells in MATRIX.values())


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "stale: run `nox -s docs`"
