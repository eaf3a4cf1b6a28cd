"""`.env`: whole, half filled, malformed, readable by others."""

from __future__ import annotations

import re
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


def test_what_editors_leave_in_a_file_changes_nothing(tmp_path: Path) -> None:
    text = '\ufeffexport PROXMOX_HOST="10.0.0.1"  \r\n\r\nCOMPOSE_PROJECT_NAME=x\r\nPROXMOX_SSH_PORT = 2222 # why\r\n'
    access = read_environment(written(tmp_path, text), {})
    assert access is not None
    assert (access.hosts, access.ssh_port) == ((("10.0.0.1", 8006),), 2222)


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
        ("PROXMOX_HOST=h\nPROXMOX_CA_FILE=a\0b", ".env: is no text"),
        (f"PROXMOX_HOST=h\nPROXMOX_SSH_KEY={'k' * 5000}", "PROXMOX_SSH_KEY: is not there"),
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


def problems_of(root: Path, environ: dict[str, str] | None = None) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        read_environment(root, environ or {})
    return [(problem.subject, problem.where) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("PROXMOX_HOST: 10.0.0.1", [(".env", ".env:1")]),
        ("\n# two\nPROXMOX_HOST", [(".env", ".env:3")]),
        ("PROXMOX_HOST='10.0.0.1", [(".env", ".env:1")]),
        ("\n\nPROXMOX_HOST=", [("PROXMOX_HOST", ".env:3")]),
        ("PROXMOX_ADMIN_USER=", [("PROXMOX_HOST", ".env:1")]),
        ("PROXMOX_HOST=,", [("PROXMOX_HOST", ".env:1")]),
        ("PROXMOX_HOST=h:0", [("PROXMOX_HOST", ".env:1")]),
        ("PROXMOX_HOST=h,https://h:8006", [("PROXMOX_HOST", ".env:1")]),
        ("PROXMX_HOST=h", [("PROXMX_HOST", ".env:1")]),
        ("proxmox_host=h", [("proxmox_host", ".env:1")]),
        ("PROXMOX_URL=https://h:8006/api2/json", [("PROXMOX_HOST", ".env:1")]),
        ("\n# Packer\nPROXMOX_TOKEN=x\nPROXMOX_USERNAME=y", [("PROXMOX_HOST", ".env:3")]),
        ("PROXMOX_HOST=-oProxyCommand", [("PROXMOX_HOST", ".env:1")]),
        ("PROXMOX_HOST=h\nPROXMOX_SSH_PORT=²", [("PROXMOX_SSH_PORT", ".env:2")]),
        ("PROXMOX_HOST=h\nPROXMOX_SSH_PORT=65536", [("PROXMOX_SSH_PORT", ".env:2")]),
        ("PROXMOX_HOST=h\nPROXMOX_SSH_USER=-l", [("PROXMOX_SSH_USER", ".env:2")]),
        ("PROXMOX_HOST=h\nPROXMOX_ADMIN_USER=root\nPROXMOX_ADMIN_PASSWORD=x", [("PROXMOX_ADMIN_USER", ".env:2")]),
        (
            "PROXMOX_HOST=h\nPROXMOX_ADMIN_USER=root@pam\nPROXMOX_ADMIN_PASSWORD=",
            [("PROXMOX_ADMIN_PASSWORD", ".env:3")],
        ),
        (f"PROXMOX_HOST=h\nPROXMOX_ADMIN_USER=a@b1\nPROXMOX_ADMIN_TOKEN={TOKEN}", [("PROXMOX_ADMIN_USER", ".env:2")]),
        ("PROXMOX_HOST=h\nPROXMOX_CA_FILE=/no/ca.pem", [("PROXMOX_CA_FILE", ".env:2")]),
        ("PROXMOX_HOST=h\nPROXMOX_CA_FILE=.env", [("PROXMOX_CA_FILE", ".env:2")]),
        ("PROXMOX_HOST=h\nPROXMOX_SSH_KEY=~nobody-here/key", [("PROXMOX_SSH_KEY", ".env:2")]),
        ("PROXMOX_HOST=h\nGROUNDWORK_TARGET=Lab", [("GROUNDWORK_TARGET", ".env:2")]),
        ("PROXMOX_HOST=h\nGROUNDWORK_TARGETS=lab", [("GROUNDWORK_TARGETS", ".env:2")]),
        (
            f"PROXMOX_HOST=h\nPROXMOX_TLS_VERIFY=no\nPROXMOX_TLS_FINGERPRINT={'ab' * 32}",
            [("PROXMOX_TLS_VERIFY", ".env:2")],
        ),
        (
            "PROXMOX_SHS_KEY=k\nPROXMOX_SSH_PORT=x",
            [("PROXMOX_SHS_KEY", ".env:1"), ("PROXMOX_HOST", ".env:2"), ("PROXMOX_SSH_PORT", ".env:2")],
        ),
    ],
)
def test_each_problem_has_its_line(tmp_path: Path, text: str, found: list[tuple[str, str]]) -> None:
    assert problems_of(written(tmp_path, text + "\n")) == found


def test_variables_are_checked_as_the_file_is(tmp_path: Path) -> None:
    place = "process environment"
    assert problems_of(tmp_path, {"PROXMOX_HSOT": "h"}) == [("PROXMOX_HSOT", place)]
    assert problems_of(tmp_path, {"PROXMOX_SSH_USER": "root"}) == [("PROXMOX_HOST", place)]
    written(tmp_path, "PROXMOX_HOST=h\nPROXMOX_SSH_PORT=22\n")
    assert problems_of(tmp_path, {"PROXMOX_SSH_PORT": "x"}) == [("PROXMOX_SSH_PORT", place)]


def test_other_tools_variables_are_their_own(tmp_path: Path) -> None:
    foreign = dict.fromkeys(
        ("PROXMOX_VE_ENDPOINT", "PROXMOX_URL", "PROXMOX_TOKEN", "PROXMOX_NODE", "PROXMOX_USER"), "x"
    )
    assert read_environment(tmp_path, foreign) is None


def test_an_empty_variable_hides_nothing(tmp_path: Path) -> None:
    access = read_environment(written(tmp_path, "PROXMOX_HOST=one\n"), {"PROXMOX_HOST": "", "GROUNDWORK_TARGET": ""})
    assert access is not None
    assert access.hosts == (("one", 8006),)


def test_the_lab_by_name_asks_for_nothing_else_but_a_safe_file(tmp_path: Path) -> None:
    written(tmp_path, "PROXMOX_SSH_USER=root\nPROXMOX_ADMIN_PASSWORD=secret\n")
    access = read_environment(tmp_path, {"GROUNDWORK_TARGET": "lab"})
    assert access is not None
    assert access.kind == "lab"
    (tmp_path / ".env").chmod(0o640)
    assert problems_of(tmp_path, {"GROUNDWORK_TARGET": "lab"}) == [(".env", "")]


def test_a_file_that_cannot_be_read_is_no_missing_file(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    assert problems_of(tmp_path) == [(".env", "")]
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").write_bytes(b"PROXMOX_HOST=\xff\n")
    assert problems_of(tmp_path) == [(".env", "")]
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").mkdir()
    assert problems_of(tmp_path) == [(".env", "")]


def test_a_key_is_the_private_half_and_private(tmp_path: Path) -> None:
    key = tmp_path / "id"
    key.write_text("key")
    key.chmod(0o600)
    (tmp_path / "id.pub").write_text("public")
    access = read_environment(written(tmp_path, "PROXMOX_HOST=h\nPROXMOX_SSH_KEY=id\n"), {})
    assert access is not None
    assert access.ssh_key == key
    with pytest.raises(ConfigurationError, match="public half"):
        read_environment(written(tmp_path, "PROXMOX_HOST=h\nPROXMOX_SSH_KEY=id.pub\n"), {})
    key.chmod(0o640)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {key}"):
        read_environment(written(tmp_path, "PROXMOX_HOST=h\nPROXMOX_SSH_KEY=id\n"), {})


def test_no_secret_is_shown_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    texts = (
        "PROXMOX_HOST=h\nPROXMOX_ADMIN_TOKEN=root@pam!x=hunter-22\n",
        "PROXMOX_HOST=h\nPROXMOX_ADMIN_USER=root@pam\nPROXMOX_ADMIN_PASSWORD: hunter-22\n",
        "PROXMOX_HOST=h\nPROXMOX_ADMIN_PASWORD=hunter-22\n",
        f"PROXMOX_HOST=h\nPROXMOX_ADMIN_TOKEN={TOKEN}\nPROXMOX_ADMIN_PASSWORD=hunter-22\n",
    )
    for text in texts:
        with pytest.raises(ConfigurationError) as caught:
            read_environment(written(tmp_path, text), {})
        assert "hunter-22" not in str(caught.value) + repr(caught.value.problems)
        assert TOKEN.split("=")[1] not in str(caught.value)


def test_a_password_keeps_its_blanks_and_signs(tmp_path: Path) -> None:
    text = "PROXMOX_HOST=h\nPROXMOX_ADMIN_USER=root@pam\nPROXMOX_ADMIN_PASSWORD=' a#b $HOME '\n"
    access = read_environment(written(tmp_path, text), {})
    assert access is not None
    assert access.password is not None
    assert access.password.reveal() == " a#b $HOME "


def test_the_example_configures_nothing_until_it_is_filled(tmp_path: Path) -> None:
    example = (Path(__file__).parent.parent.parent / ".env.example").read_text()
    assert read_environment(written(tmp_path, example), {}) is None
    filled = re.sub(r"^#(PROXMOX_HOST=)", r"\1", example, flags=re.MULTILINE)
    access = read_environment(written(tmp_path, filled), {})
    assert access is not None
    assert len(access.hosts) == 2
