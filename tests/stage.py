"""Own a checkout whose lab can be put into states that were made once, and what a foundation should leave in it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.labs import OnLine, Running, lab_in
from tests.perverse import settled
from tests.product import bare_environment, invoke
from tests.worlds import told

BARE = "bare"
FINISHED = "finished"


class Stage:
    """One checkout; its states are copies of `.lab/`, put back by `take` while no lab runs.

    Attributes:
        finished: what an undisturbed foundation leaves (tests/worlds.py).
    """

    def __init__(self, product: Path, folder: Path, seed: int | None = None) -> None:
        """Take the product's files; with a seed every lab is perverse."""
        self.seed = seed
        self._product = product
        self.checkout = folder / "checkout"
        shutil.copytree(product, self.checkout)
        self._environment = bare_environment(folder / "home")
        self._states = folder / "states"
        with self.lab():
            pass
        self.keep(BARE)
        with self.lab():
            done = self.run()
            assert done.returncode == 0, done.stdout + done.stderr
        self.keep(FINISHED)
        self.finished = told(self.checkout)

    def lab(
        self, task_seconds: float = 0.0, on_line: OnLine | None = None
    ) -> contextlib.AbstractContextManager[Running]:
        """Run the lab while inside."""
        return lab_in(self.checkout, task_seconds, on_line, self.seed)

    def once(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `invoke foundation`."""
        return invoke(self.checkout, self._environment, "foundation", *words)

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run `invoke foundation`, again while a perverse lab lets it fail."""
        return settled(self.once, self.seed, self.checkout)

    def begin(self) -> subprocess.Popen[str]:
        """Begin `invoke foundation`; what it prints is on its stdout."""
        return subprocess.Popen(
            [sys.executable, "-m", "invoke", "foundation"],
            cwd=self.checkout,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def has(self, name: str) -> bool:
        """Tell whether a state was kept."""
        return (self._states / name).exists()

    def keep(self, name: str) -> None:
        """Keep the state that the lab was stopped in."""
        shutil.copytree(self.checkout / ".lab", self._states / name)

    def take(self, name: str) -> None:
        """Put the checkout into its first state, and the lab into one that was kept."""
        self.clear()
        shutil.copytree(self._states / name, self.checkout / ".lab")

    def clear(self) -> None:
        """Let the checkout be as it was, without a lab: all but the code, which nobody changes."""
        for path in self.checkout.iterdir():
            if path.is_dir() and path.name != "lib":
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()
        shutil.copytree(self._product, self.checkout, ignore=shutil.ignore_patterns("lib"), dirs_exist_ok=True)

    def differences(self) -> list[str]:
        """Return what is there beside an undisturbed run's world (+), and what is missing (-)."""
        now = told(self.checkout)
        return [f"+ {line}" for line in sorted(now - self.finished)] + [
            f"- {line}" for line in sorted(self.finished - now)
        ]
