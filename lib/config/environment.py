"""Own reading `.env`: where the Proxmox cluster is and who we are there. The process environment wins."""

from __future__ import annotations

import io
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

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
PASSWORD = "PROXMOX_ADMIN_PASSWORD"  # the one whose blanks count
# Packer and the lab's own exports use these names; they are not ours to complain about.
OTHERS = re.compile(r"PROXMOX_(URL|USERNAME|TOKEN|VE_.*)")
ON, OFF = ("yes", "true", "1", "on"), ("no", "false", "0", "off")
HOST = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(\d{1,5}))?")
USER = re.compile(r"[^\s:/@!]+@[A-Za-z][A-Za-z0-9._-]+")
LOGIN = re.compile(r"[^\s:/-][^\s:/]*")
TOKEN = re.compile(r"([^\s!=:/]+@[^\s!=:/]+![A-Za-z][\w.-]*)=([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
FINGERPRINT = re.compile(r"[0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31}")


class Settings(msgspec.Struct, frozen=True):
    """What was said, by key, and where each key was said; paths are relative to `root`."""

    root: Path
    values: Mapping[str, str]
    places: Mapping[str, str]

    def wrong(self, key: str, problem: str, fix: str) -> Problem:
        """Return a problem with that key, at its place."""
        return Problem(key, problem, fix, self.places.get(key, ""))

    def path(self, key: str) -> Path | None:
        """Return the path that the key names."""
        return self.root / os.path.expanduser(self.values[key]) if key in self.values else None  # noqa: PTH111


def read_environment(root: Path, environ: Mapping[str, str]) -> Access | None:
    """Return how to reach the cluster; None where nothing is configured.

    An empty variable of the process environment counts as not set.

    Raises:
        ConfigurationError: half filled, malformed, or readable by others; every problem at once.
    """
    written, places, problems = _read(root / ".env")
    given = {key: environ[key] for key in KEYS if environ.get(key, "").strip()}
    given |= {key: value.strip() for key, value in given.items() if key != PASSWORD}
    values = {key: value for key, value in (written | given).items() if key in KEYS and value}
    settings = Settings(root, values, places | dict.fromkeys(given, "process environment"))
    lab = values.get("GROUNDWORK_TARGET") == "lab"
    if not lab:
        problems += [*_unknown(written, places), *_mistyped(environ)]
        if any(key.startswith("PROXMOX_") or key in KEYS for key in (*written, *given)):
            problems += [*_half_filled(settings), *_credentials(settings), *_tls(settings), *_ssh(settings)]
    if problems:
        raise ConfigurationError(problems)
    if lab:
        return Access(hosts=(), kind="lab")
    return _access(settings) if values else None


# ------------------------------------------------------------------ reading


def _read(path: Path) -> tuple[dict[str, str], dict[str, str], list[Problem]]:
    """Return the keys with their values, the keys with their places, and what is wrong with the file itself."""
    if not path.exists() and not path.is_symlink():
        return {}, {}, []
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode & 0o777
    except (OSError, UnicodeDecodeError) as error:
        return {}, {}, [Problem(".env", f"cannot be read ({error})", "see .env.example for what it looks like")]
    from dotenv.parser import parse_stream  # what dotenv_values reads with; it alone tells lines and errors

    values, places, problems = {}, {}, []
    if "\0" in text:
        return {}, {}, [Problem(".env", "is no text (it has a NUL byte)", "see .env.example for what it looks like")]
    if mode & 0o077:
        problems.append(Problem(".env", f"is readable by others (mode {mode:04o})", f"chmod 600 {path}"))
    for found in parse_stream(io.StringIO(text)):
        # blank lines before a key belong to it
        begun = found.original.string[: len(found.original.string) - len(found.original.string.lstrip())]
        place = f".env:{found.original.line + begun.count(chr(10))}"
        if found.error or (found.key and found.value is None):
            # the line itself is not shown: it may be a password
            problems.append(Problem(".env", "has a line that sets nothing", "write KEY=value, or a # before it", place))
        elif found.key:
            value = found.value or ""
            values[found.key] = value if found.key == PASSWORD else value.strip()
            places[found.key] = place
    return values, places, problems


def _unknown(written: Mapping[str, str], places: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what looks like a key of ours and is none; what looks like nothing of ours belongs to other tools."""
    foreign = _foreign(written)
    for key in written:
        near = "" if key in KEYS or OTHERS.fullmatch(key) else _near(key, cutoff=0.6 if key in foreign else 0.88)
        if near or key in foreign:
            yield Problem(key, "is no known key", f"did you mean {near}?" if near else "see .env.example", places[key])


def _mistyped(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield variables that differ from one of ours by a slip; others of that kind belong to other tools."""
    for key in _foreign(environ):
        near = _near(key, cutoff=0.88)
        if near:
            yield Problem(key, "is no known key", f"did you mean {near}?", "process environment")


def _foreign(keys: Iterable[str]) -> list[str]:
    ours = [key for key in keys if key.startswith(("PROXMOX_", "GROUNDWORK_"))]
    return [key for key in ours if key not in KEYS and not OTHERS.fullmatch(key)]


def _near(key: str, cutoff: float) -> str:
    import difflib  # needed only where something is wrong

    return next(iter(difflib.get_close_matches(key.upper(), KEYS, n=1, cutoff=cutoff)), "")


# ----------------------------------------------------------------- checking


def _half_filled(settings: Settings) -> Iterator[Problem]:
    """Yield a host that is not named, or wrongly; keys of other tools in `.env` mean a real cluster, too."""
    values = settings.values
    if "PROXMOX_HOST" not in values:
        if "PROXMOX_HOST" in settings.places:
            yield settings.wrong("PROXMOX_HOST", "is empty", "name an API host, or put a # before every line")
            return
        others = [key for key in (*KEYS, *settings.places) if key in settings.places]
        problem = f"is missing, but {others[0]} is given"
        yield Problem("PROXMOX_HOST", problem, "add it to .env, or remove the rest", settings.places[others[0]])
        return
    names = _words(values["PROXMOX_HOST"])
    for text in names or [values["PROXMOX_HOST"]]:
        found = HOST.fullmatch(text)
        if found is None or not 1 <= int(found[2] or 8006) <= 65535:
            fix = "a name or address, perhaps with :port; several with commas; no https://"
            yield settings.wrong("PROXMOX_HOST", f"names no host (got {text!r})", fix)


def _credentials(settings: Settings) -> Iterator[Problem]:
    values = settings.values
    token = values.get("PROXMOX_ADMIN_TOKEN")
    if token is not None and not TOKEN.fullmatch(token):
        # never shown: a token that is nearly right is still a secret
        yield settings.wrong("PROXMOX_ADMIN_TOKEN", "is no API token", "user@realm!id=uuid")
    if token is not None and "PROXMOX_ADMIN_PASSWORD" in values:
        yield settings.wrong("PROXMOX_ADMIN_PASSWORD", "is given beside PROXMOX_ADMIN_TOKEN", "keep one of them")
    elif token is not None and "PROXMOX_ADMIN_USER" in values:
        yield settings.wrong("PROXMOX_ADMIN_USER", "is given beside PROXMOX_ADMIN_TOKEN", "the token names its user")
    elif ("PROXMOX_ADMIN_USER" in values) != ("PROXMOX_ADMIN_PASSWORD" in values):
        pair = ["PROXMOX_ADMIN_USER", "PROXMOX_ADMIN_PASSWORD"]
        there, lost = pair if pair[0] in values else pair[::-1]
        place = settings.places.get(lost) or settings.places[there]
        yield Problem(lost, f"is missing beside {there}", "give both, or a token, or neither", place)
    user = values.get("PROXMOX_ADMIN_USER")
    if user is not None and not USER.fullmatch(user):
        yield settings.wrong("PROXMOX_ADMIN_USER", f"is no user (got {user!r})", "user@realm, for example root@pam")


def _tls(settings: Settings) -> Iterator[Problem]:
    values = settings.values
    if "PROXMOX_TLS_FINGERPRINT" in values and not FINGERPRINT.fullmatch(values["PROXMOX_TLS_FINGERPRINT"]):
        fix = "32 hexadecimal pairs, with or without colons"
        yield settings.wrong("PROXMOX_TLS_FINGERPRINT", "is no SHA-256 fingerprint", fix)
    verify = values.get("PROXMOX_TLS_VERIFY", "yes").lower()
    if verify not in (*OFF, *ON):
        yield settings.wrong("PROXMOX_TLS_VERIFY", f"is neither yes nor no (got {verify!r})", "yes or no")
    checks = [key for key in ("PROXMOX_CA_FILE", "PROXMOX_TLS_FINGERPRINT") if key in values]
    if verify in OFF and checks:
        yield settings.wrong("PROXMOX_TLS_VERIFY", f"turns off what {checks[0]} is given for", "keep one of them")
    elif len(checks) == 2:
        yield settings.wrong(checks[1], f"is given beside {checks[0]}", "keep one of them")
    authority = settings.path("PROXMOX_CA_FILE")
    if authority is not None:
        try:
            if b"-----BEGIN CERTIFICATE-----" not in authority.read_bytes():
                fix = "the cluster's own is /etc/pve/pve-root-ca.pem on each host"
                yield settings.wrong("PROXMOX_CA_FILE", f"holds no PEM certificate ({authority})", fix)
        except FileNotFoundError:
            yield settings.wrong("PROXMOX_CA_FILE", f"is not there ({authority})", "mend the path")
        except OSError as error:
            yield settings.wrong("PROXMOX_CA_FILE", f"cannot be read ({error})", "mend the path or its mode")


def _ssh(settings: Settings) -> Iterator[Problem]:
    values = settings.values
    port = values.get("PROXMOX_SSH_PORT", "22")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        yield settings.wrong("PROXMOX_SSH_PORT", f"is no port (got {port!r})", "1 to 65535, for example 22")
    user = values.get("PROXMOX_SSH_USER", "root")
    if not LOGIN.fullmatch(user):
        yield settings.wrong("PROXMOX_SSH_USER", f"is no login name (got {user!r})", "for example root")
    if values.get("GROUNDWORK_TARGET", "real") != "real":
        got = values["GROUNDWORK_TARGET"]
        yield settings.wrong("GROUNDWORK_TARGET", f"is neither lab nor real (got {got!r})", "lab, or leave it out")
    key = settings.path("PROXMOX_SSH_KEY")
    if key is None:
        return
    try:
        there = key.is_file()
    except OSError:  # no name that a file can have
        there = False
    if not there:
        yield settings.wrong("PROXMOX_SSH_KEY", f"is not there ({key})", f"ssh-keygen -t ed25519 -f {key}")
    elif key.suffix == ".pub":
        yield settings.wrong("PROXMOX_SSH_KEY", f"is the public half ({key})", f"name {key.with_suffix('')}")
    elif key.stat().st_mode & 0o077:
        problem = f"is readable by others (mode {key.stat().st_mode & 0o777:04o})"
        yield settings.wrong("PROXMOX_SSH_KEY", problem, f"chmod 600 {key}")


# ----------------------------------------------------------------- building


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", text) if word]


def _access(settings: Settings) -> Access:
    values = settings.values
    hosts = [HOST.fullmatch(text) for text in _words(values["PROXMOX_HOST"])]
    token = TOKEN.fullmatch(values.get("PROXMOX_ADMIN_TOKEN", ""))
    return Access(
        hosts=tuple((found[1], int(found[2] or 8006)) for found in hosts if found),
        token_id=token[1] if token else "",
        token=Secret(token[2]) if token else None,
        user=values.get("PROXMOX_ADMIN_USER", ""),
        password=Secret(values["PROXMOX_ADMIN_PASSWORD"]) if "PROXMOX_ADMIN_PASSWORD" in values else None,
        ca_file=settings.path("PROXMOX_CA_FILE"),
        fingerprint=values.get("PROXMOX_TLS_FINGERPRINT", "").replace(":", "").lower(),
        verify=values.get("PROXMOX_TLS_VERIFY", "yes").lower() not in OFF,
        ssh_user=values.get("PROXMOX_SSH_USER", "root"),
        ssh_port=int(values.get("PROXMOX_SSH_PORT", "22")),
        ssh_key=settings.path("PROXMOX_SSH_KEY"),
    )
