"""`.env`: whole, half filled, malformed, readable by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lib.config.environment import read_environment
from lib.errors import ConfigurationError

TOKEN = "root@pam!gw=0b6a1c9e-1f0e-4a55-9a52-0c6dd3b9a111"


def written(root: Path, text: str, mode: int = 0o600) -> Path:
    (root / ".env").write_text(text)
    (root / ".env").chmod(mode)
    return root


def test_nothing_configured_is_nothing(tmp_path: Path) -> None:
    assert read_environment(tmp_path, {}) is None
    assert read_environment(written(tmp_path, "# only a comment\n"), {}) is None


def test_a_whole_file(tmp_path: Path) -> None:
    text = f"PROXMOX_HOST=10.0.0.1, pve2:9006\nPROXMOX_ADMIN_TOKEN={TOKEN}\nPROXMOX_TLS_VERIFY=no\n"
    access = read_environment(written(tmp_path, text), {})
    assert access is not None
    assert access.hosts == (("10.0.0.1", 8006), ("pve2", 9006))
    assert access.token_id == "root@pam!gw"
    assert not access.verify
    assert "0b6a1c9e" not in repr(access)


def test_the_process_environment_wins(tmp_path: Path) -> None:
    access = read_environment(written(tmp_path, "PROXMOX_HOST=one\n"), {"PROXMOX_HOST": "two"})
    assert access is not None
    assert access.hosts == (("two", 8006),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"PROXMOX_ADMIN_TOKEN={TOKEN}", "PROXMOX_HOST: is missing"),
        ("PROXMOX_HOST=h\nPROXMOX_ADMIN_USER=root@pam", "PROXMOX_ADMIN_PASSWORD: is missing"),
        ("PROXMOX_HOST=h\nPROXMOX_ADMIN_PASSWORD=x", "PROXMOX_ADMIN_USER: is missing"),
        (f"PROXMOX_HOST=h\nPROXMOX_ADMIN_TOKEN={TOKEN}\nPROXMOX_ADMIN_PASSWORD=x", "is given beside"),
        ("PROXMOX_HOST=h\nPROXMOX_ADMIN_TOKEN=nonsense", "is no API token [.env:2]"),
        ("PROXMOX_HOST=h\nPROXMOX_TLS_FINGERPRINT=ab:cd", "is no SHA-256 fingerprint [.env:2]"),
        ("PROXMOX_HOST=h\nPROXMOX_TLS_VERIFY=perhaps", "neither yes nor no"),
        ("PROXMOX_HOST=h\nPROXMOX_SSH_KEY=/no/such/key", "is not there"),
        ("PROXMOX_HOST=h\nPROXMOX_HSOT=h", "did you mean PROXMOX_HOST?"),
        ("PROXMOX_HOST=a b;c", "names no host"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_environment(written(tmp_path, text + "\n"), {})
    assert told in str(caught.value)


def test_others_must_not_read_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_environment(written(tmp_path, "PROXMOX_HOST=h\n", 0o644), {})
    assert "chmod 600" in str(caught.value)


def test_half_filled_is_an_error_and_never_the_lab(checkout: Path, run: Any) -> None:
    written(checkout, "PROXMOX_SSH_USER=root\n")
    result = run("foundation")
    assert result.returncode == 2
    assert "PROXMOX_HOST" in result.stderr
    assert not (checkout / ".lab").exists()


def test_a_used_real_target_keeps_the_lab_out(checkout: Path, run: Any) -> None:
    (checkout / ".groundwork").mkdir()
    result = run("foundation")
    assert result.returncode == 2
    assert "GROUNDWORK_TARGET=lab" in result.stderr
