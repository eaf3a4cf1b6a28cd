"""Own a checkout apart, for tests and bench: the product copied and compiled, and the command line run in it."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from lib.errors import GroundworkError
from lib.lab import start as lab_process

ROOT = Path(__file__).resolve().parent.parent
GUARD = ROOT / "tests" / "guard"
PRODUCT = ("cluster.toml", "tasks.py", "invoke.yaml", ".env.example", "lib", "templates", "packer", "terraform", "dns")
MADE_HERE = (".env", "variables.json", "*.auto.tfvars.json", ".terraform", ".lab", "__pycache__")


def copy_product(home: Path) -> Path:
    """Copy the product's files alone to `home`, compiled, and return it."""
    home.mkdir(exist_ok=True)
    for name in PRODUCT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, home / name, ignore=shutil.ignore_patterns(*MADE_HERE))
        elif source.exists():
            shutil.copy2(source, home / name)
    compileall.compile_dir(home, quiet=2)
    return home


def bare_environment(home: Path) -> dict[str, str]:
    """Return an environment that knows nothing of the developer's own: no home, no agent, no PROXMOX_ variables."""
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(GUARD)}


def invoke(
    checkout: Path, environment: dict[str, str], *words: str, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run an `invoke` line in the checkout, with no terminal and a timeout in seconds."""
    return subprocess.run(
        [sys.executable, "-m", "invoke", *words],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def stop_lab(checkout: Path) -> None:
    """End the lab that was started in the checkout, if one was; one that does not end is killed."""
    try:
        lab_process.stop(checkout)
    except GroundworkError:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(json.loads((checkout / ".lab" / "lab.json").read_text())["pid"], signal.SIGKILL)
