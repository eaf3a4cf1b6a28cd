"""Own what rehearsals share: a worker's one checkout, as new for each test, and its lab in a state that was kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.product import stop_lab
from tests.stage import BARE, FINISHED, Stage


@pytest.fixture
def checkout(stage: Stage) -> Iterator[Path]:
    """Return a checkout as new, without a lab; whatever lab was started in it ends with the test."""
    stage.clear()
    yield stage.checkout
    stop_lab(stage.checkout)


@pytest.fixture
def lab(stage: Stage, checkout: Path) -> Iterator[Path]:
    """Return a checkout whose lab runs here, in a thread, and has nothing of ours; who stops it stops the tests."""
    stage.take(BARE)
    with stage.lab():
        yield checkout


@pytest.fixture
def finished(stage: Stage, checkout: Path) -> Iterator[Path]:
    """Return a checkout whose lab runs here, in a thread, and has a finished foundation."""
    stage.take(FINISHED)
    with stage.lab():
        yield checkout
