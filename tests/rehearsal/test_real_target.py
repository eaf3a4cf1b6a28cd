"""The lab met as hardware would be: through `.env` and the user's own OpenSSH configuration, not as the lab."""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.lab import start
from tests.rehearsal.test_foundation import client, document, journal, writes


def configured(
    checkout: Path, run: Callable[..., Any], environment: dict[str, str], tmp_path: Path, version: str = "9.2"
) -> Path:
    """Point the checkout at a lab that lies elsewhere, as at real hosts."""
    if start.running(checkout) is None:
        run("lab.start", "--task-seconds", "0", "--pve", version)
    ssh = Path(environment["HOME"]) / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text(run("lab.ssh-config").stdout)
    odd = b"# caf\xe9\n10.9.9.9 ssh-ed25519 A\n10.9.9.9 ssh-ed25519 QUJD\n10.9.9.9\n\n"  # as they grow in ten years
    (ssh / "known_hosts").write_bytes(odd + (checkout / ".lab" / "known_hosts").read_bytes())
    lab = json.loads((checkout / ".lab" / "lab.json").read_text())
    password = (checkout / lab["root_password_file"]).read_text().strip()
    dead = "127.0.0.1:9"  # the first API host is down: the next one is taken
    host = lab["api"]["node1"].removeprefix("https://")
    shutil.copy(checkout / lab["ca_file"], tmp_path / "ca.pem")
    lines = (
        f"PROXMOX_HOST={dead},{host}",
        "PROXMOX_ADMIN_USER=root@pam",
        f"PROXMOX_ADMIN_PASSWORD={password}",
        f"PROXMOX_CA_FILE={tmp_path / 'ca.pem'}",
    )
    (checkout / ".env").write_text("\n".join(lines) + "\n")
    (checkout / ".env").chmod(0o600)
    return checkout


def test_a_real_target_is_reached_and_its_files_lie_in_the_checkout(
    lab: Path, run: Callable[..., Any], environment: dict[str, str], tmp_path: Path
) -> None:
    configured(lab, run, environment, tmp_path)
    cold = run("foundation", "--json")
    assert cold.returncode == 0, cold.stdout + cold.stderr
    assert document(cold)["target"] == "127.0.0.1"
    assert document(run("foundation", "--json"))["outcome"] == "unchanged"
    for name in (".foundation-state.json", "packer/.env", "packer/variables.json"):
        assert (lab / name).stat().st_mode & 0o777 == 0o600
        assert not (lab / ".lab" / name).exists()
    alive = json.loads((lab / ".lab" / "lab.json").read_text())["api"]["node1"]
    assert f"PROXMOX_URL={alive}/api2/json" in (lab / "packer" / ".env").read_text()  # Packer knows one host alone
    (lab / ".env").unlink()
    lost = run("foundation")
    assert lost.returncode == 2
    assert "GROUNDWORK_TARGET=lab" in lost.stderr
    assert run("plan", env={"GROUNDWORK_TARGET": "lab"}).returncode == 0


def test_another_ca_is_not_trusted(
    lab: Path, run: Callable[..., Any], environment: dict[str, str], tmp_path: Path
) -> None:
    configured(lab, run, environment, tmp_path)
    other = "PROXMOX_CA_FILE=" + str(tmp_path / "ca.pem")
    text = (lab / ".env").read_text()
    (lab / ".env").write_text(text.replace(other, "PROXMOX_TLS_FINGERPRINT=" + "ab" * 32))
    (lab / ".env").chmod(0o600)
    result = run("foundation", "--dry-run")
    assert result.returncode == 1
    assert "TLS" in result.stdout + result.stderr
    journal = (lab / ".lab" / "journal.jsonl").read_text()
    assert "/access/ticket" not in journal  # the password goes to nobody whose certificate is not the known one
    assert "Traceback" not in result.stdout + result.stderr
    (lab / ".env").write_text(text.replace(other, "PROXMOX_TLS_VERIFY=no"))
    unchecked = run("foundation", "--dry-run")
    assert unchecked.returncode == 0, unchecked.stdout
    assert "TLS verification is turned off" in unchecked.stdout


def test_keys_are_shown_and_recorded_by_the_way_that_a_run_takes(
    lab: Path, run: Callable[..., Any], environment: dict[str, str], tmp_path: Path
) -> None:
    configured(lab, run, environment, tmp_path)
    (Path(environment["HOME"]) / ".ssh" / "known_hosts").unlink()
    unknown = run("foundation", "--dry-run")
    assert unknown.returncode == 1
    assert "invoke trust" in unknown.stdout
    shown = run("trust")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("SHA256:") == 5
    assert shown.stdout.count(" new") == 5
    recorded = lab / ".groundwork" / "known_hosts"
    assert recorded.stat().st_mode & 0o777 == 0o600
    assert run("foundation", "--dry-run").returncode == 0
    assert run("trust").stdout.count(" known") == 5
    node, _, key = recorded.read_text().partition("\n")
    other = key.partition("\n")[0].split(" ")[2]
    recorded.write_text(" ".join([*node.split(" ")[:2], other]) + "\n" + key)
    changed = run("trust")
    assert changed.returncode == 4
    assert "10.10.1.21" in changed.stderr
    assert "invoke trust --replace 10.10.1.21" in run("foundation", "--dry-run").stdout
    assert run("trust", "--replace", "10.10.1.21").returncode == 0
    assert run("foundation", "--dry-run").returncode == 0


def test_with_nothing_but_ssh_the_ca_is_fetched_and_a_token_made(
    checkout: Path, run: Callable[..., Any], environment: dict[str, str], tmp_path: Path
) -> None:
    configured(checkout, run, environment, tmp_path)
    lab = json.loads((checkout / ".lab" / "lab.json").read_text())
    api = lab["api"]["node1"].removeprefix("https://")
    (checkout / ".env").write_text(f"PROXMOX_HOST={api}\n")
    config = Path(environment["HOME"]) / ".ssh" / "config"
    (config.parent / "known_hosts").unlink()
    config.write_text(config.read_text().replace("Port ", "Port 9\n  # ", 1))  # node1 is down
    down = run("trust", "--replace", "10.10.1.99")
    assert down.returncode == 2
    assert run("trust").returncode == 1
    assert len((checkout / ".groundwork" / "known_hosts").read_text().splitlines()) == 4  # and the name server
    assert run("foundation", "--dry-run").returncode == 1
    config.write_text(config.read_text().replace("Port 9\n  # ", "Port ", 1))
    shown = run("trust")
    assert shown.returncode == 0, shown.stderr
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert((tmp_path / "ca.pem").read_text())).hexdigest().upper()
    assert digest[:2] + ":" + digest[2:4] in shown.stdout
    dead = run("foundation", "--dry-run", env={"PROXMOX_HOST": "127.0.0.1:9"})
    assert dead.returncode == 1  # though a dry run without a token asks over SSH
    assert "https://127.0.0.1:9: the Proxmox API cannot be reached" in dead.stdout
    before = len(journal(checkout))
    planned = run("foundation", "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    assert document(planned)["outcome"] == "pending"
    assert writes(journal(checkout)[before:]) == []
    assert not (checkout / ".groundwork" / "admin-token.json").exists()
    cold = run("foundation", "--json")
    assert cold.returncode == 0, cold.stdout + cold.stderr
    kept = checkout / ".groundwork" / "admin-token.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    token = json.loads(kept.read_text())
    client(checkout)("DELETE", f"/access/users/root@pam/token/{token['token_id']}")
    revoked = run("foundation", "--json")
    assert revoked.returncode == 0, revoked.stdout + revoked.stderr
    assert json.loads(kept.read_text())["value"] != token["value"]
