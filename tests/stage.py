"""Own a checkout whose lab can be put into states that were made once, and what a foundation should leave in it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lib.lab.world import World
from tests.labs import OnLine, Running, lab_in
from tests.perverse import settled
from tests.preloaded.client import invoke
from tests.product import bare_environment
from tests.worlds import told

BARE = "bare"
FINISHED = "finished"


class Stage:
    """One checkout; its states are copies of `.lab/`, put back by `take` while no lab runs.

    Attributes:
        finished: what an undisturbed foundation leaves (tests/worlds.py).
    """

    def __init__(self, product: Path, folder: Path, states: Path, seed: int | None = None) -> None:
        """Take the product's files; with a seed every lab is perverse.

        What is in `states` other stages use, too: whoever needs one first makes it.
        """
        self.seed = seed
        self._product = product
        self.checkout = folder / "checkout"
        shutil.copytree(product, self.checkout)
        self._environment = bare_environment(folder / "home")
        self._states = states
        states.mkdir(exist_ok=True)
        self._start()
        self._ports = self._lab("ports.json").read_text()
        self.make(BARE, self._start)
        self.make(FINISHED, self._finish)
        self.take(FINISHED)
        self.finished = told(self.checkout)

    def _lab(self, name: str) -> Path:
        return self.checkout / ".lab" / name

    def _start(self) -> None:
        with self.lab():
            pass

    def _finish(self) -> None:
        self.take(BARE)
        with self.lab():
            done = self.run()
            assert done.returncode == 0, done.stdout + done.stderr

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

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Begin `invoke foundation`; what it prints is on its stdout."""
        return subprocess.Popen(
            [sys.executable, "-m", "invoke", "foundation", *words],
            cwd=self.checkout,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def make(self, name: str, work: Callable[[], object]) -> None:
        """See to it that a state is kept: the one that the lab was stopped in after the work."""
        state = self._states / name
        with state.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not state.exists():
                work()
                shutil.copytree(self.checkout / ".lab", state.with_suffix(".new"))
                state.with_suffix(".new").rename(state)

    def take(self, name: str) -> None:
        """Put the checkout into its first state, and the lab into one that was kept."""
        self.clear()
        shutil.copytree(self._states / name, self.checkout / ".lab")
        self._own_ports()
        self._own_token()

    def _own_ports(self) -> None:
        """Let the lab answer where it did before, and nowhere where another one may run now."""
        theirs, own = (json.loads(text)["api node1"] for text in (self._lab("ports.json").read_text(), self._ports))
        self._lab("ports.json").write_text(self._ports)
        if self._lab("packer/.env").exists():
            text = self._lab("packer/.env").read_text()
            self._lab("packer/.env").write_text(
                text.replace(f"https://127.0.0.1:{theirs}/", f"https://127.0.0.1:{own}/")
            )

    def _own_token(self) -> None:
        """Let the administrator's token bear the name that this checkout would have given it."""
        path = self._lab(".groundwork/admin-token.json")
        if not path.exists():
            return
        kept = json.loads(path.read_text())
        base = self._lab("").resolve()
        own = "groundwork-" + hashlib.sha256(f"{socket.gethostname()}:{base}".encode()).hexdigest()[:8]
        world = World(self._lab("world.sqlite"))
        token = world.get("token", f"root@pam!{kept['token_id']}")
        assert token is not None
        world.delete("token", f"root@pam!{kept['token_id']}")
        world.put("token", f"root@pam!{own}", token)
        world.close()
        path.write_text(json.dumps(kept | {"token_id": own}))

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
