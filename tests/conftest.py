"""Own what every test may use: a checkout of its own, the real command line in it, and no real network."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from lib.errors import GroundworkError
from lib.lab import start as lab_process
from tests.guard.sitecustomize import reached

ROOT = Path(__file__).resolve().parent.parent
GUARD = ROOT / "tests" / "guard"
PRODUCT = ("cluster.toml", "tasks.py", "invoke.yaml", ".env.example", "lib", "templates", "packer", "terraform", "dns")
MADE_HERE = (".env", "variables.json", "*.auto.tfvars.json", ".terraform", ".lab", "__pycache__")


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    host = reached(event, args)
    if host:
        pytest.fail(f"a test reached for the real network: {event} {host}")


def pytest_configure() -> None:
    """Guard this process; `run` guards those that it starts."""
    sys.addaudithook(_refuse)


class Run(Protocol):
    """`run("foundation", "--json")` runs `invoke foundation --json` in the test's checkout."""

    def __call__(
        self, *words: str, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the product's files alone, compiled once for all tests of this worker."""
    home = tmp_path_factory.mktemp("product")
    for name in PRODUCT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, home / name, ignore=shutil.ignore_patterns(*MADE_HERE))
        elif source.exists():
            shutil.copy2(source, home / name)
    compileall.compile_dir(home, quiet=2)
    return home


@pytest.fixture
def checkout(product: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a fresh checkout to run commands in; whatever lab was started in it ends with the test."""
    home = tmp_path / "checkout"
    shutil.copytree(product, home)
    yield home
    try:
        lab_process.stop(home)
    except GroundworkError:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(json.loads((home / ".lab" / "lab.json").read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment that knows nothing of the developer's own: no home, no agent, no PROXMOX_ variables."""
    home = tmp_path / "home"
    home.mkdir()
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(GUARD)}


@pytest.fixture
def run(checkout: Path, environment: dict[str, str]) -> Run:
    """Return a function that runs an `invoke` line in the checkout, with no terminal and a timeout in seconds."""

    def run_line(
        *words: str, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=checkout,
            env=environment | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run_line
