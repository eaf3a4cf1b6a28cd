"""Own the lab that third parties join, as its own tasks tell them to: `invoke lab.env` and `invoke lab.ssh-config`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.judges.joined import Joined
from tests.product import bare_environment, stop_lab


@pytest.fixture(scope="module")
def lab(product: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Joined]:
    """Return a bare lab whose tasks take no time; its parameter, if it is given one, is Proxmox's release."""
    folder = tmp_path_factory.mktemp("judged")
    shutil.copytree(product, folder / "checkout")
    yield Joined(folder / "checkout", bare_environment(folder / "home"), getattr(request, "param", "9.2"))
    stop_lab(folder / "checkout")
