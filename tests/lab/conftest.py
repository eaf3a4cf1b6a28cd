"""Own the two labs that these tests use: one in memory, and one process per module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.lab import attach, start
from tests.lab.simulated import Simulated

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    lab = Simulated(tmp_path)
    yield lab
    lab.world.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a running lab; `ssh_config` lies in it."""
    root = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "cluster.toml", root)
    lab = start.start(root, task_seconds=0.0)
    (root / "ssh_config").write_text(attach.ssh_config(root, lab))
    yield root
    start.stop(root)
