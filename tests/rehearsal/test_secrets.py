"""No secret value occurs in output, logs, state, journal or arguments of processes, whether a run ends well or not."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import sys
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.perverse import settled
from tests.rehearsal.test_foundation import client
from tests.rehearsal.test_real_target import configured

# Whatever has a meaning in a shell, a URL, JSON, a .env file or a regular expression.
PASSWORD = "p@ss w\"or'd$&%41\\n+/=;"
TICKET = re.compile(rb"PVE:[\w.@-]+:[1-9A-F][0-9A-F]{7}::[^\s\"]")
# Who writes down what he starts; an audit hook sees it, however it is started.
WATCHED = """
import runpy, sys
started = open(sys.argv[1], "a")
def note(event, args):
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"):
        print(event, *map(str, args[:2]), file=started, flush=True)
sys.addaudithook(note)
sys.argv = ["invoke", *sys.argv[2:]]
runpy.run_module("invoke", run_name="__main__", alter_sys=True)
"""


class Witness:
    """Runs command lines in a checkout and keeps what they printed and started."""

    def __init__(self, checkout: Path, environment: dict[str, str], home: Path, seed: int | None) -> None:
        self.checkout, self._environment, self._seed = checkout, environment, seed
        self._started = home / "started.txt"
        self._printed = home / "printed.txt"

    def run(self, *words: str) -> int:
        return settled(lambda: self._once(*words), self._seed, self.checkout).returncode

    def _once(self, *words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", WATCHED, str(self._started), *words]
        options: dict[str, Any] = {"cwd": self.checkout, "env": self._environment, "stdin": subprocess.DEVNULL}
        result = subprocess.run(line, **options, capture_output=True, text=True, timeout=120, check=False)
        with self._printed.open("a") as printed:
            printed.write(result.stdout + result.stderr)
        assert "Traceback" not in result.stdout + result.stderr
        return result

    def told(self, secrets: Iterable[str], kept: Iterable[Path]) -> list[tuple[str, str]]:
        """Return in which files, besides those that keep them, which of the secrets occur in whatever form."""
        forms = {form.encode(): secret for secret in secrets for form in forms_of(secret)}
        spared = set(kept)
        files = [path for path in self.checkout.rglob("*") if path.is_file() and path not in spared]
        found = []
        for path in [*files, self._started, self._printed]:
            content = path.read_bytes()
            found += [(path.name, secret) for form, secret in forms.items() if form in content]
            found += [(path.name, "a ticket")] if TICKET.search(content) else []
        return found


def forms_of(secret: str) -> set[str]:
    plain = {secret, shlex.quote(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    plain |= {urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}
    return plain | {base64.b64encode(secret.encode()).decode()}


def key_text(path: Path) -> str:
    """Return a line of a private key that occurs in no other."""
    return path.read_text().splitlines()[2]


def packer_token(path: Path) -> str:
    return str(re.findall(r"^PROXMOX_TOKEN=['\"]?([\w-]+)", path.read_text(), re.MULTILINE)[0])


def test_nothing_of_a_rehearsal_is_told(
    checkout: Path, run: Callable[..., Any], environment: dict[str, str], tmp_path: Path, seed: int | None
) -> None:
    witness, lab = Witness(checkout, environment, tmp_path, seed), checkout / ".lab"
    kept_token, packer = lab / ".groundwork" / "admin-token.json", lab / "packer" / ".env"
    assert witness.run("lab.start", "--task-seconds", "0") == 0
    assert witness.run("foundation", "--verbose") == 0
    known = json.loads((lab / "lab.json").read_text())
    secrets = [packer_token(packer), json.loads(kept_token.read_text())["value"]]
    anew = ("foundation", "--verbose", "--force-rebuild", "--allow", "destroy-base-template")
    for kind, match, form in (
        ("exit", "virt-customize", ()),
        ("500", "PUT /access/users", ("--json",)),
        ("task-fail", "qmcreate", ()),
    ):
        assert run("lab.fault", kind, "--match", match, "--times", "9").returncode == 0
        assert witness.run(*anew, *form) == 1
        assert run("lab.fault", "--clear").returncode == 0
    assert witness.run("doctor") == 0
    secrets += [packer_token(packer), (checkout / known["root_password_file"]).read_text().strip()]
    keys = [path for path in lab.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()[:60]]
    assert checkout / known["ssh_key_file"] in keys
    secrets += [key_text(path) for path in keys]
    kept = [kept_token, packer, checkout / known["root_password_file"], *keys]
    assert witness.told(secrets, kept) == []
    assert witness.told(secrets, kept[1:]) == [(kept_token.name, secrets[1])]  # it would be seen


def test_nothing_of_a_real_targets_env_is_told(
    checkout: Path, run: Callable[..., Any], environment: dict[str, str], tmp_path: Path, seed: int | None
) -> None:
    configured(checkout, run, environment, tmp_path)
    known = json.loads((checkout / ".lab" / "lab.json").read_text())
    key = checkout / known["ssh_key_file"]
    client(checkout)("PUT", "/access/password", {"userid": "root@pam", "password": PASSWORD})
    value = client(checkout, PASSWORD)("POST", "/access/users/root@pam/token/mine", {"privsep": "0"})["value"]
    lines = [line for line in (checkout / ".env").read_text().splitlines() if "PROXMOX_ADMIN_" not in line]
    quoted = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
    witness = Witness(checkout, environment, tmp_path, seed)
    password = ["PROXMOX_ADMIN_USER=root@pam", f"PROXMOX_ADMIN_PASSWORD='{quoted}'"]
    unknown, wrong = str(uuid.uuid4()), "wrong-" + PASSWORD[::-1].replace("\\", "").replace("'", "")
    for credentials, code in (
        (password, 0),
        ([f"PROXMOX_ADMIN_TOKEN=root@pam!mine={value}"], 0),
        ([password[0], f"PROXMOX_ADMIN_PASSWORD='{wrong}'"], 1),
        ([f"PROXMOX_ADMIN_TOKEN=root@pam!mine={unknown}"], 1),
        ([f"PROXMOX_ADMIN_TOKEN={value}"], 2),
        ([f"PROXMOX_ADMIN_PASSWORD='{quoted}'"], 2),
    ):
        (checkout / ".env").write_text("\n".join([*lines, f"PROXMOX_SSH_KEY={key}", *credentials]) + "\n")
        assert witness.run("foundation", "--verbose") == code, credentials
    assert witness.run("foundation", "--json") == 2
    kept = [checkout / ".env", checkout / "packer" / ".env", key]
    secrets = [PASSWORD, value, unknown, wrong, packer_token(kept[1]), key_text(key)]
    assert witness.told(secrets, kept) == []
