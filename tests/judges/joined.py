"""Own how a third party's program is found, and how it is run against a lab that it has joined."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from tests.product import ROOT, invoke
from tests.tools import found


def built(name: str) -> str:
    """Return where `.ci/tools/build NAME` has put a program."""
    asked = subprocess.run([ROOT / ".ci/tools/build", "--where", name], capture_output=True, text=True, check=True)
    path = asked.stdout.strip()
    return found(f"{name} (.ci/tools/build {name})", path if os.access(path, os.X_OK) else "")


class Joined:
    """A running lab and what its tasks tell a third party: `variables` of lab.env, `ssh_config` of lab.ssh-config."""

    def __init__(self, checkout: Path, environment: dict[str, str], pve: str) -> None:
        self.checkout = checkout
        self._environment = environment
        self.invoke("lab.start", "--task-seconds", "0", "--pve", pve)
        words = shlex.split(self.invoke("lab.env").replace("export ", ""))
        self.variables = dict(word.split("=", 1) for word in words)
        self.ssh_config = checkout / "ssh_config"
        self.ssh_config.write_text(self.invoke("lab.ssh-config"))
        told: dict[str, Any] = json.loads((checkout / ".lab" / "lab.json").read_text())
        self.nodes, self.addresses, self.ports = list(told["api"]), list(told["ssh"]), list(told["ssh"].values())

    def invoke(self, *words: str) -> str:
        """Run an `invoke` line in the lab's checkout; return what it printed."""
        done = invoke(self.checkout, self._environment, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(
        self, *argv: str, stdin: str = "", cwd: Path | None = None, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program; unless told otherwise with what `lab.env` exports."""
        environment = self._environment | (self.variables if variables is None else variables)
        environment.pop("PYTHONPATH")
        return subprocess.run(
            argv, input=stdin, cwd=cwd or self.checkout, env=environment, capture_output=True, text=True, timeout=120
        )

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """Return the journal's lines of a kind."""
        lines = (self.checkout / ".lab" / "journal.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["kind"] == kind]
