"""Own what every test may use: a checkout of its own, the real command line in it, and no real network."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.guard.sitecustomize import reached
from tests.perverse import settled, with_seed
from tests.preloaded.client import invoke as preloaded
from tests.product import bare_environment, copy_product, stop_lab
from tests.stage import Stage


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    host = reached(event, args)
    if host:
        pytest.fail(f"a test reached for the real network: {event} {host}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the rehearsals meet a perverse lab."""
    parser.addoption("--perverse", type=int, metavar="SEED", help="every lab of a rehearsal is perverse by this seed")


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int | None:
    """Return the seed of `--perverse`, or None."""
    found: int | None = pytestconfig.getoption("--perverse")
    return found


def pytest_configure() -> None:
    """Guard this process; `run` guards those that it starts."""
    sys.addaudithook(_refuse)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background, and Ctrl-C is tested, too


def pytest_collection_finish() -> None:
    """Take what was loaded out of the garbage collector's sight: each of its rounds would look at all of it again."""
    gc.collect()
    gc.freeze()


class Run(Protocol):
    """`run("foundation", "--json")` runs `invoke foundation --json` in the test's checkout."""

    def __call__(
        self, *words: str, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]: ...


class Begin(Protocol):
    """Runs an `invoke` line in a checkout: tests.product.invoke, or what stands for it."""

    def __call__(
        self, checkout: Path, environment: dict[str, str], *words: str, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]: ...


def _of_all_workers(made: pytest.TempPathFactory) -> Path:
    own = made.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the product's files alone, copied and compiled once for the tests of all workers; nobody writes there."""
    home = _of_all_workers(tmp_path_factory) / "product"
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return home if home.exists() else copy_product(home)


@pytest.fixture
def checkout(product: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a fresh checkout to run commands in; whatever lab was started in it ends with the test."""
    home = tmp_path / "checkout"
    shutil.copytree(product, home)
    yield home
    stop_lab(home)


@pytest.fixture(scope="session")
def stage(product: Path, tmp_path_factory: pytest.TempPathFactory, seed: int | None) -> Stage:
    """Return a checkout, the same for all tests of this worker, whose lab begins where a test wants it."""
    return Stage(product, tmp_path_factory.mktemp("stage"), _of_all_workers(tmp_path_factory) / "states", seed)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment that `run` gives to what it starts."""
    return bare_environment(tmp_path / "home")


@pytest.fixture
def begin() -> Begin:
    """Return what `run` begins its lines with: a copy of a process that has the libraries already."""
    return preloaded


@pytest.fixture
def run(checkout: Path, environment: dict[str, str], seed: int | None, begin: Begin) -> Run:
    """Return a function that runs an `invoke` line in the checkout."""

    def run_line(
        *words: str, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        line = with_seed(words, seed)
        return settled(lambda: begin(checkout, environment | (env or {}), *line, timeout=timeout), seed, checkout)

    return run_line
