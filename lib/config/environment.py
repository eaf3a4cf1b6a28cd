"""Own reading `.env`: where the Proxmox cluster is and who we are there. The process environment wins."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values

from lib.config.access import Access
from lib.errors import ConfigurationError, Problem
from lib.secrets import Secret

KEYS = (
    "PROXMOX_HOST",
    "PROXMOX_ADMIN_TOKEN",
    "PROXMOX_ADMIN_USER",
    "PROXMOX_ADMIN_PASSWORD",
    "PROXMOX_CA_FILE",
    "PROXMOX_TLS_FINGERPRINT",
    "PROXMOX_TLS_VERIFY",
    "PROXMOX_SSH_USER",
    "PROXMOX_SSH_PORT",
    "PROXMOX_SSH_KEY",
    "GROUNDWORK_TARGET",
)
# Packer and the lab's own exports use these names; they are not ours to complain about.
OTHERS = re.compile(r"PROXMOX_(URL|USERNAME|TOKEN|VE_.*)")
OFF = ("no", "false", "0", "off")
TOKEN = re.compile(r"([^\s!=]+@[^\s!=]+![^\s!=]+)=(\S+)")
FINGERPRINT = re.compile(r"(?:[0-9A-Fa-f]{2}:?){32}")


def read_environment(root: Path, environ: Mapping[str, str]) -> Access | None:
    """Return how to reach the cluster; None where nothing is configured.

    Raises:
        ConfigurationError: half filled, malformed, or readable by others; every problem at once.
    """
    path = root / ".env"
    written = (
        {key: value or "" for key, value in dotenv_values(path, interpolate=False).items()} if path.is_file() else {}
    )
    values = {key: environ.get(key, written.get(key, "")).strip() for key in KEYS}
    values = {key: value for key, value in values.items() if value}
    if values.get("GROUNDWORK_TARGET") == "lab":
        return Access(hosts=(), kind="lab")
    problems = [*_file_problems(path), *_unknown(path, written), *_problems(path, root, values)]
    if problems:
        raise ConfigurationError(problems)
    return _access(root, values) if values else None


def _line(path: Path, key: str) -> str:
    if path.is_file():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.match(rf"\s*(export\s+)?{key}\s*=", line):
                return f".env:{number}"
    return ""


def _file_problems(path: Path) -> Iterator[Problem]:
    if path.is_file() and path.stat().st_mode & 0o077:
        yield Problem(".env", f"is readable by others (mode {path.stat().st_mode & 0o777:04o})", f"chmod 600 {path}")


def _unknown(path: Path, written: Mapping[str, str]) -> Iterator[Problem]:
    for key in written:
        if key not in KEYS and key.startswith(("PROXMOX_", "GROUNDWORK_")) and not OTHERS.fullmatch(key):
            near = difflib.get_close_matches(key, KEYS, n=1)
            fix = f"did you mean {near[0]}?" if near else "see .env.example"
            yield Problem(key, "is no known key", fix, _line(path, key))


def _problems(path: Path, root: Path, values: Mapping[str, str]) -> Iterator[Problem]:
    def wrong(key: str, problem: str, fix: str) -> Problem:
        return Problem(key, problem, fix, _line(path, key))

    if values and "PROXMOX_HOST" not in values:
        first = next(iter(values))
        yield Problem(
            "PROXMOX_HOST",
            f"is missing, but {first} is given",
            "add it to .env, or remove the rest",
            _line(path, first),
        )
    for text in re.split(r"[,\s]+", values.get("PROXMOX_HOST", "")):
        if text and not re.fullmatch(r"[A-Za-z0-9.-]+(:\d{1,5})?", text):
            yield wrong("PROXMOX_HOST", f"names no host (got {text!r})", "a name or address, perhaps with :port")
    token = values.get("PROXMOX_ADMIN_TOKEN")
    if token is not None and not TOKEN.fullmatch(token):
        yield wrong("PROXMOX_ADMIN_TOKEN", "is no API token", "user@realm!id=uuid")
    if token is not None and "PROXMOX_ADMIN_PASSWORD" in values:
        yield wrong("PROXMOX_ADMIN_PASSWORD", "is given beside PROXMOX_ADMIN_TOKEN", "keep one of them")
    if ("PROXMOX_ADMIN_USER" in values) != ("PROXMOX_ADMIN_PASSWORD" in values):
        there = "PROXMOX_ADMIN_USER" if "PROXMOX_ADMIN_USER" in values else "PROXMOX_ADMIN_PASSWORD"
        lost = "PROXMOX_ADMIN_PASSWORD" if there == "PROXMOX_ADMIN_USER" else "PROXMOX_ADMIN_USER"
        yield Problem(lost, f"is missing beside {there}", "give both, or a token, or neither", _line(path, there))
    yield from _transport_problems(path, root, values)


def _transport_problems(path: Path, root: Path, values: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what is wrong with TLS and SSH settings."""

    def wrong(key: str, problem: str, fix: str) -> Problem:
        return Problem(key, problem, fix, _line(path, key))

    if "PROXMOX_TLS_FINGERPRINT" in values and not FINGERPRINT.fullmatch(values["PROXMOX_TLS_FINGERPRINT"]):
        yield wrong(
            "PROXMOX_TLS_FINGERPRINT", "is no SHA-256 fingerprint", "32 hexadecimal pairs, with or without colons"
        )
    verify = values.get("PROXMOX_TLS_VERIFY", "yes").lower()
    if verify not in (*OFF, "yes", "true", "1", "on"):
        yield wrong("PROXMOX_TLS_VERIFY", f"is neither yes nor no (got {verify!r})", "yes or no")
    if not values.get("PROXMOX_SSH_PORT", "22").isdigit():
        yield wrong("PROXMOX_SSH_PORT", "is no port", "for example 22")
    if values.get("GROUNDWORK_TARGET", "real") not in ("lab", "real"):
        yield wrong("GROUNDWORK_TARGET", f"is neither lab nor real (got {values['GROUNDWORK_TARGET']!r})", "lab")
    if "PROXMOX_CA_FILE" in values and not _path(root, values["PROXMOX_CA_FILE"]).is_file():
        yield wrong("PROXMOX_CA_FILE", f"is not there ({values['PROXMOX_CA_FILE']})", "mend the path")
    if "PROXMOX_SSH_KEY" in values:
        key = _path(root, values["PROXMOX_SSH_KEY"])
        if not key.is_file():
            yield wrong("PROXMOX_SSH_KEY", f"is not there ({key})", f"ssh-keygen -t ed25519 -f {key}")
        elif key.stat().st_mode & 0o077:
            yield wrong(
                "PROXMOX_SSH_KEY", f"is readable by others (mode {key.stat().st_mode & 0o777:04o})", f"chmod 600 {key}"
            )


def _path(root: Path, text: str) -> Path:
    return root / Path(text).expanduser()


def _access(root: Path, values: Mapping[str, str]) -> Access:
    hosts = []
    for text in re.split(r"[,\s]+", values["PROXMOX_HOST"].strip(", ")):
        host, _, port = text.partition(":")
        hosts.append((host, int(port or 8006)))
    token = TOKEN.fullmatch(values.get("PROXMOX_ADMIN_TOKEN", ""))
    return Access(
        hosts=tuple(hosts),
        token_id=token[1] if token else "",
        token=Secret(token[2]) if token else None,
        user=values.get("PROXMOX_ADMIN_USER", ""),
        password=Secret(values["PROXMOX_ADMIN_PASSWORD"]) if "PROXMOX_ADMIN_PASSWORD" in values else None,
        ca_file=_path(root, values["PROXMOX_CA_FILE"]) if "PROXMOX_CA_FILE" in values else None,
        fingerprint=values.get("PROXMOX_TLS_FINGERPRINT", "").replace(":", "").lower(),
        verify=values.get("PROXMOX_TLS_VERIFY", "yes").lower() not in OFF,
        ssh_user=values.get("PROXMOX_SSH_USER", "root"),
        ssh_port=int(values.get("PROXMOX_SSH_PORT", "22")),
        ssh_key=_path(root, values["PROXMOX_SSH_KEY"]) if "PROXMOX_SSH_KEY" in values else None,
    )
